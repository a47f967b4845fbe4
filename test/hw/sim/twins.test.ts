/** The simulated twins: energy meter and household, relay, display. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, readU16, toHex } from '#base/bytes';
import { displayTextFile, openSimDisplay } from '#hw/sim/display';
import { Household } from '#hw/sim/household';
import { SimMeter } from '#hw/sim/or-we-514';
import { openSimRelay, readRelayValue, relayValueFile } from '#hw/sim/relay';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { planReads } from '#modbus/read-plan';
import { encodeReadRequest, encodeWriteSingle, MAX_FRAME } from '#modbus/rtu';
import vectors from '../../vectors/modbus.json';

function inFolder(test: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-twin-'));
  try {
    test(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const House = suite('simulated household');

House('its registers agree with each other at every moment of a day', () => {
  const household = new Household({ seed: 3 });
  const powers = new Set<number>();
  let energy = 0;
  let before = household.at(0).activeEnergy;
  for (let ms = 0; ms < 86_400_000; ms += 5_000) {
    const s = household.at(ms);
    const { activePower: p, reactivePower: q, apparentPower: va } = s;
    assert.ok(Math.abs(Math.hypot(p, q) - va) <= 0.5);
    assert.ok(Math.abs((s.voltage / 100) * (s.current / 1000) - va) <= 0.5);
    assert.ok(Math.abs((1000 * p) / va - s.powerFactor) <= 0.5);
    assert.ok(s.voltage > 20_700 && s.voltage < 25_300, `${s.voltage} in 0.01 V`);
    assert.ok(s.frequency > 4_900 && s.frequency < 5_100, `${s.frequency} in 0.01 Hz`);
    assert.ok(s.activeEnergy >= before);
    before = s.activeEnergy;
    powers.add(p);
    energy += (p * 5) / 3600;
  }
  assert.ok(powers.size > 300, `${powers.size} different loads`);
  const counted = 10 * (household.at(86_400_000).activeEnergy - new Household({ seed: 3 }).at(0).activeEnergy);
  assert.ok(Math.abs(counted - energy) < 0.01 * energy, `${counted} Wh counted, ${energy} Wh summed`);
});

House('the same seed gives the same day, another seed another', () => {
  const powers = (seed: number) => {
    const household = new Household({ seed });
    return Array.from({ length: 500 }, (_, i) => household.at(1000 * i).activePower);
  };
  assert.equal(powers(5), powers(5));
  assert.not.equal(powers(5), powers(6));
});

House('an open contact leaves voltage and nothing else', () => {
  inFolder((folder) => {
    const relay = openSimRelay(folder);
    const household = new Household({ seed: 3, relayFolder: folder });
    assert.ok(household.at(1000).activePower > 0);
    relay.set(false);
    const s = household.at(2000);
    assert.equal([s.activePower, s.reactivePower, s.apparentPower, s.current], [0, 0, 0, 0]);
    assert.ok(s.voltage > 20_000);
    const { activeEnergy } = household.at(3000);
    assert.is(household.at(3_603_000).activeEnergy, activeEnergy);
    relay.set(true);
    assert.ok(household.at(3_604_000).activePower > 0);
  });
});

House.run();

const Meter = suite('simulated OR-WE-514');
const out = new Uint8Array(MAX_FRAME);
const ask = (meter: SimMeter, request: string) => {
  const frame = fromHex(request);
  return toHex(out, 0, meter.answer(frame, frame.length, out, 0));
};

Meter('answers the captured requests byte for byte', () => {
  const meter = new SimMeter(1);
  for (const { decode } of vectors.orno_or_we_514_captured.pairs) {
    const long = decode.type === 'u32' || decode.type === 'i32';
    if (long) meter.setRegister(decode.reg, decode.raw >>> 16);
    meter.setRegister(decode.reg + (long ? 1 : 0), decode.raw & 0xffff);
  }
  for (const { request, response } of vectors.orno_or_we_514_captured.pairs) assert.is(ask(meter, request), response);
});

Meter('refuses with exceptions 1, 2 and 3 as a real one', () => {
  const meter = new SimMeter(1);
  for (const { request, response, code } of vectors.exceptions.filter((e) => e.code <= 3)) {
    assert.is(ask(meter, request), response, `exception ${code}`);
  }
  encodeWriteSingle(out, 0, 1, 0x130, 1);
  assert.is(ask(meter, toHex(out, 0, 8)), '018602c3a1', 'measured values cannot be written');
});

Meter('writes its settings and reads them back', () => {
  const meter = new SimMeter(1);
  const settings = vectors.frames.filter((f) => f.name.startsWith('set 9600'));
  assert.is(settings.length, 2);
  for (const { request, response } of settings) assert.is(ask(meter, request), response);
  encodeReadRequest(out, 0, 1, 3, 0x111, 1);
  assert.ok(ask(meter, toHex(out, 0, 8)).startsWith('0103020304'));
});

Meter('keeps silent on a bad CRC, on another unit and on a broadcast', () => {
  const meter = new SimMeter(1);
  assert.is(ask(meter, '010301310001d438'), '');
  assert.is(ask(new SimMeter(2), '010301310001d439'), '');
  const broadcast = vectors.negative.find((v) => v.name.startsWith('broadcast'))!;
  assert.is(ask(meter, broadcast.request!), '');
});

Meter('carries the household in its registers, negative numbers too', () => {
  const household = new Household({ seed: 11 });
  const meter = new SimMeter(1, household);
  const read = planReads(OR_WE_514, 1)[0]!;
  const length = meter.answer(read.frame, 8, out, 5_000);
  assert.is(length, read.replyLength);
  assert.is(readU16(out, 5), household.at(5_000).voltage);
});

Meter.run();

const Contact = suite('relay twin');

Contact('is connected from the start and keeps its state over a restart', () => {
  inFolder((folder) => {
    const relay = openSimRelay(folder);
    assert.ok(relay.isConnected());
    assert.is(readFileSync(relayValueFile(folder), 'utf8'), '1\n');
    relay.set(false);
    assert.is(readFileSync(relayValueFile(folder), 'utf8'), '0\n');
    assert.not(openSimRelay(folder).isConnected());
  });
});

Contact('reads the contact, not its last command', () => {
  inFolder((folder) => {
    const relay = openSimRelay(folder);
    writeFileSync(relayValueFile(folder), '0\n');
    assert.not(relay.isConnected());
    assert.is(readRelayValue(folder), false);
  });
});

Contact('says so when it cannot switch', () => {
  inFolder((folder) => {
    const inner = join(folder, 'relay');
    const relay = openSimRelay(inner);
    rmSync(inner, { recursive: true });
    assert.throws(
      () => relay.set(false),
      (error: { code?: string }) => error.code === 'relay.failed',
    );
    assert.is(readRelayValue(inner), undefined);
    writeFileSync(inner, '');
    for (const place of [inner, join(inner, 'relay'), '/proc/relay'])
      assert.throws(
        () => openSimRelay(place),
        (error: { code?: string }) => error.code === 'relay.failed',
      );
  });
});

Contact.run();

const Screen = suite('display twin');

Screen('shows lines cut to 21 × 8 characters, without control characters', () => {
  inFolder((folder) => {
    const display = openSimDisplay(folder);
    assert.equal([display.columns, display.rows], [21, 8]);
    display.show(['a\nb\tc', 'x'.repeat(30), ...Array.from({ length: 9 }, (_, i) => `row ${i}`)]);
    const lines = readFileSync(displayTextFile(folder), 'utf8').split('\n');
    assert.is(lines.length, 9, 'eight rows and the end');
    assert.is(lines[0], 'a b c');
    assert.is(lines[1], 'x'.repeat(21));
    assert.is(lines[7], 'row 5');
  });
});

Screen('never fails, and shows again what could not be shown', () => {
  inFolder((folder) => {
    const inner = join(folder, 'display');
    const display = openSimDisplay(inner);
    rmSync(inner, { recursive: true });
    display.show(['lost']);
    openSimDisplay(inner);
    display.show(['lost']);
    assert.is(readFileSync(displayTextFile(inner), 'utf8'), 'lost\n');
  });
});

Screen.run();
