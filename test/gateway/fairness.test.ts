/** A flood on one link of `gateway.js`: the hosts inside still get their share of the router. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { UdpSocket } from '#hw/udp';
import { parseHost } from '#scion/address';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket } from '#scion/packet';
import { readStunResponse, STUN_REQUEST_LENGTH, writeStunRequest } from '#scion/stun';
import { GUARD_MS } from '#test/guard';
import { askStatus, statusSocket } from '../../gateway/status-server.ts';
import { CORE, LEAF, TwoAses } from './two-ases.ts';

const bundle = join(__dirname, '..', '..', 'gateway.js');
const REQUESTS = 60;

/**
 * Milliseconds for which a process has run, by the scheduler's own account: what it does in a time, however little of a busy
 * machine it gets. Only its main thread, which does a router's work.
 */
const ranMs = (pid: number) => Number(readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6;

/**
 * Sends one packet as fast as the system takes it, from the neighbour's own address. A process of its own, which never
 * waits: the router cannot keep up with it, so its queue for that link is full all the time.
 */
const FLOODER = `
const [host, port, toHost, toPort, hex] = process.argv.slice(1);
const packet = Buffer.from(hex, 'hex');
const socket = require('node:dgram').createSocket('udp4');
socket.bind(Number(port), host, () => {
  const pour = () => {
    for (let i = 0; i < 64; i++) socket.send(packet, Number(toPort), toHost);
    setImmediate(pour);
  };
  pour();
});`;

const Fairness = suite('fairness of the border router');

/** A packet that costs the router all its steps up to the MAC, which is wrong. */
function expensive(ases: TwoAses): Uint8Array {
  const path = ases.path();
  path[0] = 1;
  const out = new Uint8Array(1500);
  const end = encodeUdpPacket(out, 0, {
    src: { ia: parseIsdAs(LEAF.isdAs), host: parseHost('10.0.0.1'), port: 1 },
    dst: { ia: parseIsdAs(CORE.isdAs), host: parseHost(ases.host(CORE)), port: 31_000 },
    path: reversed(path),
    payload: new Uint8Array(100),
  });
  return out.slice(0, end);
}

/** The path from the leaf to the core: info turned, hops swapped; at the core's hop, with a broken MAC. */
function reversed(path: Uint8Array): Uint8Array {
  const out = path.slice();
  out[4]! ^= 1;
  out.set(path.subarray(24, 36), 12);
  out.set(path.subarray(12, 24), 24);
  out[35]! ^= 1;
  return out;
}

Fairness('while a link is flooded, a host is answered at once, every time', async () => {
  assert.ok(existsSync(bundle), 'build the bundles first: node build.mjs');
  const ases = await TwoAses.create();
  const directory = ases.directory(CORE);
  const router = spawn(process.execPath, [bundle, '--as-directory', directory, '--no-path-service-enabled'], {
    stdio: 'ignore',
  });
  const status = () => askStatus(statusSocket(directory, 'br'));
  const [from, to] = [ases.link(LEAF), ases.link(CORE)];
  let answer = (_id: string) => {};
  const host = await UdpSocket.open({
    host: ases.host(CORE),
    port: 0,
    onDatagram: (packet) => answer(toHex(packet, 8, 20)),
  });
  while ((await status()) === undefined) await new Promise((resolve) => setTimeout(resolve, 50));
  const flood = [from.host, from.port, to.host, to.port, toHex(expensive(ases))].map(String);
  const flooder = spawn(process.execPath, ['-e', FLOODER, ...flood], { stdio: 'ignore' });
  try {
    const seen = async () => (await status())!.links[0]!.traffic!;
    while ((await seen()).inPackets < 2000) await new Promise((resolve) => setTimeout(resolve, 20));
    const before = await seen();
    const started = ranMs(router.pid!);
    const waits: number[] = [];
    for (let i = 0; i < REQUESTS; i++) waits.push(await ask(ases, host, i, router.pid!, (f) => (answer = f)));
    const seconds = (ranMs(router.pid!) - started) / 1000;
    const flooded = (await seen()).inPackets - before.inPackets;
    waits.sort((a, b) => a - b);
    assert.ok(flooded / seconds > 3000, `only ${Math.round(flooded / seconds)} packets of flood a second`);
    assert.ok((before.refused['hop-mac'] ?? 0) > 1000, JSON.stringify(before.refused));
    assert.ok(waits[REQUESTS / 2]! < 50, `median ${waits[REQUESTS / 2]} ms`);
    assert.ok(waits.at(-1)! < 1000, `longest ${waits.at(-1)} ms`);
  } finally {
    for (const child of [flooder, router]) {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
    await host.close();
    ases.remove();
  }
});

/** Milliseconds for which the router runs until it has answered a STUN request. */
function ask(
  ases: TwoAses,
  host: UdpSocket,
  i: number,
  router: number,
  listen: (f: (id: string) => void) => void,
): Promise<number> {
  const id = new Uint8Array(12).fill(i + 1);
  const request = new Uint8Array(STUN_REQUEST_LENGTH);
  writeStunRequest(request, 0, id);
  assert.is(readStunResponse(request, 0, request.length, id), undefined);
  return new Promise((resolve, reject) => {
    const started = ranMs(router);
    const timer = setTimeout(() => reject(new Error(`request ${i} was not answered`)), GUARD_MS);
    listen((answered) => {
      if (answered !== toHex(id)) return;
      clearTimeout(timer);
      resolve(ranMs(router) - started);
    });
    const { host: to, port } = ases.router(CORE);
    host.send(request, to, port);
  });
}

Fairness.run();
