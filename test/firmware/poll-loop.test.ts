/** The poll loop: its schedule in virtual time, and the whole chain over real TCP against the simulated energy meter. */

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openBus } from '#hw/serial/open';
import type { BytePort } from '#hw/serial/port';
import { Household } from '#hw/sim/household';
import { SimMeter, startSimSlave } from '#hw/sim/or-we-514';
import { openSimRelay } from '#hw/sim/relay';
import { lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { MAX_FRAME } from '#modbus/rtu';
import { GUARD_MS } from '#test/guard';
import { seeded } from '#test/random';
import { MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import type { PollLoopOptions } from '../../firmware/poll-loop.ts';
import { clock, loopOn, until } from '../interop/pty-loop.ts';
import { MemoryBus } from './memory-bus.ts';

/** Those of a meter with one phase and one tariff. */
const QUANTITIES = Object.values(Quantity).slice(0, 9);

/** A meter whose registers hold the captured set of values. */
function knownMeter(maxRead?: number): SimMeter {
  const meter = new SimMeter(1, undefined, maxRead);
  const words: Record<number, number> = { 304: 5001, 305: 23_142, 314: 1473, 321: 327, 329: 98, 337: 341 };
  Object.assign(words, { 344: 959, 40960: 3, 40961: 1328, 40990: 1, 40991: 36_812 });
  for (const [address, value] of Object.entries(words)) meter.setRegister(Number(address), value);
  return meter;
}

const KNOWN = [23_142, 1473, 5001, 327, 98, 341, 959, 1_979_360, 1_023_480];

/** A loop on a fast line. */
const makeLoop = (port: BytePort, options: Partial<PollLoopOptions> = {}) =>
  loopOn(port, {
    timing: lineTiming(115_200, 'even'),
    timeoutMs: 80,
    backoffMs: { first: 150, last: 600 },
    ...options,
  });

/** Values, with the active energy as its register has it. */
const values = (image: MeasurementImage) =>
  QUANTITIES.map((q) => image.value(q) - (q === Quantity.activeEnergy ? image.value(q) % 10 : 0));
const qualities = (image: MeasurementImage, at = clock()) => QUANTITIES.map((q) => image.quality(q, at));
const all = (quality: Quality) => QUANTITIES.map(() => quality);
const is = (image: MeasurementImage, quality: Quality) => qualities(image).every((q) => q === quality);

const Schedule = suite('poll loop: schedule');

Schedule('reads values in every cycle, active energy every second, reactive energy every five', () => {
  const bus = new MemoryBus(knownMeter(), 60, true);
  const { loop, image } = makeLoop(bus, { timing: lineTiming(9600, 'even') });
  while (loop.time[0]! < 20_000) bus.run(loop, 1);
  const count = (start: number) => bus.asked.filter((a) => a === start).length;
  assert.ok(Math.abs(count(0x130) - 20_000 / 64) < 32, `${count(0x130)} reads of values`);
  assert.ok(count(0xa000) >= 19 && count(0xa000) <= 21, `${count(0xa000)} reads of active energy`);
  assert.ok(count(0xa01e) >= 5 && count(0xa01e) <= 6, `${count(0xa01e)} reads of reactive energy`);
  assert.equal(values(image), KNOWN);
  assert.equal(qualities(image, loop.time[0]), all(Quality.good));
  assert.ok(Math.abs(loop.cycles - count(0x130)) <= 1);
  assert.is(count(0x0b), 1);
});

Schedule('keeps the shortest time between two cycles', () => {
  const bus = new MemoryBus(knownMeter(), 60, true);
  const { loop } = makeLoop(bus, { cycleMs: 500 });
  while (loop.time[0]! < 10_000) bus.run(loop, 1);
  assert.ok(Math.abs(bus.asked.filter((a) => a === 0x130).length - 20) <= 1);
});

Schedule('a map with slow registers only does not spin', () => {
  const bus = new MemoryBus(knownMeter(), 10, true);
  const slow = OR_WE_514.registers.filter((r) => r.everyMs > 0);
  const { loop } = makeLoop(bus, { map: { ...OR_WE_514, registers: slow } });
  bus.run(loop, 5);
  loop.step();
  loop.step();
  loop.step();
  assert.ok(loop.time[1]! > 900, `next due at ${loop.time[1]} ms`);
  bus.run(loop, 8);
  assert.ok(loop.time[0]! > 3000, `${loop.time[0]} ms`);
});

Schedule('silence makes values suspect, then missing; the meter is asked less and less often, once each time', () => {
  const bus = new MemoryBus(knownMeter(), 10, true);
  const { loop, image } = makeLoop(bus, { backoffMs: { first: 5000, last: 60_000 }, timeoutMs: 600 });
  bus.run(loop, 4);
  let now = loop.time[0]!;
  const goodAt = now;
  bus.mute = true;
  const sentAt: number[] = [];
  while (now < 400_000) {
    const before = bus.requests;
    loop.time[0] = now;
    loop.step();
    const due = loop.time[1]!;
    if (bus.requests > before) sentAt.push(now);
    if (now > goodAt + 3000 && now < goodAt + 9000) assert.equal(qualities(image, now), all(Quality.suspect));
    if (due > now) now = due;
  }
  assert.equal(qualities(image, now), all(Quality.missing));
  const pauses = sentAt.slice(1).map((at, i) => Math.round((at - sentAt[i]!) / 1000));
  assert.equal(pauses.slice(0, 11), [1, 1, 2, 1, 1, 6, 11, 21, 41, 61, 61]);
  assert.not(loop.healthy);
  bus.mute = false;
  bus.run(loop, 5);
  now = loop.time[0]!;
  assert.equal(qualities(image, now), all(Quality.good));
  assert.ok(loop.healthy);
});

Schedule(
  'a meter that falls silent on a shared bus keeps the others waiting once at a time, and ever less often',
  () => {
    const units = [1, 2, 3];
    const meters = units.map((unit) => new SimMeter(unit));
    const asked: { readonly unit: number; readonly at: number }[] = [];
    let now = 0;
    let silent = 0;
    let reply: Uint8Array | undefined;
    const port: BytePort = {
      name: 'shared',
      isOpen: true,
      onData: () => {},
      onState: () => {},
      async close() {},
      write(frame) {
        asked.push({ unit: frame[0]!, at: now });
        const out = new Uint8Array(MAX_FRAME);
        const length = meters[frame[0]! - 1]!.answer(frame, frame.length, out, 0);
        reply = frame[0] === silent ? undefined : out.slice(0, length);
      },
    };
    const images = units.map(() => new MeasurementImage());
    const further = [2, 3].map((unit) => ({ unit, map: OR_WE_514, image: images[unit - 1]! }));
    const slow = { cycleMs: 1000, timeoutMs: 600, backoffMs: { first: 5000, last: 60_000 } };
    const { loop } = makeLoop(port, { ...slow, image: images[0]!, further });
    const run = (until: number) => {
      while (now < until) {
        loop.time[0] = now;
        loop.step();
        if (reply) {
          now += 20;
          loop.master.now[0] = now;
          loop.master.receive(reply, reply.length);
          reply = undefined;
        } else now = Math.max(now, loop.time[1]!);
      }
    };
    const passes = (unit: number, since: number) =>
      asked
        .filter((each, i) => each.at >= since && each.unit === unit && asked[i - 1]?.unit !== unit)
        .map(({ at }) => at);
    const waitedFor = (unit: number, since: number) =>
      asked.reduce((sum, each, i) => {
        if (each.unit !== unit || each.at < since) return sum;
        return sum + (asked[i + 1]?.at ?? now) - each.at;
      }, 0);

    run(60_000);
    for (const unit of units) assert.ok(passes(unit, 0).length >= 59, `unit ${unit}: ${passes(unit, 0).length} passes`);
    silent = 3;
    run(120_000);
    for (const unit of [1, 2]) {
      const at = passes(unit, 60_000);
      const longest = Math.max(...at.slice(1).map((each, i) => each - at[i]!));
      assert.ok(longest < 2_200, `unit ${unit} waited ${longest} ms`);
      assert.ok(at.length >= 55, `unit ${unit}: ${at.length} passes in a minute`);
    }
    const first = waitedFor(3, 60_000);
    assert.ok(first < 6_000, `${first} ms of the first minute`);
    run(420_000);
    const later = waitedFor(3, 120_000);
    assert.ok(later < 0.015 * 300_000, `${later} ms of the next five minutes`);
    assert.is(images[2]!.quality(Quantity.activeEnergy, now), Quality.missing);
    silent = 0;
    run(500_000);
    assert.ok(passes(3, 485_000).length >= 14, 'it is back at its rate');
  },
);

Schedule.run();

const Chain = suite('poll loop over TCP');

Chain('the image holds what the household has in its registers, and follows the relay twin', async () => {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-poll-'));
  const relay = openSimRelay(folder);
  const household = new Household({ seed: 7, relayFolder: folder });
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, new SimMeter(1, household), {
    baud: 0,
    turnaroundMs: 0,
  });
  const port = openBus(`tcp://127.0.0.1:${slave.port}`, { baud: 9600, parity: 'even' });
  const { loop, image } = makeLoop(port, { timeoutMs: GUARD_MS });
  loop.start();
  try {
    const live = () => {
      const s = household.at(Date.now());
      return [s.voltage, s.current, s.frequency, s.activePower, s.reactivePower, s.apparentPower, s.powerFactor];
    };
    const agrees = () => is(image, Quality.good) && String(values(image).slice(0, 7)) === String(live());
    await until('the image equals the registers', agrees);
    assert.ok(image.value(Quantity.activePower) > 50);
    assert.ok(Math.abs(image.value(Quantity.activeEnergy) - 10 * household.at(Date.now()).activeEnergy) <= 10);
    relay.set(false);
    await until('no load', () => image.value(Quantity.activePower) === 0 && image.value(Quantity.current) === 0);
    assert.ok(image.value(Quantity.voltage) > 20_000, 'the mains stay');
    relay.set(true);
    await until('load again', () => image.value(Quantity.activePower) > 50);
    assert.is(loop.master.counters.failures, 0);
  } finally {
    loop.stop();
    await port.close();
    await slave.close();
    rmSync(folder, { recursive: true });
  }
});

Chain('a meter whose line is unplugged does not count as answering, and does again when it is back', async () => {
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, knownMeter(), { baud: 0, turnaroundMs: 0 });
  const port = openBus(`tcp://127.0.0.1:${slave.port}`, { baud: 9600, parity: 'even' });
  const { loop, image } = makeLoop(port);
  loop.start();
  try {
    await until('values', () => loop.healthy && is(image, Quality.good));
    await slave.close();
    await until('the loss', () => !port.isOpen);
    assert.not(loop.healthy);
    assert.ok(is(image, Quality.suspect));
    const again = await startSimSlave({ host: '127.0.0.1', port: slave.port }, knownMeter(), {
      baud: 0,
      turnaroundMs: 0,
    });
    try {
      await until('values again', () => loop.healthy && is(image, Quality.good));
    } finally {
      await again.close();
    }
  } finally {
    loop.stop();
    await port.close();
  }
});

