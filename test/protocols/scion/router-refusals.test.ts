/** What a border router refuses: expired and forged hops, paths that cannot be genuine, packets from the wrong link. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex } from '#base/bytes';
import { NextHeader, PathType } from '#scion/header';
import { HopMac } from '#scion/hop-mac';
import { decodePath, encodePath, MAX_PATH_LENGTH, type PathRepr } from '#scion/path';
import { INTERNAL, NO_SIBLING } from '#scion/router';
import { RouterAction, RouterReason } from '#scion/router-types';
import { ProblemCode } from '#scion/scmp';
import vectors from '../../vectors/scion-forwarding.json';
import { hopKeyOf, Network, routerFor } from './network.ts';
import { EXPIRED, errorFor, hopOffset, infoOffset, NOW, packetOf, scmpOf, UP_CORE_DOWN, viewOf } from './router-rig.ts';

const Refusals = suite('border router, refusals');

Refusals('an expired hop is answered from the first router and from each one on the way', () => {
  for (const [h, isdAs] of [
    [0, '1-ff00:0:112'],
    [1, '1-ff00:0:111'],
    [2, '1-ff00:0:110'],
    [3, '1-ff00:0:110'],
    [4, '1-ff00:0:120'],
    [5, '1-ff00:0:120'],
    [6, '1-ff00:0:121'],
    [7, '1-ff00:0:122'],
  ] as const) {
    const network = new Network(NOW);
    // Only the router of that AS lives in a later time.
    const router = network.router(isdAs);
    const process = router.process.bind(router);
    router.process = (buf, length, ingress, sibling) => {
      if (viewOf(buf.slice(0, length)).l4Protocol === NextHeader.scmp)
        return process(buf, length, ingress, sibling, NOW);
      const late = h === 3 || h === 5 ? lateFor(buf, h) : EXPIRED;
      return process(buf, length, ingress, sibling, late);
    };
    const packet = packetOf(UP_CORE_DOWN);
    if (h === 3 || h === 5) packet[hopOffset(h) + 1] = 0;
    const { message, at } = errorFor(network, packet, RouterReason.expired);
    assert.is(at, isdAs);
    assert.equal([message.type, message.code], [4, ProblemCode.pathExpired]);
    assert.is(message.type === 4 && message.pointer, hopOffset(h));
    assert.is(packet.length, message.data.length);
  }
});

/** A time between the shortened life of hop `h` and that of the others. */
function lateFor(buf: Uint8Array, h: number): number {
  const info = infoOffset(h === 3 ? 1 : 2);
  const timestamp = ((buf[info + 4]! << 24) | (buf[info + 5]! << 16) | (buf[info + 6]! << 8) | buf[info + 7]!) >>> 0;
  return timestamp * 1000 + 337_501;
}

Refusals('expiry is strict: in its last millisecond a hop still counts', () => {
  const router = routerFor('1-ff00:0:112');
  const last = 1_700_000_000_000 + 64 * 337_500;
  for (const [now, reason] of [
    [last, RouterReason.none],
    [last + 1, RouterReason.expired],
  ] as const) {
    const packet = packetOf(UP_CORE_DOWN);
    assert.is(router.process(packet, packet.length, INTERNAL, NO_SIBLING, now).reason, reason);
  }
});

Refusals('a forged hop field is refused by the router whose key it lacks', () => {
  for (const [h, isdAs] of [
    [0, '1-ff00:0:112'],
    [1, '1-ff00:0:111'],
    [2, '1-ff00:0:110'],
    [3, '1-ff00:0:110'],
    [5, '1-ff00:0:120'],
  ] as const) {
    const packet = packetOf(UP_CORE_DOWN);
    packet[hopOffset(h) + 11]! ^= 1;
    const { message, at } = errorFor(new Network(NOW), packet, RouterReason.hopMac);
    assert.is(at, isdAs);
    assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidHopMac, hopOffset(h)]);
  }
});

