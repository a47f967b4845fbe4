/**
 * Two ASes with one link on addresses of their own: directories as the official tools write them, and a path between
 * them made with both ASes' keys.
 *
 *   1-ff00:0:110 (core)  #1 ===== #41  1-ff00:0:111
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { claimLab, type LabAddresses } from '#hw/lab/addresses';
import { deriveHopKey, HopMac } from '#scion/hop-mac';
import { encodePath, MAX_PATH_LENGTH } from '#scion/path';

export const CORE = { isdAs: '1-ff00:0:110', number: 110, interface: 1 } as const;
export const LEAF = { isdAs: '1-ff00:0:111', number: 111, interface: 41 } as const;
const INTERNAL_PORT = 30042;
const LINK_PORT = 50000;

export interface PathOptions {
  /** Unix seconds of the segment. */
  readonly timestamp?: number;
  readonly expTime?: number;
}

export class TwoAses {
  readonly addresses: LabAddresses;
  readonly folder: string;
  private readonly secrets = new Map<string, Buffer>();

  private constructor(addresses: LabAddresses, folder: string) {
    this.addresses = addresses;
    this.folder = folder;
  }

  /** @param bfd  what both ends of the link say about BFD; disabled when left out, as the far end is often a bare socket */
  static async create(bfd: object = { disable: true }): Promise<TwoAses> {
    const ases = new TwoAses(await claimLab(), mkdtempSync(join(tmpdir(), 's3mp-ases-')));
    ases.write(CORE, LEAF, 'child', bfd, { attributes: ['core'] });
    ases.write(LEAF, CORE, 'parent', bfd, {});
    return ases;
  }

  directory(as: typeof CORE | typeof LEAF): string {
    return join(this.folder, String(as.number));
  }
  masterKey(as: typeof CORE | typeof LEAF): string {
    return this.secrets.get(as.isdAs)!.toString('base64');
  }
  /** The router's internal address: where hosts send. */
  router(as: typeof CORE | typeof LEAF): { host: string; port: number } {
    return { host: this.addresses.router(as.number), port: INTERNAL_PORT };
  }
  link(as: typeof CORE | typeof LEAF): { host: string; port: number } {
    return { host: this.addresses.router(as.number), port: LINK_PORT };
  }
  host(as: typeof CORE | typeof LEAF): string {
    return this.addresses.headend(as.number);
  }

  private write(
    as: typeof CORE | typeof LEAF,
    other: typeof CORE | typeof LEAF,
    linkTo: string,
    bfd: object,
    extra: object,
  ): void {
    const secret = randomBytes(16);
    this.secrets.set(as.isdAs, secret);
    const directory = this.directory(as);
    const address = ({ host, port }: { host: string; port: number }) => `${host}:${port}`;
    mkdirSync(join(directory, 'keys'), { recursive: true });
    mkdirSync(join(directory, 'segments'));
    writeFileSync(join(directory, 'keys', 'master0.key'), `${secret.toString('base64')}\n`, { mode: 0o600 });
    const topology = {
      isd_as: as.isdAs,
      mtu: 1472,
      border_routers: {
        br: {
          internal_addr: address(this.router(as)),
          interfaces: {
            [as.interface]: {
              underlay: { local: address(this.link(as)), remote: address(this.link(other)) },
              isd_as: other.isdAs,
              link_to: linkTo,
              mtu: 1472,
              bfd,
            },
          },
        },
      },
      control_service: { cs: { addr: `${this.addresses.controlService(as.number)}:30252` } },
      ...extra,
    };
    writeFileSync(join(directory, 'topology.json'), JSON.stringify(topology));
  }

  /** Path from the core AS to the leaf: one segment in construction direction. */
  path({ timestamp = Math.floor(Date.now() / 1000) - 10, expTime = 63 }: PathOptions = {}): Uint8Array {
    const macOf = (as: typeof CORE | typeof LEAF) => new HopMac(deriveHopKey(this.secrets.get(as.isdAs)!));
    const [first, second] = [new Uint8Array(6), new Uint8Array(6)];
    const segId = 0x1234;
    macOf(CORE).compute(first, 0, segId, timestamp, expTime, 0, CORE.interface);
    const next = segId ^ ((first[0]! << 8) | first[1]!);
    macOf(LEAF).compute(second, 0, next, timestamp, expTime, LEAF.interface, 0);
    const out = new Uint8Array(MAX_PATH_LENGTH);
    const hops = [
      { expTime, consIngress: 0, consEgress: CORE.interface, mac: first },
      { expTime, consIngress: LEAF.interface, consEgress: 0, mac: second },
    ];
    const segments = [{ consDir: true, peer: false, segId, timestamp, hops }];
    return out.slice(0, encodePath(out, 0, { currInf: 0, currHf: 0, segments }));
  }

  remove(): void {
    this.addresses.release();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
