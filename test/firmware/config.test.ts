/** `config check` of the meter's bundle: what it lets pass, the meter can start with. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { deviceNode } from '#hw/lab/lab';

const Check = suite('config check');
const BUNDLE = join(__dirname, '..', '..', 'firmware.js');

let folder = '';
Check.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 's3mp-config-'));
});
Check.after.each(() => rmSync(folder, { recursive: true, force: true }));

function check(toml: string) {
  const file = join(folder, 'meter.toml');
  writeFileSync(file, toml);
  const { status, stderr } = spawnSync(deviceNode(), [BUNDLE, 'config', 'check', '--json', '--config', file], {
    encoding: 'utf8',
  });
  return { status, ...(status === 0 ? {} : (JSON.parse(stderr) as { error: string; message: string })) };
}

Check('values that the start would refuse are refused, each by its key', () => {
  for (const [toml, words] of [
    ['[scion]\naddress = "999.0.0.5"', /scion\.address: expected an IP address/],
    ['[scion]\naddress = "10.0.0.05"', /scion\.address/],
    ['[scion]\naddress = "0.0.0.0"', /scion\.address/],
    ['[scion]\naddress = "::"', /scion\.address/],
    ['[scion]\naddress = "1:2:3"', /scion\.address/],
    ['[serial]\nurl = "tcp://10.0.0.9:99999"', /serial\.url: expected \/dev\/… or tcp:\/\/HOST:PORT/],
    ['[serial]\nurl = "tcp://10.0.0.9:0"', /serial\.url/],
    ['[serial]\nfurther = ["1"]', /serial\.further 1: .*once/],
    ['[serial]\nfurther = ["248"]', /serial\.further 248/],
    ['[serial]\nfurther = ["2:no-such-map"]', /no register map no-such-map/],
    ['[dlms]\ntcp_address = "meter:4059"', /dlms\.tcp_address: expected IP:PORT/],
    ['[dlms]\nudp_address = "10.0.0.5"', /dlms\.udp_address/],
    ['[display]\nheight = 48', /display\.height 48: expected 64 or 32/],
    ['[relay]\ndriver = "sim"', /relay\.path is not set/],
    ['[display]\ndriver = "sim"', /display\.path is not set/],
  ] as const) {
    const { status, message } = check(toml);
    assert.is(status, 2, `${toml}: ${message}`);
    assert.match(message!, words);
  }
});

Check('values of all kinds pass', () => {
  for (const toml of [
    '[scion]\naddress = "fd00::5"\n[serial]\nurl = "tcp://[fd00::9]:502"',
    '[scion]\naddress = "127.1.0.5"\n[serial]\nurl = "tcp://device-server:502"\nfurther = ["2", "3:sdm120"]',
    '[dlms]\ntcp_address = "[::1]:4059"\nudp_address = "127.0.0.1:0"\n[display]\nheight = 32',
    '[dlms]\ntcp_address = ""',
  ])
    assert.is(check(toml).status, 0, toml);
});

Check.run();
