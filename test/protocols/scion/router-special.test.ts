/** What border routers do with packets that are not plain SCION paths: one-hop, EPIC, BFD, STUN; and the error budget. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { parseAddress, parseHost } from '#scion/address';
import { EPIC_PREFIX_LENGTH, EpicMac, encodeEpicPrefix, epicTimestamp } from '#scion/epic';
import { encodeHeader, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { HopMac } from '#scion/hop-mac';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket, PacketView, ParseFault, parsePacket } from '#scion/packet';
import { INTERNAL, NO_SIBLING, Router } from '#scion/router';
import { externalBfd, siblingBfd } from '#scion/router-bfd';
import { ROUTER_REASON_NAMES, RouterAction, RouterReason } from '#scion/router-types';
import { parseTopology } from '#scion/topology';
import forwarding from '../../vectors/scion-forwarding.json';
import vectors from '../../vectors/scion-packets.json';
import { hopKeyOf, Network, routerFor, topologyOf } from './network.ts';

const NOW = 1_700_001_000_000;
const Special = suite('border router, special packets');
const { inputs, expected } = vectors['onehop-processing'];
const payload = new TextEncoder().encode('a beacon');

function link(isdAs: string, core: boolean, id: number, neighbour: string, linkTo: string, extra = {}) {
  return parseTopology({
    isd_as: isdAs,
    mtu: 1472,
    attributes: core ? ['core'] : [],
    border_routers: {
      br: {
        internal_addr: '10.0.0.1:30042',
        interfaces: {
          [id]: {
            underlay: { local: '127.0.0.1:50000', remote: '127.0.0.2:50000' },
            isd_as: neighbour,
            link_to: linkTo,
            mtu: 1472,
          },
        },
      },
      ...extra,
    },
    control_service: { cs: { addr: '10.0.0.2:30252' } },
  });
}

const AS1 = link('1-ff00:0:110', true, inputs.egress_if_as1, '1-ff00:0:111', 'child');
const AS2 = link('1-ff00:0:111', false, inputs.ingress_if_as2, '1-ff00:0:110', 'parent');
const routerOf = (topology: typeof AS1, key: string, index = 0) =>
  new Router({ topology, router: topology.routers[index]!, hopKey: fromHex(key) });

function oneHopPacket(path = expected.sent_by_as1_service_hex, dst = '1-ff00:0:111', src = '1-ff00:0:110') {
  const out = new Uint8Array(300);
  const end = encodeUdpPacket(out, 0, {
    src: { ...parseAddress(`${src},10.0.0.2`), port: 30252 },
    dst: { ...parseAddress(`${dst},CS`), port: 0 },
    path: fromHex(path),
    pathType: PathType.oneHop,
    payload,
  });
  return out.slice(0, end);
}

function pathHexOf(packet: Uint8Array): string {
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, packet.length, view), ParseFault.none);
  return toHex(packet, view.pathAt, view.payloadAt);
}

Special(
  'a one-hop packet leaves by the interface that it names, and is completed and delivered by the neighbour',
  () => {
    const packet = oneHopPacket();
    const one = routerOf(AS1, inputs.key_as1_hex).process(packet, packet.length, INTERNAL, NO_SIBLING, NOW);
    assert.equal([one.action, one.egress], [RouterAction.forward, inputs.egress_if_as1]);
    assert.is(pathHexOf(packet), expected.on_link_hex);
    const two = routerOf(AS2, inputs.key_as2_hex).process(
      packet,
      packet.length,
      inputs.ingress_if_as2,
      NO_SIBLING,
      NOW,
    );
    assert.is(two.action, RouterAction.deliver);
    assert.equal([two.service?.host, two.port], ['10.0.0.2', 30252]);
    assert.is(pathHexOf(packet), expected.delivered_in_as2_hex);
  },
);

Special('the answer over the path that a one-hop path has become passes both routers', () => {
  const out = new Uint8Array(300);
  const end = encodeUdpPacket(out, 0, {
    src: { ...parseAddress('1-ff00:0:111,10.0.0.2'), port: 30252 },
    dst: { ...parseAddress('1-ff00:0:110,10.0.0.2'), port: 30252 },
    path: fromHex(expected.reply_scion_path_hex),
    payload,
  });
  const nowMs = inputs.timestamp * 1000;
  const two = routerOf(AS2, inputs.key_as2_hex).process(out, end, INTERNAL, NO_SIBLING, nowMs);
  assert.equal([two.action, two.egress], [RouterAction.forward, inputs.ingress_if_as2]);
  const one = routerOf(AS1, inputs.key_as1_hex).process(out, end, inputs.egress_if_as1, NO_SIBLING, nowMs);
  assert.equal([one.action, one.port], [RouterAction.deliver, 30252]);
});

Special('one-hop packets that do not fit are dropped without an answer', () => {
  const one = routerOf(AS1, inputs.key_as1_hex);
  const two = routerOf(AS2, inputs.key_as2_hex);
  const refuses = (router: Router, packet: Uint8Array, ingress: number) => {
    const { action, reason } = router.process(packet, packet.length, ingress, NO_SIBLING, NOW);
    assert.equal([action, ROUTER_REASON_NAMES[reason]], [RouterAction.drop, 'one-hop-path']);
  };
  const sent = expected.sent_by_as1_service_hex;
  refuses(one, oneHopPacket(`00${sent.slice(2)}`), INTERNAL);
  refuses(one, oneHopPacket(sent, '1-ff00:0:112'), INTERNAL);
  refuses(one, oneHopPacket(sent, '1-ff00:0:111', '1-ff00:0:112'), INTERNAL);
  refuses(one, oneHopPacket(sent.replace('0007', '0008')), INTERNAL);
  refuses(one, oneHopPacket(sent.replace('8a3b', '8a3c')), INTERNAL);
  refuses(two, oneHopPacket(expected.on_link_hex, '1-ff00:0:112'), inputs.ingress_if_as2);
  refuses(two, oneHopPacket(expected.on_link_hex, '1-ff00:0:111', '1-ff00:0:112'), inputs.ingress_if_as2);
  // A service that is not there would be an SCMP error on a SCION path.
  const packet = oneHopPacket(expected.on_link_hex);
  packet[28] = 0x7f;
  const { action, reason } = two.process(packet, packet.length, inputs.ingress_if_as2, NO_SIBLING, NOW);
  assert.equal([action, reason], [RouterAction.drop, RouterReason.noService]);
});

Special('a one-hop packet at the wrong router of the AS goes to the sibling that owns the interface', () => {
  const topology = link('1-ff00:0:110', true, inputs.egress_if_as1, '1-ff00:0:111', 'child', {
    other: { internal_addr: '10.0.0.3:30042', interfaces: {} },
  });
  const wrong = routerOf(topology, inputs.key_as1_hex, 1);
  const right = routerOf(topology, inputs.key_as1_hex, 0);
  const packet = oneHopPacket();
  const handed = wrong.process(packet, packet.length, INTERNAL, NO_SIBLING, NOW);
  assert.equal([handed.action, handed.sibling], [RouterAction.sibling, 0]);
  const left = right.process(packet, packet.length, INTERNAL, 0, NOW);
  assert.equal([left.action, left.egress], [RouterAction.forward, inputs.egress_if_as1]);
  assert.is(pathHexOf(packet), expected.on_link_hex);
});

const UP_CORE_DOWN = forwarding.cases.find((c) => c.case === 'up-core-down')!;
/** The last two hops of the sample path with their accumulators. */
const PENULTIMATE = ['1-ff00:0:121', 0x2f63, 30, 23, 25] as const;
const LAST = ['1-ff00:0:122', 0x0ef5, 63, 26, 0] as const;

