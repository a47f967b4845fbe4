/** What a border router answers by SCMP: errors, to whom they go, traceroute. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, readU16, writeU16 } from '#base/bytes';
import { type HostAddress, parseAddress, parseHost } from '#scion/address';
import { INTERNAL, NO_SIBLING } from '#scion/router';
import { RouterAction, RouterReason } from '#scion/router-types';
import { encodeScmpPacket, MAX_ERROR_PACKET, ProblemCode, type ScmpMessage } from '#scion/scmp';
import { Network, routerFor } from './network.ts';
import { EXPIRED, errorFor, hopOffset, NOW, PEERING, packetOf, scmpOf, UP_CORE_DOWN } from './router-rig.ts';

const Scmp = suite('border router, SCMP');

Scmp('a link that is down is reported with the AS and the interface', () => {
  const network = new Network(NOW);
  network.router('1-ff00:0:120').links.setLinkUp(22, false);
  const { message, at } = errorFor(network, packetOf(UP_CORE_DOWN), RouterReason.interfaceDown);
  assert.is(at, '1-ff00:0:120');
  assert.is(message.type, 5);
  const down = message as Extract<ScmpMessage, { type: 5 }>;
  assert.is(down.ia, parseAddress('1-ff00:0:120,CS').ia);
  assert.is(down.interface, 22n);
  network.router('1-ff00:0:120').links.setLinkUp(22, true);
  assert.is(network.send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN)).at(-1)!.isdAs, UP_CORE_DOWN.dst);
});

Scmp('errors come back over a peering link too', () => {
  const network = new Network(NOW);
  network.router('1-ff00:0:121').links.setLinkUp(25, false);
  const steps = network.send(PEERING.src, packetOf(PEERING));
  assert.is(steps.at(-1)!.isdAs, PEERING.src);
  assert.is(scmpOf(steps.at(-1)!.packet).type, 5);
});

Scmp('the wrong size is reported, whichever way it is wrong', () => {
  for (const change of [1, -1, 500]) {
    const packet = packetOf(UP_CORE_DOWN);
    writeU16(packet, 6, readU16(packet, 6) + change);
    const { message } = errorFor(new Network(NOW), packet, RouterReason.payloadLength);
    assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidPacketSize, 0]);
  }
});

Scmp('forged and misplaced addresses are reported with a pointer to the field', () => {
  const foreign = packetOf(UP_CORE_DOWN, { src: '1-ff00:0:999' });
  const router = routerFor('1-ff00:0:112');
  let result = router.process(foreign, foreign.length, INTERNAL, NO_SIBLING, NOW);
  assert.is(result.reason, RouterReason.sourceAddress);
  let message = scmpOf(router.reply.packet.slice(0, router.reply.length));
  assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidSourceAddress, 20]);

  const home = packetOf(UP_CORE_DOWN, { dst: '1-ff00:0:112' });
  result = router.process(home, home.length, INTERNAL, NO_SIBLING, NOW);
  assert.is(result.reason, RouterReason.destinationAddress);
  message = scmpOf(router.reply.packet.slice(0, router.reply.length));
  assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidDestinationAddress, 12]);

  // From outside: our own AS as source, a destination elsewhere at the last hop, and ours before it.
  const network = new Network(NOW);
  errorFor(network, packetOf(UP_CORE_DOWN, { dst: '1-ff00:0:121' }), RouterReason.destinationAddress);
  errorFor(network, packetOf(UP_CORE_DOWN, { dst: '1-ff00:0:999' }), RouterReason.destinationAddress);
  const steps = network.send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN), (packet, to) => {
    if (to === '1-ff00:0:111') packet.set(fromHex('0001ff0000000111'), 20);
  });
  assert.is(steps[1]!.reason, RouterReason.sourceAddress);
});

Scmp('hosts that no router can answer or reach', () => {
  const mapped = { type: 0b0011, bytes: fromHex('00000000000000000000ffff0a000009') };
  const sources: [HostAddress, number, number][] = [
    [mapped, RouterReason.sourceHost, RouterAction.reply],
    [{ type: 0b1000, bytes: new Uint8Array(4) }, RouterReason.sourceHost, RouterAction.reply],
    [{ type: 0b0111, bytes: new Uint8Array(16) }, RouterReason.sourceHost, RouterAction.reply],
  ];
  const first = routerFor('1-ff00:0:112');
  for (const [srcHost, reason, action] of sources) {
    const packet = packetOf(UP_CORE_DOWN, { srcHost });
    const result = first.process(packet, packet.length, INTERNAL, NO_SIBLING, NOW);
    assert.equal([result.reason, result.action], [reason, action]);
  }
  for (const dstHost of [mapped, parseHost('0.0.0.0'), parseHost('::'), { type: 0b1000, bytes: new Uint8Array(4) }]) {
    const { message, at } = errorFor(
      new Network(NOW),
      packetOf(UP_CORE_DOWN, { dstHost }),
      RouterReason.destinationHost,
    );
    assert.is(at, UP_CORE_DOWN.dst);
    assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidDestinationAddress, 0]);
  }
});

Scmp('no error is sent about an error, nor to a source that is not one host', () => {
  const out = new Uint8Array(2000);
  const header = {
    src: parseAddress('1-ff00:0:112,10.0.0.9'),
    dst: parseAddress('1-ff00:0:122,10.0.0.8'),
    path: fromHex(UP_CORE_DOWN.raw_path_hex),
  };
  const end = encodeScmpPacket(out, 0, header, { type: 1, code: 0, data: packetOf(UP_CORE_DOWN) });
  const router = routerFor('1-ff00:0:112');
  let result = router.process(out, end, INTERNAL, NO_SIBLING, EXPIRED);
  assert.equal([result.action, result.reason], [RouterAction.drop, RouterReason.expired]);
  for (const host of ['224.0.0.1', '255.255.255.255', '0.0.0.0', 'ff02::1', '::', 'CS_M']) {
    const packet = packetOf(UP_CORE_DOWN, { srcHost: parseHost(host) });
    result = router.process(packet, packet.length, INTERNAL, NO_SIBLING, EXPIRED);
    assert.equal([result.action, result.reason], [RouterAction.drop, RouterReason.expired], host);
  }
  for (const host of ['10.0.0.9', '2001:db8::9', 'CS']) {
    const packet = packetOf(UP_CORE_DOWN, { srcHost: parseHost(host) });
    result = router.process(packet, packet.length, INTERNAL, NO_SIBLING, EXPIRED);
    assert.is(result.action, RouterAction.reply, host);
  }
});

Scmp('a long packet is quoted up to 1232 bytes', () => {
  const router = routerFor('1-ff00:0:112');
  const packet = packetOf(UP_CORE_DOWN, { payload: new Uint8Array(3000).fill(7) });
  router.process(packet, packet.length, INTERNAL, NO_SIBLING, EXPIRED);
  assert.is(router.reply.length, MAX_ERROR_PACKET);
  const message = scmpOf(router.reply.packet.slice(0, router.reply.length));
  assert.equal(message.data, packet.subarray(0, message.data.length));
});

Scmp('traceroute: every interface on the way answers with its AS and number', () => {
  const seen: string[] = [];
  const probes: [number, number][] = [
    [0, 2],
    [1, 1],
    [1, 2],
    [2, 1],
    [3, 2],
    [4, 1],
    [5, 1],
    [6, 2],
    [6, 1],
    [7, 2],
  ];
  for (const [h, bit] of probes) {
    const network = new Network(NOW);
    const out = new Uint8Array(2000);
    const header = {
      src: parseAddress('1-ff00:0:112,10.0.0.9'),
      dst: parseAddress('1-ff00:0:122,10.0.0.8'),
      path: fromHex(UP_CORE_DOWN.raw_path_hex),
    };
    const request: ScmpMessage = {
      type: 130,
      code: 0,
      identifier: 31000,
      sequence: h,
      ia: 0n,
      interface: 0n,
      data: new Uint8Array(0),
    };
    const end = encodeScmpPacket(out, 0, header, request);
    out[hopOffset(h)] = bit;
    const steps = network.send(UP_CORE_DOWN.src, out.slice(0, end));
    const last = steps.at(-1)!;
    assert.is(last.isdAs, UP_CORE_DOWN.src);
    if (steps.length > 1) assert.equal([last.action, last.port], [RouterAction.deliver, 31000]);
    const reply = scmpOf(last.packet) as Extract<ScmpMessage, { type: 130 | 131 }>;
    assert.equal([reply.type, reply.identifier, reply.sequence], [131, 31000, h]);
    seen.push(`${reply.ia.toString(16).slice(-3)}#${reply.interface}`);
  }
  assert.equal(seen, [
    '112#13',
    '111#12',
    '111#11',
    '110#1',
    '110#2',
    '120#21',
    '120#22',
    '121#23',
    '121#25',
    '122#26',
  ]);
});

Scmp('an alert on a packet that is no traceroute is cleared, and the packet travels on', () => {
  const packet = packetOf(UP_CORE_DOWN);
  packet[hopOffset(1)] = 3;
  const last = new Network(NOW).send(UP_CORE_DOWN.src, packet).at(-1)!;
  assert.equal([last.isdAs, last.action], [UP_CORE_DOWN.dst, RouterAction.deliver]);
  assert.is(last.packet[hopOffset(1)], 0);
});

Scmp.run();
