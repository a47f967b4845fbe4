/**
 * Soak `mutations`: a million broken packets through every decoder and through the routers of a network. Each lies twice in
 * memory: in a buffer of exactly its size, where a read beyond the end gives undefined, and in a larger one before random
 * bytes. Both must give the same outcome and the same changed bytes, and what lies behind the packet must stay as it is;
 * so nothing is read or written outside.
 */

import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { decodeBfd } from '#scion/bfd';
import { decodeExtension, findOption } from '#scion/extensions';
import { NextHeader } from '#scion/header';
import { encodeReplyHeader, PacketView, ParseFault, parsePacket, replyHeaderLength } from '#scion/packet';
import { decodePath } from '#scion/path';
import { INTERNAL, NO_SIBLING, type Router } from '#scion/router';
import { ROUTER_REASON_NAMES, RouterAction } from '#scion/router-types';
import { decodeScmp, portOfQuote } from '#scion/scmp';
import { SpaoMac } from '#scion/spao';
import { isStunRequest } from '#scion/stun';
import { isUdpChecksumRight, udpEnd } from '#scion/udp';
import { Network } from '../protocols/scion/network.ts';
import type { Random } from '../random.ts';
import forwarding from '../vectors/scion-forwarding.json';
import vectors from '../vectors/scion-packets.json';
import { encodePlan, randomPlan } from './random-packets.ts';
import { type Soak, scaled } from './soak.ts';

const MUTATIONS = 1_000_000;
const NOW = 1_700_001_000_000;
const GUARD = 64;
/** A packet takes microseconds; one that takes this long hangs for all practical purposes. */
const SLOWEST_MS = 2000;

interface Base {
  readonly router: Router;
  readonly ingress: number;
  readonly packet: Uint8Array;
}

/** Genuine packets at every router on their way, packets of every kind, and the vectors. */
function bases(random: Random): Base[] {
  const network = new Network(NOW);
  const list: Base[] = [];
  for (const c of forwarding.cases) {
    for (let kind = 0; kind < 4; kind++) {
      const plan = randomPlan(random);
      const raw = fromHex(c.raw_path_hex);
      const packet = encodePlan({ ...plan, path: { kind: 'scion', path: decodePath(raw, 0, raw.length) } });
      writeIa(packet, 12, c.dst);
      writeIa(packet, 20, c.src);
      const steps = network.send(c.src, packet);
      let at = { isdAs: c.src, id: INTERNAL };
      let sent = packet;
      for (const step of steps) {
        list.push({ router: network.router(at.isdAs), ingress: at.id, packet: sent });
        sent = step.packet;
        if (step.egress !== 0) at = network.far(step.isdAs, step.egress);
      }
    }
  }
  const anywhere = [...network.routers.values()];
  const at = (packet: Uint8Array): Base => ({
    router: anywhere[random.below(anywhere.length)]!,
    ingress: random.below(2) ? INTERNAL : 1 + random.below(26),
    packet,
  });
  for (let i = 0; i < 100; i++) list.push(at(encodePlan(randomPlan(random))));
  list.push(at(fromHex(vectors['packet-udp-hbh-e2e'].expected.packet_hex)));
  list.push(at(fromHex(vectors['packet-bfd-empty-path'].expected.packet_hex)));
  list.push(at(fromHex(vectors.stun.expected.request_hex)));
  return list;
}

function writeIa(packet: Uint8Array, at: number, text: string): void {
  const [isd = '', as = ''] = text.split('-');
  packet.set(fromHex(Number(isd).toString(16).padStart(4, '0')), at);
  packet.set(
    fromHex(
      as
        .split(':')
        .map((g) => g.padStart(4, '0'))
        .join(''),
    ),
    at + 2,
  );
}

function mutate(random: Random, base: Uint8Array): Uint8Array {
  const packet = base.slice(0, random.below(4) === 0 ? random.below(base.length + 1) : base.length);
  if (packet.length === 0) return packet;
  for (let n = random.below(4); n > 0; n--) {
    const at = random.below(random.below(2) ? Math.min(48, packet.length) : packet.length);
    packet[at] = random.below(2) ? random.below(256) : packet[at]! ^ (1 << random.below(8));
  }
  return packet;
}

