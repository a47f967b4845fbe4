/**
 * Which routers a traceroute asks, in the order of travel (scionproto scion/traceroute): every interface of the path, each
 * by a router alert in one hop field.
 *
 *   hop 0 egress, hop 1 ingress, hop 1 egress, …, last hop ingress
 *
 * Where two segments meet inside an AS, its ingress belongs to the hop before and its egress to the hop behind. At a peering
 * link both hops are asked for both, as each of the two is in an AS of its own.
 */

import { isPeer } from '#scion/info-hop';
import { infOf, infoAt, metaWord, numHopsOf } from '#scion/path';

export interface TracerouteStep {
  /** Index of the hop field. */
  readonly hop: number;
  /** Which interface of that hop is asked, in the direction of travel. */
  readonly side: 'ingress' | 'egress';
}

/** @param raw  a path as `checkPath` accepts it, or the empty path */
export function tracerouteSteps(raw: Uint8Array): TracerouteStep[] {
  if (raw.length === 0) return [];
  const word = metaWord(raw, 0);
  const hops = numHopsOf(word);
  const steps: TracerouteStep[] = [];
  let afterSwitch = false;
  for (let hop = 0; hop < hops; hop++) {
    const segment = infOf(word, hop);
    if (hop !== 0 && !afterSwitch) steps.push({ hop, side: 'ingress' });
    const last = hop === hops - 1;
    const switches = !last && infOf(word, hop + 1) !== segment && !isPeer(raw, infoAt(0, segment));
    if (!last && !switches) steps.push({ hop, side: 'egress' });
    afterSwitch = switches;
  }
  return steps;
}