Chain('a mute meter is noticed, backed off from, and found again', async () => {
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, knownMeter(), { baud: 0, turnaroundMs: 0 });
  const port = openBus(`tcp://127.0.0.1:${slave.port}`, { baud: 9600, parity: 'even' });
  const { loop, image, lines } = makeLoop(port);
  loop.start();
  try {
    await until('values', () => is(image, Quality.good));
    assert.equal(values(image), KNOWN);
    slave.mute = true;
    await until('suspect values', () => is(image, Quality.suspect));
    assert.not(loop.healthy);
    const at = image.updatedAt(Quantity.voltage);
    await until('backing off', () => loop.master.counters.timeouts >= 5);
    assert.is(image.updatedAt(Quantity.voltage), at, 'the age is that of the last reply');
    assert.is(image.quality(Quantity.voltage, at + 10_001), Quality.missing);
    await until('a word of it', () => lines.some((line) => line.includes('no answer from the energy meter')));
    slave.mute = false;
    await until('values again', () => is(image, Quality.good));
    assert.ok(loop.healthy);
    assert.ok(lines.some((line) => line.includes('answers again')));
  } finally {
    loop.stop();
    await port.close();
    await slave.close();
  }
});

Chain('a lost connection makes values suspect and is made again', async () => {
  const options = { baud: 0, turnaroundMs: 0 };
  let slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, knownMeter(), options);
  const place = { host: '127.0.0.1', port: slave.port };
  const port = openBus(`tcp://127.0.0.1:${slave.port}`, { baud: 9600, parity: 'even' });
  const { loop, image, lines } = makeLoop(port);
  loop.start();
  try {
    await until('values', () => is(image, Quality.good));
    await slave.close();
    await until('suspect values', () => is(image, Quality.suspect));
    assert.not(port.isOpen);
    assert.ok(lines.some((line) => line.includes('trying again in') && line.includes('code=modbus.port')));
    slave = await startSimSlave(place, knownMeter(), options);
    await until('values again', () => is(image, Quality.good));
  } finally {
    loop.stop();
    await port.close();
    await slave.close();
  }
});