Refusals('any changed bit of what the MACs cover stops the packet', () => {
  const covered = (h: number, numInf: number) =>
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((i) => hopOffset(h, numInf) + i);
  for (const c of vectors.cases) {
    const numHops = decodePath(fromHex(c.raw_path_hex), 0, c.raw_path_hex.length / 2).segments.flatMap(
      (s) => s.hops,
    ).length;
    const numInf = decodePath(fromHex(c.raw_path_hex), 0, c.raw_path_hex.length / 2).segments.length;
    const offsets = Array.from({ length: numHops }, (_, h) => covered(h, numInf)).flat();
    for (let i = 0; i < numInf; i++) for (let b = 2; b < 8; b++) offsets.push(infoOffset(i) + b);
    for (const offset of offsets) {
      const packet = packetOf(c);
      packet[offset]! ^= 0x04;
      const steps = new Network(NOW).send(c.src, packet);
      const delivered = steps.some((s) => s.isdAs === c.dst && s.action === RouterAction.deliver);
      assert.not(delivered, `${c.case}: byte ${offset}`);
    }
  }
});

Refusals('an unknown egress interface and a link type that may not follow', () => {
  // A key holder can make such hop fields; the checks stand behind the MAC.
  const craft = (isdAs: string, ingress: number, hops: [number, number][], consDir: boolean) => {
    const mac = new HopMac(hopKeyOf(isdAs));
    const out = new Uint8Array(MAX_PATH_LENGTH);
    const path: PathRepr = {
      currInf: 0,
      currHf: 1,
      segments: [
        {
          consDir,
          peer: false,
          segId: 7,
          timestamp: 1_700_000_900,
          hops: hops.map(([consIngress, consEgress]) => {
            const bytes = new Uint8Array(6);
            mac.compute(bytes, 0, 7, 1_700_000_900, 63, consIngress, consEgress);
            return { expTime: 63, consIngress, consEgress, mac: bytes };
          }),
        },
      ],
    };
    const end = encodePath(out, 0, path);
    const packet = packetOf(UP_CORE_DOWN, { path: out.subarray(0, end) });
    if (!consDir) {
      // The ingress update will take the MAC back out of the accumulator.
      const at = hopOffset(1, 1);
      packet[infoOffset(0) + 2]! ^= packet[at + 6]!;
      packet[infoOffset(0) + 3]! ^= packet[at + 7]!;
    }
    const router = routerFor(isdAs);
    const { reason } = router.process(packet, packet.length, ingress, NO_SIBLING, NOW);
    const message =
      reason === RouterReason.none ? undefined : scmpOf(router.reply.packet.slice(0, router.reply.length));
    return { reason, code: message?.code };
  };
  const end: [number, number] = [1, 0];
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 99], end], true), {
    reason: RouterReason.egressInterface,
    code: 50,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [99, 11], end], false), {
    reason: RouterReason.egressInterface,
    code: 49,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 0], end], true), {
    reason: RouterReason.egressInterface,
    code: 50,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 12], end], true), {
    reason: RouterReason.none,
    code: undefined,
  });
  assert.equal(craft('1-ff00:0:111', 12, [[0, 9], [11, 12], end], false), {
    reason: RouterReason.none,
    code: undefined,
  });
  // child to child, parent to peer, parent to parent within a segment
  assert.equal(craft('1-ff00:0:111', 12, [[0, 9], [12, 15], end], true), {
    reason: RouterReason.invalidPath,
    code: 48,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 14], end], true), {
    reason: RouterReason.invalidPath,
    code: 48,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 11], end], true), {
    reason: RouterReason.invalidPath,
    code: 48,
  });
});

