import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '#base/errors';
import { type ConfigSpec, environmentOf, flagOf, loadConfig } from '#hw/config';
import { seededRandom } from '#hw/random';

const SPEC: ConfigSpec = {
  'serial.url': { type: 'string', help: 'serial port' },
  'serial.timeout_ms': { type: 'integer', help: 'time', default: 600, min: 1, max: 10_000 },
  'serial.further': { type: 'strings', help: 'units', form: [/^\d+$/, 'a number'] },
  'meter.serial': { type: 'string', help: 'number', form: [/^.{1,4}$/, '1 to 4 letters'] },
  'display.driver': { type: 'string', help: 'display', default: 'none', choices: ['none', 'sim'] },
  'dlms.password': { type: 'string', help: 'secret', secret: true },
  'dlms.address': { type: 'string', help: 'address; empty keeps it off', default: '' },
  'dlms.tcp': { type: 'boolean', help: 'listen on TCP', default: false },
  meters: { type: 'tables', help: 'meters' },
};

const folder = mkdtempSync(join(tmpdir(), 's3mp-config-'));
const file = join(folder, 'device.toml');

function load(toml: string, environment = {}, flags = {}) {
  writeFileSync(file, toml);
  return loadConfig(SPEC, { file, environment, flags });
}

function refuses(toml: string, pattern: RegExp, environment = {}, flags = {}): void {
  try {
    load(toml, environment, flags);
  } catch (error) {
    assert.instance(error, ConfigError);
    assert.is((error as ConfigError).exitStatus, 2);
    assert.match((error as Error).message, pattern);
    return;
  }
  assert.unreachable(`accepted: ${toml}`);
}

const Configuration = suite('config');

Configuration('a flag beats the environment, which beats the file, which beats the default', () => {
  const toml = '[serial]\nurl = "file"\ntimeout_ms = 700\n[display]\ndriver = "sim"';
  const config = load(toml, { S3MP_SERIAL_TIMEOUT_MS: '800', S3MP_SERIAL_URL: 'env' }, { 'serial-url': 'flag' });
  assert.is(config.string('serial.url'), 'flag');
  assert.is(config.number('serial.timeout_ms'), 800);
  assert.is(config.string('display.driver'), 'sim');
  assert.is(config.boolean('dlms.tcp'), false);
  const sources = Object.fromEntries(config.resolved().map((r) => [r.key, r.source]));
  assert.equal(sources, {
    'serial.url': 'flag',
    'serial.timeout_ms': 'environment',
    'serial.further': 'default',
    'meter.serial': 'default',
    'display.driver': 'file',
    'dlms.password': 'default',
    'dlms.address': 'default',
    'dlms.tcp': 'default',
    meters: 'default',
  });
});

Configuration('a text that does not look as it must is refused, alone and in a list', () => {
  assert.is(load('[meter]\nserial = "4711"').string('meter.serial'), '4711');
  refuses('[meter]\nserial = "12345"', /meter\.serial: expected 1 to 4 letters, got "12345"/);
  refuses('[serial]\nfurther = ["2", "x"]', /serial\.further: expected a list, each a number/);
});

Configuration('an empty text is refused but where it is the default', () => {
  refuses('', /--serial-url: expected a text that is not empty/, {}, { 'serial-url': '' });
  assert.is(load('', {}, { 'dlms-address': '' }).string('dlms.address'), '');
});

Configuration('an unknown key names its nearest match', () => {
  refuses('[serial]\nurll = "x"', /unknown key serial\.urll; did you mean serial\.url\?/);
  refuses('[sreial]\nurl = "x"', /unknown key sreial/);
});

Configuration('a wrong type, range or choice says what was expected', () => {
  refuses('[serial]\ntimeout_ms = "soon"', /expected a number, got "soon"/);
  refuses('[serial]\ntimeout_ms = 0', /expected at least 1/);
  refuses('[serial]\ntimeout_ms = 1.5', /whole number/);
  refuses('[display]\ndriver = "paper"', /one of none, sim/);
  refuses('', /S3MP_DLMS_TCP: expected true or false/, { S3MP_DLMS_TCP: 'maybe' });
  refuses('', /S3MP_SERIAL_TIMEOUT_MS/, { S3MP_SERIAL_TIMEOUT_MS: '' });
  refuses('meters = 3', /list of tables/);
});

Configuration('broken TOML gives the line', () => {
  refuses('[serial]\nurl = ', /line 2/);
});

Configuration('a secret never shows, neither in the print nor in an error', () => {
  const config = load('[dlms]\npassword = "hunter2"');
  assert.not.match(JSON.stringify(config.resolved()), /hunter2/);
  refuses('[dlms]\npassword = 12345678', /got a secret/);
});

Configuration('a missing value says how to give it', () => {
  assert.throws(() => load('').string('serial.url'), /--serial-url, S3MP_SERIAL_URL or serial\.url in the file/);
  assert.is(flagOf('serial.timeout_ms'), 'serial-timeout-ms');
  assert.is(environmentOf('serial.timeout_ms'), 'S3MP_SERIAL_TIMEOUT_MS');
});

Configuration('garbage in the file is a configuration error, never a crash', () => {
  const seed = 20261123;
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const good = '[serial]\nurl = "file"\ntimeout_ms = 700\n[display]\ndriver = "sim"\n[[meters]]\nid = "a"\n';
  for (let i = 0; i < 3000; i++) {
    const text = [...good];
    for (let k = 0; k < 1 + random() * 5; k++)
      text[Math.floor(random() * text.length)] = String.fromCharCode(random() * 256);
    try {
      load(text.join(''));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
    }
  }
});

Configuration.after(() => rmSync(folder, { recursive: true }));
Configuration.run();
