/** Keys and counters of a meter over restarts: transferred keys stay, counters go on, and what is missing is left out. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { loadConfig } from '#hw/config';
import { readKeyFile, writeKeyFile } from '#hw/dlms-keys';
import { createLog } from '#hw/log';
import { parseAddress } from '#scion/address';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { meterTitle, openMeterSecurity } from '../../firmware/meter-security.ts';
import { KEYS } from '../interop/dlms-meter.ts';
import { wrapKey } from '../protocols/dlms/wrap-key.ts';

const Security = suite('meter security');
const folder = mkdtempSync(join(tmpdir(), 's3mp-meter-keys-'));
Security.after(() => rmSync(folder, { recursive: true }));
const keyFile = join(folder, 'keys.toml');
writeKeyFile(keyFile, KEYS);
const NEW_KEY = fromHex('a0a1a2a3a4a5a6a7a8a9aaabacadaeaf');

function open(state: string, flags: Record<string, string> = { 'dlms-key-file': keyFile }) {
  const lines: string[] = [];
  const log = createLog('test', { write: (line) => lines.push(line) });
  const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': join(folder, state), ...flags } });
  return { ...openMeterSecurity(config, log), lines };
}

Security('without a key file there is no management client, and commands still need a signature', () => {
  const { security, authority, commands } = open('none', {});
  assert.equal([security, authority, commands], [undefined, undefined, 'signed']);
});

Security(
  'counters go on behind a restart, and transferred keys and a raised policy win over the configured ones',
  () => {
    const first = open('kept');
    const counters = first.security!.options.counters;
    const used = [counters.next(), counters.next()];
    assert.ok(first.security!.transfer([[0, wrapKey(KEYS.master, NEW_KEY)]]));
    first.close();
    const second = open('kept');
    assert.ok(second.security!.options.counters.next() > used[1]!);
    assert.is(toHex(second.security!.options.keys.unicast), toHex(NEW_KEY));
    const file = join(folder, 'kept', 'dlms-keys.toml');
    assert.is(statSync(file).mode & 0o777, 0o600);
    assert.is(readKeyFile(file).policy, 3);
    assert.is(readFileSync(keyFile, 'utf8').includes(toHex(NEW_KEY)), false, 'the configured file is not touched');
    second.close();
    // Counters that are lost alone must not begin anew under keys that were used.
    rmSync(join(folder, 'kept', 'counters'));
    const third = open('kept');
    assert.is(third.security, undefined);
    assert.match(third.lines.join(''), /counters: it is gone/);
    assert.is(third.retry!(), false);
    rmSync(file);
    assert.is(third.retry!(), true);
  },
);

Security('counters that cannot be kept leave the management client out, and the log says so', () => {
  const broken = join(folder, 'broken');
  mkdirSync(broken);
  writeFileSync(join(broken, 'counters'), new Uint8Array(4608).fill(7));
  const { security, lines, retry } = open('broken');
  assert.is(security, undefined);
  assert.match(lines.join(''), /put new keys into .*keys\.toml.*remove .*broken\/counters and dlms-keys\.toml/);
  assert.is(retry!(), false);
  rmSync(join(broken, 'counters'));
  assert.is(retry!(), true);
  // So do keys that a client has transferred: those of the configuration may be somebody else's by now.
  writeFileSync(join(broken, 'dlms-keys.toml'), 'garbage', { mode: 0o600 });
  assert.is(open('broken').security, undefined);
  assert.match(lines.join(''), /no invocation counters/);
  assert.not.match(lines.join(''), toHex(KEYS.unicast));
});

Security('key files that are missing or broken cost their use, and the meter goes on without', () => {
  const file = join(folder, 'some.key');
  for (const content of [undefined, 'garbage']) {
    if (content !== undefined) writeFileSync(file, content, { mode: 0o600 });
    const { security, authority, commands, lines, retry } = open('files', {
      'dlms-key-file': file,
      'dlms-command-key-file': file,
    });
    assert.equal([security, authority, commands], [undefined, undefined, 'signed']);
    assert.match(lines.join(''), /no command key, what it has to sign is refused/);
    assert.match(lines.join(''), /the management client is not offered/);
    assert.is(retry!(), false);
    assert.not.match(lines.join(''), 'garbage');
  }
  writeKeyFile(file, KEYS);
  assert.is(open('files', { 'dlms-key-file': file }).retry, undefined);
});

Security('a state folder that cannot be used is no reason not to measure: the management client is left out', () => {
  writeFileSync(join(folder, 'file'), '');
  const lines: string[] = [];
  const log = createLog('test', { write: (line) => lines.push(line) });
  const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': join(folder, 'file') } });
  const place = { address: parseAddress('1-ff00:0:111,10.0.0.5'), time: () => ({ nowS: 0, isLowerBound: true }) };
  const { security, certificates } = openMeterSecurity(config, log, place);
  assert.equal([security, certificates], [undefined, undefined]);
  assert.match(lines.join(''), /the management client is not offered .*cannot make .*pki.*ENOTDIR/);
});

Security('an enrolled meter with broken files is told how to be enrolled anew, and looks again', () => {
  const place = { address: parseAddress('1-ff00:0:111,10.0.0.5'), time: () => ({ nowS: 0, isLowerBound: true }) };
  for (const [name, content] of [
    ['counters', 'x'.repeat(8192)],
    ['pki/signing.key', 'garbage\n'],
    ['pki/trust.pem', 'garbage\n'],
  ] as const) {
    const state = mkdtempSync(join(folder, 'certified-'));
    const lines: string[] = [];
    const log = createLog('test', { write: (line) => lines.push(line) });
    const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': state } });
    const whole = openMeterSecurity(config, log, place);
    assert.ok(whole.security && !whole.retry);
    whole.close();
    writeFileSync(join(state, name), content, { mode: 0o600 });
    const { security, retry } = openMeterSecurity(config, log, place);
    assert.is(security, undefined, name);
    assert.match(lines.join(''), `stop the meter, remove ${state}/pki and ${state}/counters, start it`, name);
    assert.match(lines.join(''), 'headend.js meter replace');
    assert.not.match(lines.join(''), 'garbage');
    assert.is(retry!(), false);
    rmSync(join(state, 'pki'), { recursive: true });
    rmSync(join(state, 'counters'), { force: true });
    assert.is(retry!(), true);
    openMeterSecurity(config, log, place).close();
  }
});

Security('the title is the serial number, and no two serial numbers share one', () => {
  assert.is(toHex(meterTitle('42')), '53334d000000002a');
  assert.is(toHex(meterTitle('0000000000042')), '53334d000000002a');
  assert.is(toHex(meterTitle('549755813887')), '53334d7fffffffff');
  assert.is(toHex(meterTitle('1')), toHex(meterTitle('0000000000001')), 'one logical device name, one title');
  assert.is(toHex(meterTitle('A1')), toHex(meterTitle('00000000000A1')));
  const high = ['549755813888', '1000000000000', '1099511627777', '2199023255553', '00000000000001'];
  const titles = ['1', '100001', '200001', 'A1', 'A2', 'a1', ...high].map((serial) => meterTitle(serial));
  assert.is(new Set(titles.map((title) => toHex(title))).size, titles.length);
  assert.ok(
    titles.slice(3).every((title) => title[3]! >= 0x80),
    'no hash looks like a number',
  );
});

Security.run();
