/** The configuration that a card gets: made from flags or given, judged by the device's program and readers. */

import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CONFIG, flash } from './card-image.ts';
import { cardParts, refused } from './card-parts.ts';

const Flash = suite('configuration of a card');
const folder = mkdtempSync(join(tmpdir(), 's3mp-flash-config-'));
Flash.after(() => rmSync(folder, { recursive: true, force: true }));
const { archive, topology, keys, meter: METER, bootFolder } = cardParts(folder);

Flash('a configuration with which the meter would not start is refused with words', () => {
  const boot = bootFolder();
  const withConfig = (text: string) => {
    const file = join(folder, 'meter.toml');
    writeFileSync(file, text);
    return flash('--boot', boot, '--node', archive, '--config', file, '--topology', topology);
  };
  const place = '[meter]\nserial = "4711"\n[scion]\naddress = "10.0.0.5"\ntopology = "/etc/s3mp/topology.json"\n';
  refused(
    withConfig(`${place}[serial]\nmap = "or-we-51"\n`),
    'config.invalid',
    /serial\.map: expected one of or-we-514/,
  );
  refused(withConfig(place.replace('4711', '12345678901234')), 'config.invalid', /1 to 13/);
  refused(withConfig(place.replace(/.*\n.*\n/, '')), 'config.invalid', /no meter\.serial: meters without it share/);
  refused(withConfig('[scion]\naddress = "meter7"\n'), 'config.invalid', /an IP address/);
  refused(withConfig('[meter]\nserial = "4711"\n'), 'config.invalid', /no scion\.address/);
  refused(
    withConfig(`${place}[state]\ndirectory = "/tmp/meter"\n`),
    'config.invalid',
    /keeps .* \/var\/lib\/s3mp only/,
  );
  const result = withConfig(place);
  assert.is(result.status, 0, result.stderr);
  assert.match(result.stderr, /NO RELAY: this meter switches nothing/);
  assert.match(result.stderr, /NO DISPLAY: the enrolment code/);
  const both = flash('--boot', boot, '--config', join(folder, 'meter.toml'), ...METER);
  refused(both, 'usage.invalid', /--serial, --address and --config exclude each other/);
});

Flash('flags make a whole meter: display and relay are named, and what is left out is said', () => {
  const boot = bootFolder();
  const config = () => readFileSync(join(boot, 's3mp/root/etc/s3mp/meter.toml'), 'utf8');
  const plain = flash('--boot', boot, ...METER, '--enrol');
  assert.match(plain.stderr, /NO RELAY/);
  assert.not.match(plain.stderr, /NO DISPLAY/);
  const whole = flash('--boot', boot, ...METER, '--enrol', '--relay', 'auto');
  assert.is(whole.status, 0, whole.stderr);
  assert.not.match(whole.stderr, /NO RELAY|NO DISPLAY/);
  assert.match(config(), '[relay]\ndriver = "auto"\n');
  assert.match(config(), '[display]\ndriver = "auto"\n');
  assert.is(flash('--boot', boot, ...METER, '--relay', 'onoff', '--display', 'none').status, 0);
  assert.match(config(), '[display]\ndriver = "none"\n');
  refused(flash('--boot', boot, ...METER, '--relay', 'sim'), 'usage.invalid', /expected one of none, auto, sysfs/);
  refused(flash('--boot', boot, ...METER, '--display', 'oled'), 'usage.invalid', /--display oled: expected one of/);
});