function authenticator([isdAs, segId, expTime, ingress, egress]: typeof PENULTIMATE | typeof LAST): Uint8Array {
  const out = new Uint8Array(16);
  new HopMac(hopKeyOf(isdAs)).computeFull(out, 0, segId, 1_700_000_200, expTime, ingress, egress);
  return out;
}

function epicPacket(sentMs: number, codes = true): Uint8Array {
  const scion = fromHex(UP_CORE_DOWN.raw_path_hex);
  const path = new Uint8Array(EPIC_PREFIX_LENGTH + scion.length);
  path.set(scion, EPIC_PREFIX_LENGTH);
  const zero = new Uint8Array(4);
  encodeEpicPrefix(path, 0, epicTimestamp(sentMs * 1000, 1_700_000_000), 1, zero, zero);
  const out = new Uint8Array(400);
  const end = encodeUdpPacket(out, 0, {
    src: { ...parseAddress('1-ff00:0:112,10.0.0.9'), port: 31000 },
    dst: { ...parseAddress('1-ff00:0:122,10.0.0.8'), port: 4059 },
    path,
    pathType: PathType.epic,
    payload,
  });
  const packet = out.slice(0, end);
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, end, view), ParseFault.none);
  if (codes) {
    const mac = new EpicMac();
    mac.write(packet, view, authenticator(PENULTIMATE), 0, packet, view.pathAt + 8);
    mac.write(packet, view, authenticator(LAST), 0, packet, view.pathAt + 12);
  }
  return packet;
}

