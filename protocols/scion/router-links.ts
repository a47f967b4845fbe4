/**
 * What a border router knows about the interfaces of its AS: type, owner and state, in arrays indexed by interface id, so
 * that a look-up is one read.
 */

import { equalBytes, writeU64 } from '#base/bytes';
import type { LinkType, Topology, TopologyRouter } from '#scion/topology';

/** Link types as numbers; `none` for an unknown interface. */
export const LinkKind = { none: 0, core: 1, parent: 2, child: 3, peer: 4 } as const;

const KIND_OF: Readonly<Record<LinkType, number>> = { core: 1, parent: 2, child: 3, peer: 4 };
const KIND_MASK = 0x07;
const UP = 0x08;
const OWN = 0x10;

export class RouterLinks {
  /** The other border routers of the AS. A packet from one of them comes from exactly its internal address. */
  readonly siblings: readonly TopologyRouter[];
  private readonly flags = new Uint8Array(0x1_0000);
  /** Sibling that owns an interface, index + 1. */
  private readonly owner = new Uint8Array(0x1_0000);
  private readonly siblingUp: Uint8Array;
  /** ISD-AS at the far end of each interface of the AS, 8 bytes. */
  private readonly neighbours = new Map<number, Uint8Array>();

  constructor(topology: Topology, own: TopologyRouter) {
    this.siblings = topology.routers.filter((r) => r !== own);
    this.siblingUp = new Uint8Array(this.siblings.length).fill(1);
    for (const { id, linkTo } of own.interfaces) this.flags[id] = KIND_OF[linkTo] | UP | OWN;
    this.siblings.forEach((sibling, index) => {
      for (const { id, linkTo } of sibling.interfaces) {
        this.flags[id] = KIND_OF[linkTo] | UP;
        this.owner[id] = index + 1;
      }
    });
    for (const { interfaces } of topology.routers) {
      for (const { id, neighbour } of interfaces) {
        const ia = new Uint8Array(8);
        writeU64(ia, 0, neighbour);
        this.neighbours.set(id, ia);
      }
    }
  }

  /** One of `LinkKind`. */
  kind(id: number): number {
    return this.flags[id]! & KIND_MASK;
  }
  isOwn(id: number): boolean {
    return (this.flags[id]! & OWN) !== 0;
  }
  /** Index of the sibling that owns the interface, -1 for our own and unknown ones. */
  siblingOf(id: number): number {
    return this.owner[id]! - 1;
  }
  /** Whether the link works; for a sibling's interface, whether the sibling can be reached. */
  isUp(id: number): boolean {
    const sibling = this.owner[id]! - 1;
    return sibling < 0 ? (this.flags[id]! & UP) !== 0 : this.siblingUp[sibling] === 1;
  }

  /** Whether the 8 bytes at `at` are the ISD-AS at the far end of an interface. */
  isNeighbour(id: number, buf: Uint8Array, at: number): boolean {
    const ia = this.neighbours.get(id);
    return ia !== undefined && equalBytes(ia, buf.subarray(at, at + 8));
  }

  setLinkUp(id: number, up: boolean): void {
    if (up) this.flags[id]! |= UP;
    else this.flags[id]! &= ~UP;
  }
  isSiblingUp(sibling: number): boolean {
    return this.siblingUp[sibling] === 1;
  }
  setSiblingUp(sibling: number, up: boolean): void {
    this.siblingUp[sibling] = up ? 1 : 0;
  }
}

/** Whether a packet may go from one link to another within a segment. */
export function mayPass(from: number, to: number): boolean {
  switch (from) {
    case LinkKind.core:
      return to === LinkKind.core;
    case LinkKind.parent:
    case LinkKind.peer:
      return to === LinkKind.child;
    case LinkKind.child:
      return to === LinkKind.parent || to === LinkKind.peer;
    default:
      return false;
  }
}

/** Whether a packet may go from one link to another while it changes the segment. */
export function maySwitchSegment(from: number, to: number): boolean {
  if (from === LinkKind.core) return to === LinkKind.child;
  return from === LinkKind.child && (to === LinkKind.core || to === LinkKind.child);
}