Flash('files that the device could not use are refused, by the words of what reads them there', () => {
  const boot = bootFolder();
  const bad = mkdtempSync(join(folder, 'bad-'));
  const withKeys = (name: string, content: string) => {
    rmSync(bad, { recursive: true });
    mkdirSync(bad);
    writeFileSync(join(bad, name), content);
    return flash('--boot', boot, ...METER, '--keys', bad);
  };
  const secret = withKeys('dlms.toml', 'secret\n');
  refused(
    secret,
    'config.invalid',
    /dlms\.key_file \(from \S*bad-\S*\): .*\/etc\/s3mp\/keys\/dlms\.toml: not a TOML file/,
  );
  assert.not.match(secret.stderr, /secret|s3mp-card-/);
  refused(withKeys('dlms.toml', 'unicast = "00"\n'), 'config.invalid', /unicast must be 16 bytes/);
  refused(withKeys('command.pem', ''), 'config.invalid', /dlms\.command_key_file .*command\.pem: no public key/);
  refused(withKeys('root.pem', ''), 'config.invalid', /dlms\.root_file .*expected a certificate/);
  refused(withKeys('password.txt', '\n'), 'config.invalid', /dlms\.password_file .*the secret is empty/);
  const foreign = join(bad, 'topology.json');
  writeFileSync(foreign, '{"isd_as":"1-ff00:0:111"}');
  const at = METER.map((word) => (word === topology ? foreign : word));
  refused(
    flash('--boot', boot, ...at),
    'config.invalid',
    /scion\.topology \(from \S*topology\.json\): .*topology\.json: .*mtu/,
  );
  assert.is(readFileSync(join(boot, 'config.txt'), 'utf8'), CONFIG, 'nothing was written');
});

Flash('every path that the configuration wants and the card does not get is named', () => {
  const boot = bootFolder();
  const config = join(folder, 'paths.toml');
  const key = 'key_file = "/etc/s3mp/keys/dlms.toml"\n';
  writeFileSync(
    config,
    `[meter]\nserial = "4711"\n[scion]\naddress = "10.0.0.5"\n[dlms]\n${key}password_file = "/srv/pw"\n`,
  );
  const run = (...more: string[]) => flash('--boot', boot, '--node', archive, '--config', config, ...more);
  refused(
    run(),
    'config.invalid',
    /does not get: \/etc\/scion\/topology\.json \(scion\.topology\), \/etc\/s3mp\/keys\/dlms\.toml \(dlms\.key_file\); --topology FILE goes to/,
  );
  writeFileSync(config, readFileSync(config, 'utf8').replace('[dlms]', 'topology = "/etc/s3mp/topology.json"\n[dlms]'));
  refused(
    run('--topology', topology),
    'config.invalid',
    /does not get: \/etc\/s3mp\/keys\/dlms\.toml \(dlms\.key_file\);/,
  );
  const first = run('--topology', topology, '--keys', keys);
  assert.is(first.status, 0, first.stderr);
  assert.match(first.stderr, 'must be on the card already: /srv/pw (dlms.password_file)');
  // What is on the card stays there, however often it is flashed again without it.
  for (let again = 0; again < 3; again++) assert.is(run().status, 0);
  assert.match(run().stdout, /nothing changed/);
});

Flash("the release key is root's and public, and its private half is refused", () => {
  const boot = bootFolder();
  const trust = mkdtempSync(join(folder, 'trust-'));
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(join(trust, 'release.pem'), pair.publicKey.export({ type: 'spki', format: 'pem' }));
  assert.is(flash('--boot', boot, ...METER, '--keys', trust).status, 0);
  assert.match(readFileSync(join(boot, 's3mp/files.txt'), 'utf8'), /^f 0644 [0-9a-f]{64} \/etc\/s3mp\/release\.pem$/m);
  assert.match(
    readFileSync(join(boot, 's3mp/root/etc/s3mp/meter.toml'), 'utf8'),
    'release_key_file = "/etc/s3mp/release.pem"',
  );
  writeFileSync(join(trust, 'release.pem'), pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  refused(flash('--boot', boot, ...METER, '--keys', trust), 'config.invalid', /\.pub/);
});

Flash('a configuration that the bundle does not accept is refused', () => {
  const boot = bootFolder();
  const config = join(folder, 'bad.toml');
  writeFileSync(config, '[serial]\nbaud = 9\n');
  refused(flash('--boot', boot, '--node', archive, '--config', config), 'config.invalid', /baud/);
  refused(flash('--boot', boot, '--node', archive, '--serial', '1'), 'usage.invalid', /--address, --topology/);
});

Flash.run();
