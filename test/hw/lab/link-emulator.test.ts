/** Link emulator between two real sockets: delay, order, bursts of loss, stalls, cuts, counters. */

import { createSocket, type Socket } from 'node:dgram';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { claimLab, type LabAddresses } from '#hw/lab/addresses';
import { type LineProfile, LinkEmulator, PROFILES } from '#hw/lab/link-emulator';
import { seededRandom } from '#hw/random';
import { until } from '../../e2e/platform.ts';

const SEED = 20_260_801;
const PORT = 50_000;

let lab: LabAddresses;
let emulator: LinkEmulator;
let a: Socket;
let b: Socket;
/** Numbers of the packets that arrived at b, and when. */
let arrived: { n: number; at: number }[] = [];

const bind = (host: string): Promise<Socket> =>
  new Promise((resolve) => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
    socket.bind(PORT, host, () => resolve(socket));
  });

const Emulator = suite('link emulator');

Emulator.before(async () => {
  console.log(`seed ${SEED}`);
  lab = await claimLab();
  emulator = new LinkEmulator(seededRandom(SEED));
  const end = (n: number) => ({
    listen: { host: lab.link(0), port: PORT + n },
    peer: { host: lab.router(n), port: PORT },
  });
  await emulator.add({ name: 'line', a: end(10), b: end(11), profile: PROFILES.none! });
  a = await bind(lab.router(10));
  b = await bind(lab.router(11));
  b.on('message', (m) => arrived.push({ n: m.readUInt32BE(0), at: performance.now() }));
});
Emulator.after(() => {
  a.close();
  b.close();
  emulator.close();
  lab.release();
});
Emulator.before.each(() => {
  arrived = [];
  emulator.heal('line');
  emulator.change('line', PROFILES.none!);
});

function send(n: number): void {
  const packet = Buffer.alloc(64);
  packet.writeUInt32BE(n, 0);
  a.send(packet, PORT + 10, lab.link(0));
}

async function sendMany(count: number): Promise<void> {
  const before = counters().received;
  for (let n = 0; n < count; n++) {
    send(n);
    if (n % 50 === 49) await until('the packets in the emulator', () => counters().received === before + n + 1);
  }
  await until('the packets in the emulator', () => counters().received === before + count);
}

const counters = () => emulator.status()[0]!.ab;
const change = (profile: Partial<LineProfile>) => emulator.change('line', profile);

Emulator('delay is kept and nothing overtakes', async () => {
  change({ delayMs: 30, jitterMs: 20 });
  const sentAt = performance.now();
  await sendMany(50);
  await until('all of them', () => arrived.length === 50);
  assert.ok(arrived[0]!.at - sentAt >= 29, `first after ${arrived[0]!.at - sentAt} ms`);
  assert.equal(
    arrived.map(({ n }) => n),
    Array.from({ length: 50 }, (_, n) => n),
  );
});

Emulator('bursts lose runs of packets, as long and as often as told', async () => {
  change({ burst: 0.02, burstLength: 10 });
  const lost = counters().lost;
  await sendMany(4_000);
  const share = (counters().lost - lost) / 4_000;
  await until('the rest', () => arrived.length === 4_000 - (counters().lost - lost));
  // In the long run the bad state holds burst · length / (1 + burst · length) of the packets: 0.167.
  assert.ok(share > 0.1 && share < 0.24, `${share} of the packets lost`);
  let runs = 0;
  for (let i = 1; i < arrived.length; i++) if (arrived[i]!.n > arrived[i - 1]!.n + 1) runs++;
  const mean = (counters().lost - lost) / runs;
  assert.ok(mean > 6 && mean < 16, `mean burst of ${mean} packets`);
});

Emulator('a stall holds everything back, also what is under way, and loses nothing', async () => {
  change({ delayMs: 20 });
  send(1);
  await until('the first packet in the emulator', () => counters().received > 0);
  const startedAt = performance.now();
  emulator.stall('line', 150);
  assert.ok(emulator.status()[0]!.stalledMs > 100);
  send(2);
  await until('both', () => arrived.length === 2);
  assert.equal(
    arrived.map(({ n }) => n),
    [1, 2],
  );
  for (const { at } of arrived) assert.ok(at - startedAt >= 149, `after ${at - startedAt} ms`);
  assert.is(emulator.status()[0]!.stalledMs, 0);
});

Emulator('a cut link forwards nothing, also not what was under way, and counts it', async () => {
  change({ delayMs: 50 });
  const { forwarded, swallowedByCut } = counters();
  await sendMany(5);
  emulator.cut('line');
  await sendMany(5);
  change({ delayMs: 0 });
  emulator.heal('line');
  send(99);
  await until('a packet after healing', () => arrived.length === 1);
  assert.is(arrived[0]!.n, 99);
  assert.is(counters().forwarded - forwarded, 1);
  assert.is(counters().swallowedByCut - swallowedByCut, 10);
});

Emulator.run();
