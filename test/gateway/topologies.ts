/** Topologies that tests share; addresses as the test needs them. */

import type { TopologyDescription } from '#hw/lab/as-files';

/** The lab's five ASes: utility and LTE provider as cores of ISD 1, concentrator and head end below both, a foreign carrier. */
export const FIVE_ASES: TopologyDescription = {
  ases: [
    { ia: '1-ff00:0:110', core: true, internal: '127.51.110.1:30042', control: '127.51.110.2:30252' },
    { ia: '1-ff00:0:120', core: true, internal: '127.51.120.1:30042', control: '127.51.120.2:30252' },
    { ia: '1-ff00:0:111', internal: '127.51.111.1:30042', control: '127.51.111.2:30252' },
    { ia: '1-ff00:0:112', internal: '127.51.112.1:30042', control: '127.51.112.2:30252' },
    { ia: '2-ff00:0:210', core: true, internal: '127.51.210.1:30042', control: '127.51.210.2:30252' },
  ],
  links: [
    link('1-ff00:0:110', 12, '1-ff00:0:111', 1, 'child', 35),
    link('1-ff00:0:120', 21, '1-ff00:0:111', 2, 'child', 25),
    link('1-ff00:0:110', 11, '1-ff00:0:112', 1, 'child', 1),
    link('1-ff00:0:120', 23, '1-ff00:0:112', 2, 'child', 10),
    link('1-ff00:0:110', 13, '1-ff00:0:120', 22, 'core', 15),
    link('1-ff00:0:110', 14, '2-ff00:0:210', 31, 'core', 2),
    link('2-ff00:0:210', 32, '1-ff00:0:120', 24, 'core', 2),
  ],
};

function link(a: string, aId: number, b: string, bId: number, role: 'core' | 'child', latencyMs: number) {
  const local = (ia: string, id: number) => `127.51.${ia.slice(-3)}.1:${50_000 + id}`;
  return {
    a: { ia: a, id: aId, local: local(a, aId) },
    b: { ia: b, id: bId, local: local(b, bId) },
    role,
    latencyMs,
  };
}