Special('an EPIC packet travels like any other, and the last two ASes check its codes', () => {
  assert.is(toHex(authenticator(PENULTIMATE), 0, 6), '2196e5da4940');
  assert.is(toHex(authenticator(LAST), 0, 6), '6c2b81675aab');
  const outcome = (packet: Uint8Array) => {
    const steps = new Network(NOW).send('1-ff00:0:112', packet);
    const { isdAs, action, reason } = steps.at(-1)!;
    return [isdAs, action, ROUTER_REASON_NAMES[reason]];
  };
  assert.equal(outcome(epicPacket(NOW)), ['1-ff00:0:122', RouterAction.deliver, 'none']);
  assert.equal(outcome(epicPacket(NOW, false)), ['1-ff00:0:121', RouterAction.drop, 'epic-code']);
  const half = epicPacket(NOW);
  half[36 + 12]! ^= 1;
  assert.equal(outcome(half), ['1-ff00:0:122', RouterAction.drop, 'epic-code']);
  // The counter is covered by the codes, so a packet cannot be sent again as another.
  const other = epicPacket(NOW);
  other[36 + 7]! ^= 1;
  assert.equal(outcome(other), ['1-ff00:0:121', RouterAction.drop, 'epic-code']);
  for (const sent of [NOW - 3001, NOW + 1001]) {
    assert.equal(outcome(epicPacket(sent)), ['1-ff00:0:121', RouterAction.drop, 'epic-stale']);
  }
  assert.equal(outcome(epicPacket(NOW - 2900))[1], RouterAction.deliver);
});

Special('an error about an EPIC packet goes back over the SCION path inside', () => {
  const network = new Network(NOW);
  network.router('1-ff00:0:120').links.setLinkUp(22, false);
  const last = network.send('1-ff00:0:112', epicPacket(NOW)).at(-1)!;
  assert.equal([last.isdAs, last.packet[8], last.packet[4]], ['1-ff00:0:112', PathType.scion, NextHeader.scmp]);
});

const random = () => 0.5;

Special('BFD packets are handed to the session of their link or sibling, and to no other', () => {
  const options = { topology: AS1, hopKey: fromHex(inputs.key_as1_hex), discriminator: 7, nowMs: 0, random };
  const { packet } = (() => {
    const bfd = externalBfd(AS1.routers[0]!.interfaces[0]!, '127.0.0.1', options);
    bfd.write(NOW);
    return bfd;
  })();
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, packet.length, view), ParseFault.none);
  assert.equal([view.pathType, view.l4Protocol, packet[0], packet[1]! >> 4], [PathType.oneHop, 203, 0x0b, 8]);
  const path = toHex(packet, view.pathAt, view.payloadAt);
  const mac = new Uint8Array(6);
  new HopMac(options.hopKey).compute(mac, 0, 0, NOW / 1000 - 10, 63, 0, inputs.egress_if_as1);
  const timestamp = (NOW / 1000 - 10).toString(16);
  assert.is(path, `01000000${timestamp}003f00000007${toHex(mac)}${'00'.repeat(12)}`);

  const two = routerOf(AS2, inputs.key_as2_hex);
  const result = two.process(packet, packet.length, inputs.ingress_if_as2, NO_SIBLING, NOW);
  assert.equal([result.action, result.bfdAt, result.bfdEnd], [RouterAction.bfd, view.l4At, packet.length]);
  assert.is(two.process(packet, packet.length, INTERNAL, NO_SIBLING, NOW).action, RouterAction.drop);

  const topology = link('1-ff00:0:110', true, 7, '1-ff00:0:111', 'child', {
    other: { internal_addr: '10.0.0.3:30042', interfaces: {} },
  });
  const bfd = siblingBfd(topology.routers[1]!, topology.routers[0]!, { ...options, topology });
  bfd.write(NOW);
  const router = routerOf(topology, inputs.key_as1_hex);
  const inside = router.process(bfd.packet, bfd.packet.length, INTERNAL, 0, NOW);
  assert.equal([inside.action, inside.sibling], [RouterAction.bfd, 0]);
  const stranger = router.process(bfd.packet, bfd.packet.length, INTERNAL, NO_SIBLING, NOW);
  assert.equal([stranger.action, stranger.reason], [RouterAction.drop, RouterReason.emptyPath]);
});

