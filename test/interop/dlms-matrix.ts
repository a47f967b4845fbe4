/**
 * The DLMS interop matrix: which feature works between which programs. Foreign clients against the meter's own server and
 * model, and our client against a foreign server; each cell is a run of both, over real sockets.
 */

import { type Cell, FEATURES, type Feature, NotOffered, PeerError } from './dlms-cells.ts';
import { AS_CLIENT } from './dlms-foreign-clients.ts';
import { AS_SERVER } from './dlms-foreign-server.ts';
import { clientPeers, javaVersion } from './dlms-peers.ts';

interface Lack {
  /** What the peer says, or what comes of it: another refusal fails the cell. */
  readonly says: RegExp;
  /** What was seen on the wire, where the words do not tell. */
  readonly seen?: string;
}

/** What peers do not have, or not as the standard has it. */
const LACKS: Readonly<Record<string, Partial<Record<Feature, Lack>>>> = {
  'Gurux (Java)': {
    gbt: {
      says: /^IOException: no answer/,
      seen: 'its request ends without a block that is marked as the last, so the meter waits for more',
    },
  },
  'dlms-cosem': {
    ecdsa: { says: /has no attribute 'HighLevelSecurityEcdsaAuthentication'/ },
    sha256: { says: /has no attribute 'HighLevelSecuritySha256Authentication'/ },
    sha1: { says: /has no attribute 'HighLevelSecuritySha1Authentication'/ },
    md5: { says: /has no attribute 'HighLevelSecurityMd5Authentication'/ },
    udp: { says: /has no attribute 'BlockingUdpIO'/ },
    gbt: { says: /^the client proposed it and sent no block/ },
    entry: { says: /^NotImplementedError: .*selective_access/ },
    image: {
      says: /^ValueError: byte must be in range.*dlms_data/,
      seen: 'it encodes no octet string of more than 255 bytes, and blocks are longer',
    },
  },
  'Gurux (Java), server': {
    entry: {
      says: /^got \[1000002,1000003/,
      seen: 'it counts entries from 0 and takes the last one for a number of rows; its own client gets the same',
    },
    gbt: {
      says: /^the server answered with APDU tag 0x0/,
      seen: 'it answers the first block of a request with four bytes that are no APDU',
    },
  },
};

/** Our side of the last column: a server made of Gurux's Java library. */
export const SERVER_PEER = 'Gurux (Java), server';

export interface MatrixPeer {
  readonly name: string;
  readonly version: string | undefined;
  run(feature: Feature): Promise<Cell>;
}

async function cellOf(peer: string, version: string, feature: Feature, run: () => Promise<void>): Promise<Cell> {
  const cell = { area: 'dlms', peer, version, feature: FEATURES[feature] } as const;
  try {
    await run();
    return { ...cell, result: 'pass', why: '' };
  } catch (error) {
    const why = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim();
    if (error instanceof NotOffered) return { ...cell, result: 'absent', why };
    const lacks = LACKS[peer]?.[feature];
    const isOwn = error instanceof PeerError || peer === SERVER_PEER;
    if (!isOwn || !lacks?.says.test(why)) return { ...cell, result: 'fail', why };
    return { ...cell, result: 'absent', why: lacks.seen ? `${why}; ${lacks.seen}` : why };
  }
}

/** All columns of the matrix. */
export function matrixPeers(): MatrixPeer[] {
  const clients = clientPeers().map((peer): MatrixPeer => {
    const { name, version } = peer;
    return { name, version, run: (feature) => cellOf(name, version ?? '', feature, () => AS_CLIENT[feature](peer)) };
  });
  const version = javaVersion('gurux.dlms');
  return [
    ...clients,
    {
      name: SERVER_PEER,
      version,
      run: (feature) => cellOf(SERVER_PEER, version ?? '', feature, AS_SERVER[feature]),
    },
  ];
}

/** The line of a peer that is not installed. */
export function absentCell(peer: string, feature: Feature): Cell {
  const why = 'not installed';
  return { area: 'dlms', peer, version: '', feature: FEATURES[feature], result: 'absent', why };
}

export const featureNames = Object.keys(FEATURES) as Feature[];