Chain('a meter that refuses the block is read value by value', async () => {
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, knownMeter(10), { baud: 0, turnaroundMs: 0 });
  const port = openBus(`tcp://127.0.0.1:${slave.port}`, { baud: 9600, parity: 'even' });
  const { loop, image } = makeLoop(port);
  loop.start();
  try {
    await until('values', () => is(image, Quality.good));
    assert.equal(values(image), KNOWN);
    assert.is(loop.master.counters.exceptions, 1);
    await until('more cycles', () => loop.cycles > 20);
    assert.is(loop.master.counters.exceptions, 1);
  } finally {
    loop.stop();
    await port.close();
    await slave.close();
  }
});

/** A line that spoils what a meter says: `spoil` gets each good reply and puts bytes on the line. */
async function startSpoiledLine(spoil: (reply: Uint8Array, socket: Socket) => void): Promise<Server> {
  const meter = knownMeter();
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    socket.on('data', (frame) => {
      const out = new Uint8Array(MAX_FRAME);
      const length = meter.answer(frame, frame.length, out, 0);
      spoil(out.slice(0, length), socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

Chain('garbage on the line never reaches the image', async () => {
  const random = seeded();
  const server = await startSpoiledLine((reply, socket) => {
    const kind = random.below(16);
    if (kind === 0) reply[random.below(reply.length)]! ^= 1 << random.below(8);
    if (kind === 1) reply = reply.subarray(0, random.below(reply.length));
    if (kind === 2) reply = new Uint8Array(0);
    if (kind < 5) socket.write(random.bytes(random.below(20)));
    const split = random.below(reply.length + 1);
    socket.write(reply.subarray(0, split));
    setImmediate(() => socket.destroyed || socket.write(reply.subarray(split)));
  });
  const port = openBus(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`, { baud: 9600, parity: 'even' });
  const { loop, image } = makeLoop(port, { timeoutMs: 15, backoffMs: { first: 20, last: 40 } });
  loop.start();
  try {
    const { counters } = loop.master;
    const enough = () => counters.replies > 100 && counters.damaged > 10 && counters.timeouts > 3;
    await until('replies and trouble of each kind', () => {
      QUANTITIES.forEach((q) => {
        assert.ok(values(image)[q] === KNOWN[q] || image.quality(q, clock()) === Quality.missing);
      });
      return enough();
    });
    assert.equal(values(image), KNOWN);
  } finally {
    loop.stop();
    await port.close();
    server.close();
  }
});

Chain('a line that never falls silent is survived', async () => {
  let babbling = true;
  const server = await startSpoiledLine((reply, socket) => {
    if (!babbling) socket.write(reply);
  });
  const timers: NodeJS.Timeout[] = [];
  server.on('connection', (socket: Socket) => {
    timers.push(setInterval(() => babbling && socket.write(new Uint8Array(64).fill(0x55)), 1));
  });
  const port = openBus(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`, { baud: 9600, parity: 'even' });
  const { loop, image, lines } = makeLoop(port);
  loop.start();
  try {
    await until('trouble', () => lines.some((line) => line.includes('damaged')));
    assert.equal(qualities(image), all(Quality.missing));
    babbling = false;
    await until('values', () => is(image, Quality.good));
    assert.equal(values(image), KNOWN);
  } finally {
    loop.stop();
    for (const timer of timers) clearInterval(timer);
    await port.close();
    server.close();
  }
});

Chain('a bus that is neither a path nor tcp:// is refused', () => {
  for (const url of ['COM3', 'tcp://host', 'tcp://host:0', 'tcp://host:70000', 'udp://host:1']) {
    assert.throws(
      () => openBus(url, { baud: 9600, parity: 'even' }),
      (error: { code?: string }) => error.code === 'config.invalid',
      url,
    );
  }
});

Chain.run();
