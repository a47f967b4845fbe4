/**
 * A SCION network in memory: the ASes, links and keys behind the vectors of `scion-forwarding.json`, each AS with one
 * router of ours, and packets handed from router to router until they are delivered, answered or dropped.
 */

import { fromHex } from '#base/bytes';
import { parseIsdAs } from '#scion/isd-as';
import { INTERNAL, NO_SIBLING, Router } from '#scion/router';
import { RouterAction } from '#scion/router-types';
import { parseTopology, routerOf } from '#scion/topology';
import vectors from '../../vectors/scion-forwarding.json';

/** Link between interfaces of two ASes; the type is the role of the second AS seen from the first. */
type Link = readonly [string, number, 'core' | 'child' | 'peer', string, number];

export const LINKS: readonly Link[] = [
  ['1-ff00:0:110', 1, 'child', '1-ff00:0:111', 11],
  ['1-ff00:0:111', 12, 'child', '1-ff00:0:112', 13],
  ['1-ff00:0:111', 15, 'child', '1-ff00:0:113', 16],
  ['1-ff00:0:120', 21, 'core', '1-ff00:0:110', 2],
  ['1-ff00:0:120', 22, 'child', '1-ff00:0:121', 23],
  ['1-ff00:0:121', 25, 'child', '1-ff00:0:122', 26],
  ['1-ff00:0:111', 14, 'peer', '1-ff00:0:121', 24],
];

const OPPOSITE = { core: 'core', child: 'parent', peer: 'peer' } as const;
const CORES = ['1-ff00:0:110', '1-ff00:0:120'];

/** Every AS by its text. */
export const ASES = Object.keys(vectors.keys);

export const hopKeyOf = (isdAs: string): Uint8Array => fromHex(vectors.keys[isdAs as keyof typeof vectors.keys]);

/** `topology.json` of an AS of the network. */
export function topologyOf(isdAs: string, extra: Record<string, unknown> = {}): Record<string, unknown> {
  const interfaces: Record<string, unknown> = {};
  for (const [a, aId, role, b, bId] of LINKS) {
    const add = (id: number, neighbour: string, linkTo: string, remoteId: number) => {
      interfaces[id] = {
        underlay: { local: `127.0.0.1:${50000 + id}`, remote: `127.0.0.1:${50000 + remoteId}` },
        isd_as: neighbour,
        link_to: linkTo,
        mtu: 1472,
        remote_interface_id: remoteId,
      };
    };
    if (a === isdAs) add(aId, b, role, bId);
    if (b === isdAs) add(bId, a, OPPOSITE[role], aId);
  }
  return {
    isd_as: isdAs,
    mtu: 1472,
    attributes: CORES.includes(isdAs) ? ['core'] : [],
    border_routers: { br: { internal_addr: '10.0.0.1:30042', interfaces } },
    control_service: { cs: { addr: '10.0.0.2:30252' } },
    ...extra,
  };
}

/** A router whose SCMP errors are not limited, as the clock of these tests stands still. */
export function routerFor(isdAs: string, extra: Record<string, unknown> = {}): Router {
  const topology = parseTopology(topologyOf(isdAs, extra));
  const errorBudget = { perSecond: 1, burst: Number.POSITIVE_INFINITY };
  return new Router({ topology, router: routerOf(topology, 'br'), hopKey: hopKeyOf(isdAs), errorBudget });
}

export interface Step {
  readonly isdAs: string;
  readonly action: number;
  readonly reason: number;
  /** Interface it left by; 0 when it did not. */
  readonly egress: number;
  readonly port: number;
  /** The packet as it left this router. */
  readonly packet: Uint8Array;
}

export class Network {
  readonly routers = new Map<string, Router>();
  nowMs: number;

  constructor(nowMs: number, extra: Record<string, unknown> = {}) {
    this.nowMs = nowMs;
    for (const isdAs of ASES) this.routers.set(isdAs, routerFor(isdAs, extra));
  }

  router(isdAs: string): Router {
    return this.routers.get(isdAs)!;
  }

  /** The far end of an interface. */
  far(isdAs: string, id: number): { isdAs: string; id: number } {
    for (const [a, aId, , b, bId] of LINKS) {
      if (a === isdAs && aId === id) return { isdAs: b, id: bId };
      if (b === isdAs && bId === id) return { isdAs: a, id: aId };
    }
    throw new Error(`no link at ${isdAs}#${id}`);
  }

  /**
   * Sends a packet from a host of `isdAs` and follows it, SCMP replies too, until it is delivered or dropped.
   * @param onLink  may change the packet between two routers
   */
  send(isdAs: string, packet: Uint8Array, onLink?: (packet: Uint8Array, to: string) => void): Step[] {
    const steps: Step[] = [];
    let buf = packet.slice();
    let at = { isdAs: parseIsdAs(isdAs) > 0n ? isdAs : '', id: INTERNAL };
    while (steps.length < 100) {
      const router = this.router(at.isdAs);
      const result = router.process(buf, buf.length, at.id, NO_SIBLING, this.nowMs);
      const { action, reason, egress, port } = result;
      if (action === RouterAction.reply) buf = router.reply.packet.slice(0, router.reply.length);
      const out = action === RouterAction.forward ? egress : action === RouterAction.reply ? at.id : 0;
      steps.push({ isdAs: at.isdAs, action, reason, egress: out, port, packet: buf.slice() });
      if (out === 0) return steps;
      at = this.far(at.isdAs, out);
      onLink?.(buf, at.isdAs);
    }
    throw new Error('the packet travels in circles');
  }
}