Refusals('segments may be switched between core and child and between children only', () => {
  const mac = new HopMac(hopKeyOf('1-ff00:0:111'));
  const outcome = (ingress: number, egress: number, from: number) => {
    const hop = (consIngress: number, consEgress: number) => {
      const bytes = new Uint8Array(6);
      mac.compute(bytes, 0, 7, 1_700_000_900, 63, consIngress, consEgress);
      return { expTime: 63, consIngress, consEgress, mac: bytes };
    };
    const segment = (consDir: boolean, hops: ReturnType<typeof hop>[]) => ({
      consDir,
      peer: false,
      segId: 7,
      timestamp: 1_700_000_900,
      hops,
    });
    const path: PathRepr = {
      currInf: 0,
      currHf: from === INTERNAL ? 0 : 1,
      segments: [
        from === INTERNAL
          ? segment(true, [hop(0, ingress), hop(ingress, 0)])
          : segment(true, [hop(0, 9), hop(ingress, 0)]),
        segment(true, [hop(0, egress), hop(1, 0)]),
      ],
    };
    const out = new Uint8Array(MAX_PATH_LENGTH);
    const packet = packetOf(UP_CORE_DOWN, { path: out.subarray(0, encodePath(out, 0, path)) });
    return routerFor('1-ff00:0:111').process(packet, packet.length, from, NO_SIBLING, NOW).reason;
  };
  assert.is(outcome(12, 15, 12), RouterReason.none);
  assert.is(outcome(11, 12, 11), RouterReason.segmentChange);
  assert.is(outcome(12, 11, 12), RouterReason.segmentChange);
  assert.is(outcome(12, 14, 12), RouterReason.segmentChange);
  assert.is(outcome(14, 12, 14), RouterReason.segmentChange);
});

Refusals('paths that cannot be genuine are dropped without an answer', () => {
  const network = new Network(NOW);
  const outcome = (change: (p: Uint8Array) => void, packet = packetOf(UP_CORE_DOWN)) => {
    change(packet);
    const { action, reason } = network.send(UP_CORE_DOWN.src, packet)[0]!;
    assert.is(action, RouterAction.drop);
    return reason;
  };
  assert.is(
    outcome((p) => (p[36] = 0x08)),
    RouterReason.position,
  );
  assert.is(
    outcome((p) => (p[36] = 0x40)),
    RouterReason.position,
  );
  assert.is(
    outcome((p) => (p[infoOffset(0)] = 2)),
    RouterReason.peeringShape,
  );
  // A segment of one hop: lengths 3, 2, 3 become 3, 1, 4.
  assert.is(
    outcome((p) => p.set([0x00, 0x30, 0x44], 37)),
    RouterReason.position,
  );
  assert.is(
    outcome((p) => (p[36] = 0x01)),
    RouterReason.transitFromInside,
  );
  assert.is(
    outcome((p) => (p[8] = PathType.oneHop)),
    RouterReason.oneHopPath,
  );
  assert.is(
    outcome(() => {}, packetOf(UP_CORE_DOWN, { path: new Uint8Array(0) })),
    RouterReason.emptyPath,
  );
  assert.is(
    outcome((p) => (p[8] = 9)),
    RouterReason.pathType,
  );
  assert.is(
    outcome((p) => (p[38] = 0)),
    RouterReason.path,
  );
  assert.is(
    outcome((p) => (p[5] = 255)),
    RouterReason.headerLength,
  );
  assert.is(
    outcome((p) => (p[4] = 99)),
    RouterReason.nextHeader,
  );
  assert.is(
    outcome(() => {}, new Uint8Array(27)),
    RouterReason.tooShort,
  );
  const extension = (p: Uint8Array) => {
    p[4] = 200;
    p[p[5]! * 4] = 200;
    p[p[5]! * 4 + 1] = 0;
  };
  assert.is(outcome(extension), RouterReason.extension);
});

Refusals('a packet from a link that is not where its hop comes from is refused', () => {
  const router = routerFor('1-ff00:0:111');
  const packet = new Network(NOW).send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN))[0]!.packet;
  const result = router.process(packet, packet.length, 15, NO_SIBLING, NOW);
  assert.is(result.reason, RouterReason.ingressInterface);
  assert.is(scmpOf(router.reply.packet.slice(0, router.reply.length)).code, ProblemCode.unknownConsEgress);
  // On the first hop there is no way back by a link: no answer either.
  const fresh = packetOf(UP_CORE_DOWN);
  const alone = router.process(fresh, fresh.length, 15, NO_SIBLING, NOW);
  assert.equal([alone.action, alone.reason], [RouterAction.drop, RouterReason.ingressInterface]);
});

Refusals.run();
