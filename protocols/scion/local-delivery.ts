/**
 * Which UDP port of the destination host gets a packet that arrives in its AS (scionproto router/dataplane.go,
 * doc/dev/design/router-port-dispatch): the upper layer's port where the host reads it itself, else the shim's.
 */

import { readU16 } from '#base/bytes';
import { NextHeader } from '#scion/header';
import { type PortRange, SHIM_PORT } from '#scion/host-topology';
import type { PacketView } from '#scion/packet';
import { isScmpError, portOfQuote, ScmpType, scmpFixedLength } from '#scion/scmp';

const TCP_HEADER_LENGTH = 20;

/**
 * Port of the destination host.
 * @param range  dispatched ports of the AS; undefined for all
 * @param scratch  for the quoted packet of an SCMP error
 * @returns 0 when the packet cannot be delivered to any port
 */
export function deliveryPort(
  buf: Uint8Array,
  view: PacketView,
  range: PortRange | undefined,
  scratch: PacketView,
): number {
  const port = upperLayerPort(buf, view, scratch);
  if (port === 0 || port === SHIM_PORT || range === undefined) return port;
  return port >= range.min && port <= range.max ? port : SHIM_PORT;
}

function upperLayerPort(buf: Uint8Array, view: PacketView, scratch: PacketView): number {
  const { l4At, l4End } = view;
  const length = l4End - l4At;
  switch (view.l4Protocol) {
    case NextHeader.udp:
      return length < 8 ? 0 : readU16(buf, l4At + 2);
    case NextHeader.tcp:
      return length < TCP_HEADER_LENGTH ? 0 : readU16(buf, l4At + 2);
    case NextHeader.scmp:
      return length < 8 ? 0 : scmpPort(buf, l4At, l4End, scratch);
    default:
      return SHIM_PORT;
  }
}

function scmpPort(buf: Uint8Array, at: number, end: number, scratch: PacketView): number {
  const type = buf[at]!;
  const fixed = scmpFixedLength(type);
  if (fixed < 0 || end - at < fixed) return 0;
  if (isScmpError(type)) return portOfQuote(buf, at + fixed, end, scratch);
  const isReply = type === ScmpType.echoReply || type === ScmpType.tracerouteReply;
  return isReply ? readU16(buf, at + 4) : SHIM_PORT;
}
