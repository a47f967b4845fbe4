/**
 * The lab's SCION topology: a utility and an LTE provider as cores of ISD 1, the meters and the head end in leaf ASes below
 * both, and a foreign carrier in ISD 2 that offers the shortest way.
 *
 *                     2-210  foreign carrier
 *                  2 ms ╱              ╲ 2 ms
 *      utility  1-110 ────── 15 ms ────── 1-120  LTE provider
 *                 │  ╲                  ╱  │
 *      fibre 1 ms │   leased 35 ms    ╱    │ lte 25 ms
 *                 │          ╲     ╱       │
 *                 │             ╳          │
 *                 │          ╱     ╲       │
 *                 │   backup 10 ms   ╲     │
 *                 │  ╱                  ╲  │
 *     head end  1-112                    1-111  concentrator, meters
 *
 * Links: fibre, leased, backup, lte, trunk (110 to 120), abroad-a and abroad-b (210 to 110 and to 120).
 *
 *   within ISD 1   112-110-111 36 ms, 112-120-111 35 ms, 112-110-120-111 41 ms and longer ones
 *   tempting       112-110-210-120-111 30 ms, through ISD 2
 */

import type { LabAddresses } from '#hw/lab/addresses';
import type { LinkEnd, TopologyDescription } from '#hw/lab/as-files';
import { type LineProfile, type LinkSpec, PROFILES, type UdpAddress } from '#hw/lab/link-emulator';

export interface LabAs {
  readonly ia: string;
  /** Last group of the AS number as printed. */
  readonly number: number;
  readonly core: boolean;
}

export const UTILITY_AS: LabAs = { ia: '1-ff00:0:110', number: 110, core: true };
export const PROVIDER_AS: LabAs = { ia: '1-ff00:0:120', number: 120, core: true };
export const METER_AS: LabAs = { ia: '1-ff00:0:111', number: 111, core: false };
export const HEADEND_AS: LabAs = { ia: '1-ff00:0:112', number: 112, core: false };
export const FOREIGN_AS: LabAs = { ia: '2-ff00:0:210', number: 210, core: true };
export const LAB_ASES: readonly LabAs[] = [UTILITY_AS, PROVIDER_AS, METER_AS, HEADEND_AS, FOREIGN_AS];

const INTERNAL_PORT = 30_042;
const CONTROL_PORT = 30_252;
const FIRST_LINK_PORT = 50_000;

interface Line {
  readonly name: string;
  /** Upper or first end, and its interface. */
  readonly a: readonly [as: LabAs, id: number];
  readonly b: readonly [as: LabAs, id: number];
  readonly profile: LineProfile;
  readonly mtu?: number;
}

const wire = (delayMs: number): LineProfile => ({ ...PROFILES.none!, delayMs, rate: 1_000_000_000 });

const LINES: readonly Line[] = [
  { name: 'leased', a: [UTILITY_AS, 12], b: [METER_AS, 1], profile: PROFILES.leased! },
  { name: 'lte', a: [PROVIDER_AS, 21], b: [METER_AS, 2], profile: PROFILES.lte!, mtu: 1400 },
  { name: 'fibre', a: [UTILITY_AS, 11], b: [HEADEND_AS, 1], profile: wire(1) },
  { name: 'backup', a: [PROVIDER_AS, 23], b: [HEADEND_AS, 2], profile: wire(10) },
  { name: 'trunk', a: [UTILITY_AS, 13], b: [PROVIDER_AS, 22], profile: wire(15) },
  { name: 'abroad-a', a: [UTILITY_AS, 14], b: [FOREIGN_AS, 31], profile: wire(2) },
  { name: 'abroad-b', a: [FOREIGN_AS, 32], b: [PROVIDER_AS, 24], profile: wire(2) },
];

/** Links that leave ISD 1. */
export const FOREIGN_LINKS: readonly string[] = ['abroad-a', 'abroad-b'];

/** How the lines behave: as in the field, or like a wire, for measuring our own share of a delay. */
export type LineQuality = 'field' | 'none';

export interface LabTopology {
  readonly description: TopologyDescription;
  readonly links: readonly LinkSpec[];
}

export function labTopology(addresses: LabAddresses, quality: LineQuality): LabTopology {
  const socketOf = ([as, id]: Line['a']): UdpAddress => ({
    host: addresses.router(as.number),
    port: FIRST_LINK_PORT + id,
  });
  const links = LINES.map((line, index): LinkSpec => {
    const host = addresses.link(index);
    return {
      name: line.name,
      a: { listen: { host, port: FIRST_LINK_PORT + 1 }, peer: socketOf(line.a) },
      b: { listen: { host, port: FIRST_LINK_PORT + 2 }, peer: socketOf(line.b) },
      profile: profileOf(line, quality),
    };
  });
  const linkEnd = ([as, id]: Line['a'], { peer, listen }: LinkSpec['a']): LinkEnd => {
    return { ia: as.ia, id, local: text(peer), remote: text(listen) };
  };
  return {
    description: {
      ases: LAB_ASES.map(({ ia, number, core }) => ({
        ia,
        core,
        internal: `${addresses.router(number)}:${INTERNAL_PORT}`,
        control: `${addresses.controlService(number)}:${CONTROL_PORT}`,
      })),
      links: LINES.map((line, index) => {
        const { delayMs, rate } = profileOf(line, quality);
        return {
          role: line.b[0].core ? ('core' as const) : ('child' as const),
          latencyMs: delayMs,
          ...(rate > 0 ? { bandwidthKbit: rate / 1000 } : {}),
          ...(line.mtu === undefined ? {} : { mtu: line.mtu }),
          a: linkEnd(line.a, links[index]!.a),
          b: linkEnd(line.b, links[index]!.b),
        };
      }),
    },
    links,
  };
}

function profileOf(line: Line, quality: LineQuality): LineProfile {
  return quality === 'none' ? PROFILES.none! : line.profile;
}

const text = ({ host, port }: UdpAddress): string => `${host}:${port}`;
