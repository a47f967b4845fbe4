/** Key files, the title of a start and signed commands as the head end makes them and the meter reads them. */

import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { messageOf } from '#base/errors';
import { ByteReader } from '#dlms/reader';
import { decodeSigned, judgeCommand } from '#dlms/signing';
import { keyFileText, readCommandSigner, readCommandVerifier, readKeyFile, writeKeyFile } from '#hw/dlms-keys';
import { CommandSigner, meterKeys, takeHeadEndTitle } from '../../headend/meter/head-end-keys.ts';
import { KEYS } from '../interop/dlms-meter.ts';

const Keys = suite('head-end keys');
const folder = mkdtempSync(join(tmpdir(), 's3mp-keys-'));
Keys.after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, name);

function secret(name: string, text: string): string {
  writeFileSync(file(name), text, { mode: 0o600 });
  return file(name);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return messageOf(error);
  }
  throw new Error('nothing was thrown');
}

Keys('a key file holds what was written, for its owner only', () => {
  writeKeyFile(file('a.toml'), KEYS, { suite: 0, policy: 3 });
  assert.is(statSync(file('a.toml')).mode & 0o777, 0o600);
  const { suite: number, keys, policy } = readKeyFile(file('a.toml'));
  assert.equal(
    [number, policy, toHex(keys.unicast), toHex(keys.master)],
    [0, 3, toHex(KEYS.unicast), toHex(KEYS.master)],
  );
  chmodSync(file('a.toml'), 0o640);
  assert.match(
    refusal(() => readKeyFile(file('a.toml'))),
    /chmod 600/,
  );
});

Keys('a key file that is wrong is refused without showing a key', () => {
  const good = keyFileText(KEYS);
  for (const [text, expected] of [
    [good.replace('unicast', 'multicast'), /unknown key multicast/],
    [good.replace(toHex(KEYS.unicast), 'abcd'), /unicast must be 16 bytes/],
    [good.replace(/authentication.*\n/, ''), /authentication is missing/],
    [`suite = 2\n${good}`, /suite is 0 or 1/],
    [`suite = 1\n${good}`, /signing is missing/],
    [`suite = 1\n${good}signing = "${'00'.repeat(32)}"\npeer = "${'04'.repeat(65)}"\n`, /keys of P-256/],
    ['this is no TOML', /not a TOML file/],
  ] as const) {
    const message = refusal(() => readKeyFile(secret('bad.toml', text)));
    assert.match(message, expected);
    for (const key of [KEYS.unicast, KEYS.authentication, KEYS.master]) assert.not.match(message, toHex(key));
  }
});

Keys('each start has a title of its own, and so has each head end', () => {
  const titles = [0, 0, 7, 0].map((instance) => toHex(takeHeadEndTitle(file('starts'), instance)));
  assert.is(new Set(titles).size, 4);
  for (const title of titles) assert.ok(title.startsWith(toHex(asciiBytes('S3H'))));
  assert.equal(
    titles.map((title) => Number.parseInt(title.slice(8), 16)),
    [1, 2, 3, 4],
  );
  const { counter } = meterKeys(fromHex(titles[0]!), readKeyFile(secret('m.toml', keyFileText(KEYS))));
  assert.is(counter.next(), 1);
});

Keys('what the head end signs is what the meter obeys, in growing numbers', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const key = secret('command.pem', String(privateKey.export({ type: 'pkcs8', format: 'pem' })));
  const verifier = readCommandVerifier(secret('public.pem', String(publicKey.export({ type: 'spki', format: 'pem' }))));
  const title = asciiBytes('S3H00001');
  const meter = asciiBytes('S3M04711');
  const signer = new CommandSigner(readCommandSigner(key), title);
  let last = 0;
  const accept = (number: number) => {
    if (number <= last) return false;
    last = number;
    return true;
  };
  const nowS = Math.floor(Date.now() / 1000);
  for (let i = 0; i < 5; i++) {
    const apdu = signer.sign('disconnect')(fromHex('c301c10046000060030aff01010f00'), meter);
    const command = decodeSigned(new ByteReader(apdu));
    assert.is(command.reason, 'disconnect');
    assert.is(judgeCommand(command, { keys: [verifier], title: meter, accept }, nowS), null);
    assert.is(judgeCommand(command, { keys: [verifier], title: meter, accept }, nowS), 'replayed');
    assert.is(judgeCommand(command, { keys: [verifier], title, accept }, nowS), 'recipient');
    assert.is(judgeCommand(command, { keys: [verifier], title: meter, accept }, nowS + 3600), 'expired');
  }
  assert.match(
    refusal(() => readCommandSigner(secret('none.pem', 'nothing'))),
    /no private key/,
  );
  assert.match(
    refusal(() => readCommandVerifier(secret('none.pem', 'nothing'))),
    /no public key/,
  );
});

Keys.run();