Special('STUN is answered inside the AS and nowhere else', () => {
  const request = fromHex(vectors.stun.expected.request_hex);
  const router = routerOf(AS1, inputs.key_as1_hex);
  assert.is(router.process(request, request.length, INTERNAL, NO_SIBLING, NOW).action, RouterAction.stun);
  assert.is(router.process(request, request.length, 7, NO_SIBLING, NOW).action, RouterAction.drop);
  request[27]! ^= 1;
  assert.is(router.process(request, request.length, INTERNAL, NO_SIBLING, NOW).action, RouterAction.drop);
});

Special('a link gets as many errors as its budget holds, and no other link pays for it', () => {
  const topology = parseTopology(topologyOf('1-ff00:0:111'));
  const router = new Router({
    topology,
    router: topology.routers[0]!,
    hopKey: hopKeyOf('1-ff00:0:111'),
    errorBudget: { perSecond: 10, burst: 5 },
  });
  const arriving = new Network(NOW).send('1-ff00:0:112', plainPacket())[0]!.packet;
  const answers = (count: number, ingress: number, nowMs: number) => {
    let replies = 0;
    for (let i = 0; i < count; i++) {
      const packet = arriving.slice();
      packet[36 + 4 + 24 + 12 + 11]! ^= 1;
      const { action } = router.process(packet, packet.length, ingress, NO_SIBLING, nowMs);
      if (action === RouterAction.reply) replies++;
    }
    return replies;
  };
  assert.is(answers(100, 12, NOW), 5);
  assert.is(router.errorBudget.suppressed, 95);
  assert.is(answers(100, 15, NOW), 5, 'the wrong interface, with a budget of its own');
  assert.is(answers(100, 12, NOW + 250), 2);
  assert.is(answers(100, 12, NOW - 60_000), 0, 'a clock set back gives nothing');
  assert.is(answers(100, 12, NOW + 3_600_000), 5);
});

function plainPacket(): Uint8Array {
  const out = new Uint8Array(400);
  const end = encodeUdpPacket(out, 0, {
    src: { ia: parseIsdAs('1-ff00:0:112'), host: parseHost('10.0.0.9'), port: 31000 },
    dst: { ia: parseIsdAs('1-ff00:0:122'), host: parseHost('10.0.0.8'), port: 4059 },
    path: fromHex(UP_CORE_DOWN.raw_path_hex),
    payload,
  });
  return out.slice(0, end);
}

Special('BFD inside any other packet is not special', () => {
  const out = new Uint8Array(300);
  const header = {
    src: parseAddress('1-ff00:0:112,10.0.0.9'),
    dst: parseAddress('1-ff00:0:122,10.0.0.8'),
    path: fromHex(UP_CORE_DOWN.raw_path_hex),
  };
  const at = encodeHeader(out, 0, header, NextHeader.bfd);
  setPayloadLength(out, 0, 24);
  const result = routerFor('1-ff00:0:112').process(out, at + 24, INTERNAL, NO_SIBLING, NOW);
  assert.is(result.action, RouterAction.forward);
});

Special.run();