export const mutations: Soak = async ({ random, share }) => {
  const count = scaled(MUTATIONS, share);
  const list = bases(random);
  const spao = new SpaoMac(random.bytes(16));
  const reasons = new Set<string>();
  let slowest = 0;
  for (let i = 0; i < count; i++) {
    const { router, ingress, packet } = list[random.below(list.length)]!;
    const exact = mutate(random, packet);
    const roomy = new Uint8Array(exact.length + GUARD);
    roomy.set(exact);
    for (let k = exact.length; k < roomy.length; k++) roomy[k] = (i + 37 * k) & 0xff;
    const guard = toHex(roomy, exact.length);
    const original = exact.slice();
    const started = performance.now();
    try {
      assert.is(decodeAll(roomy, exact.length, spao), decodeAll(exact, exact.length, spao));
      const outcome = route(router, exact, exact.length, ingress);
      assert.is(route(router, roomy, exact.length, ingress), outcome);
      assert.is(toHex(roomy, 0, exact.length), toHex(exact));
      assert.is(toHex(roomy, exact.length), guard);
      reasons.add(outcome.split(' ')[1]!);
    } catch (error) {
      throw new Error(`mutation ${i} at ${ingress}: ${toHex(original)}`, { cause: error });
    }
    slowest = Math.max(slowest, performance.now() - started);
    if (slowest > SLOWEST_MS) throw new Error(`mutation ${i} took ${slowest} ms: ${toHex(original)}`);
  }
  return { done: count, unit: 'mutations', figures: { reasons: reasons.size, slowestMs: Number(slowest.toFixed(1)) } };
};

/** Action, reason and where the packet goes, with the bytes of a reply. */
function route(router: Router, buf: Uint8Array, length: number, ingress: number): string {
  const { action, reason, egress, sibling, port } = router.process(buf, length, ingress, NO_SIBLING, NOW);
  const target =
    action === RouterAction.forward
      ? egress
      : action === RouterAction.sibling
        ? sibling
        : action === RouterAction.deliver
          ? port
          : 0;
  const reply = action === RouterAction.reply ? toHex(router.reply.packet, 0, router.reply.length) : '';
  return `${action} ${ROUTER_REASON_NAMES[reason]} ${target} ${reply}`;
}

const view = new PacketView();
const scratch = new PacketView();

/** What every decoder makes of `buf[0, length)`, as text to compare. */
function decodeAll(buf: Uint8Array, length: number, spao: SpaoMac): string {
  const fault = parsePacket(buf, 0, length, view);
  let text = `${fault} ${isStunRequest(buf, 0, length)} ${describe(() => decodePath(buf, 0, length))}`;
  text += ` ${describe(() => decodeExtension(buf, 0, length))} ${describe(() => decodeBfd(buf, 0, length))}`;
  text += ` ${describe(() => decodeScmp(buf, 0, length))} ${portOfQuote(buf, 0, length, scratch)}`;
  if (fault !== ParseFault.none) return text;
  const { l4At, l4End, l4Protocol } = view;
  assert.ok(view.pathAt <= view.payloadAt && view.payloadAt <= l4At && l4At <= l4End && l4End <= length);
  text += ` ${udpEnd(buf, l4At, l4End)} ${spao.verify(buf, view)}`;
  if (l4Protocol === NextHeader.udp && l4End - l4At >= 8) text += isUdpChecksumRight(buf, 0, l4At, l4End);
  if (view.endToEndAt > 0) text += findOption(buf, view.endToEndAt, 2);
  const reply = new Uint8Array(replyHeaderLength(buf, view));
  const end = encodeReplyHeader(reply, 0, buf, view, NextHeader.udp);
  assert.ok(end === -1 || end === reply.length);
  return `${text} ${describe(() => decodeScmp(buf, l4At, l4End))} ${toHex(reply)}`;
}

function describe(decode: () => unknown): string {
  try {
    return JSON.stringify(decode(), plainly) ?? 'undefined';
  } catch (error) {
    if (error instanceof S3mpError) return error.code;
    throw error;
  }
}

function plainly(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  return typeof value === 'bigint' ? value.toString(16) : value;
}
