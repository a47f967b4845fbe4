/** Packets for the border routers of the recorded network, and what is seen of their answers. */

import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { type HostAddress, parseAddress } from '#scion/address';
import { checksum } from '#scion/checksum';
import { NextHeader } from '#scion/header';
import { encodeUdpPacket, PacketView, ParseFault, parsePacket } from '#scion/packet';
import { ROUTER_REASON_NAMES, RouterAction } from '#scion/router-types';
import { decodeScmp, MAX_ERROR_PACKET, type ScmpMessage } from '#scion/scmp';
import vectors from '../../vectors/scion-forwarding.json';
import type { Network } from './network.ts';

export const NOW = 1_700_001_000_000;
export const EXPIRED = 1_700_200_000_000;
export const payload = new TextEncoder().encode('a reading');
export const caseOf = (name: string) => vectors.cases.find((c) => c.case === name)!;
export const UP_CORE_DOWN = caseOf('up-core-down');
export const PEERING = caseOf('peering shortcut');

export interface Wish {
  path?: Uint8Array;
  src?: string;
  dst?: string;
  srcHost?: HostAddress;
  dstHost?: HostAddress;
  payload?: Uint8Array;
}

export function packetOf(c: { src: string; dst: string; raw_path_hex: string }, wish: Wish = {}): Uint8Array {
  const out = new Uint8Array(9000);
  const src = parseAddress(`${wish.src ?? c.src},10.0.0.9`);
  const dst = parseAddress(`${wish.dst ?? c.dst},10.0.0.8`);
  const end = encodeUdpPacket(out, 0, {
    src: { ia: src.ia, host: wish.srcHost ?? src.host, port: 31000 },
    dst: { ia: dst.ia, host: wish.dstHost ?? dst.host, port: 4059 },
    path: wish.path ?? fromHex(c.raw_path_hex),
    payload: wish.payload ?? payload,
  });
  return out.slice(0, end);
}

export function viewOf(packet: Uint8Array): PacketView {
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, packet.length, view), ParseFault.none);
  return view;
}

export function pathHexOf(packet: Uint8Array): string {
  const view = viewOf(packet);
  return toHex(packet, view.pathAt, view.payloadAt);
}

/** The SCMP message of a packet; its checksum must be right. */
export function scmpOf(packet: Uint8Array): ScmpMessage {
  const view = viewOf(packet);
  assert.is(view.l4Protocol, NextHeader.scmp);
  assert.is(checksum(packet, 0, view.l4At, view.l4End, NextHeader.scmp), 0);
  return decodeScmp(packet, view.l4At, view.l4End)!;
}

/** Sends the packet and returns the SCMP error that reached the sender, having checked that it did. */
export function errorFor(
  network: Network,
  packet: Uint8Array,
  reason: number,
  change?: (p: Uint8Array, to: string) => void,
) {
  const steps = network.send(UP_CORE_DOWN.src, packet, change);
  const refused = steps.find((s) => s.action === RouterAction.reply);
  assert.ok(refused, `no reply; last ${ROUTER_REASON_NAMES[steps.at(-1)!.reason]}`);
  assert.is(ROUTER_REASON_NAMES[refused.reason], ROUTER_REASON_NAMES[reason]);
  const last = steps.at(-1)!;
  assert.is(last.isdAs, UP_CORE_DOWN.src, `the error was lost at ${last.isdAs}: ${ROUTER_REASON_NAMES[last.reason]}`);
  assert.ok(last.packet.length <= MAX_ERROR_PACKET);
  assert.equal(viewOf(last.packet).dstHostType, 0);
  return { message: scmpOf(last.packet), at: refused.isdAs, step: last };
}

/** Offset of hop `h` in the sample packet. */
export const hopOffset = (h: number, numInf = 3): number => 36 + 4 + 8 * numInf + 12 * h;
export const infoOffset = (i: number): number => 36 + 4 + 8 * i;
