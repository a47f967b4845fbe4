/**
 * The lab's SCION topology: two ASes of one utility and two lines between them.
 *
 *   1-ff00:0:110 core, head end  ===== leased (35 ms) =====  1-ff00:0:111 leaf, meters
 *                                ===== lte    (25 ms) =====
 */

import type { LabAddresses } from '#hw/lab/addresses';
import type { TopologyDescription } from '#hw/lab/as-files';
import { type LineProfile, type LinkSpec, PROFILES } from '#hw/lab/link-emulator';

export const HEADEND_AS = { ia: '1-ff00:0:110', number: 110 } as const;
export const METER_AS = { ia: '1-ff00:0:111', number: 111 } as const;

const INTERNAL_PORT = 30_042;
const CONTROL_PORT = 30_252;
const FIRST_LINK_PORT = 50_001;

interface Line {
  readonly name: string;
  readonly profile: string;
  readonly coreInterface: number;
  readonly leafInterface: number;
}

const LINES: readonly Line[] = [
  { name: 'leased', profile: 'leased', coreInterface: 1, leafInterface: 41 },
  { name: 'lte', profile: 'lte', coreInterface: 2, leafInterface: 42 },
];

/** How the lines behave: as in the field, or like a wire, for measuring our own share of a delay. */
export type LineQuality = 'field' | 'none';

export interface LabTopology {
  readonly description: TopologyDescription;
  readonly links: readonly LinkSpec[];
}

export function labTopology(addresses: LabAddresses, quality: LineQuality): LabTopology {
  const as = ({ ia, number }: typeof HEADEND_AS | typeof METER_AS, core: boolean) => ({
    ia,
    core,
    internal: `${addresses.router(number)}:${INTERNAL_PORT}`,
    control: `${addresses.controlService(number)}:${CONTROL_PORT}`,
  });
  const links = LINES.map((line, index): LinkSpec => {
    const port = FIRST_LINK_PORT + index;
    const emulator = addresses.link(index);
    return {
      name: line.name,
      a: { listen: { host: emulator, port: 1000 + port }, peer: { host: addresses.router(HEADEND_AS.number), port } },
      b: { listen: { host: emulator, port: 2000 + port }, peer: { host: addresses.router(METER_AS.number), port } },
      profile: profileOf(line, quality),
    };
  });
  return {
    description: {
      ases: [as(HEADEND_AS, true), as(METER_AS, false)],
      links: LINES.map((line, index) => ({
        role: 'child' as const,
        latencyMs: profileOf(line, quality).delayMs,
        a: {
          ia: HEADEND_AS.ia,
          id: line.coreInterface,
          local: text(links[index]!.a.peer),
          remote: text(links[index]!.a.listen),
        },
        b: {
          ia: METER_AS.ia,
          id: line.leafInterface,
          local: text(links[index]!.b.peer),
          remote: text(links[index]!.b.listen),
        },
      })),
    },
    links,
  };
}

function profileOf(line: Line, quality: LineQuality): LineProfile {
  return PROFILES[quality === 'none' ? 'none' : line.profile]!;
}

const text = ({ host, port }: { host: string; port: number }): string => `${host}:${port}`;
