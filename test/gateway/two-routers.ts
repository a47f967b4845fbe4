/**
 * One AS with two border routers between two neighbours, on addresses of their own, and a path across:
 *
 *   1-ff00:0:110 (core)  #1 ==== #41 upper  1-ff00:0:111  lower #42 ==== #1  1-ff00:0:112
 */

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { claimLab, type LabAddresses } from '#hw/lab/addresses';
import { deriveHopKey, HopMac } from '#scion/hop-mac';
import { encodePath, type Hop, MAX_PATH_LENGTH } from '#scion/path';

const ASES = ['1-ff00:0:110', '1-ff00:0:111', '1-ff00:0:112'] as const;
/** Interfaces in construction order: core out; middle in and out; leaf in. */
const HOPS = [
  [0, 1],
  [41, 42],
  [1, 0],
] as const;

export class TwoRouters {
  readonly addresses: LabAddresses;
  readonly folder: string;
  private readonly secrets = ASES.map(() => randomBytes(16));

  private constructor(addresses: LabAddresses, folder: string) {
    this.addresses = addresses;
    this.folder = folder;
  }

  /** @param bfd  what every link says about BFD */
  static async create(bfd: object = {}): Promise<TwoRouters> {
    const made = new TwoRouters(await claimLab(), mkdtempSync(join(tmpdir(), 's3mp-routers-')));
    const link = (local: string, remote: string, isd_as: string, link_to: string) => ({
      underlay: { local, remote },
      isd_as,
      link_to,
      mtu: 1472,
      bfd,
    });
    const [core, upper, lower, leaf] = made.linkAddresses();
    made.write(0, { br: [made.internal(110), { 1: link(core!, upper!, ASES[1], 'child') }] });
    made.write(1, {
      upper: [made.internal(111), { 41: link(upper!, core!, ASES[0], 'parent') }],
      lower: [made.internal(111, 1), { 42: link(lower!, leaf!, ASES[2], 'child') }],
    });
    made.write(2, { br: [made.internal(112), { 1: link(leaf!, lower!, ASES[1], 'parent') }] });
    return made;
  }

  private linkAddresses(): string[] {
    const { addresses } = this;
    return [
      `${addresses.router(110)}:50001`,
      `${addresses.router(111)}:50041`,
      `${addresses.meter(111, 0)}:50042`,
      `${addresses.router(112)}:50001`,
    ];
  }

  /** Internal address of a router: the first or the second of the AS. */
  internal(as: number, router = 0): string {
    return `${router === 0 ? this.addresses.router(as) : this.addresses.meter(as, 0)}:30042`;
  }
  directory(as: number): string {
    return join(this.folder, String(as));
  }

  private write(index: number, routers: Record<string, [internal: string, interfaces: object]>): void {
    const isdAs = ASES[index]!;
    const directory = this.directory(Number(isdAs.slice(-3)));
    mkdirSync(join(directory, 'keys'), { recursive: true });
    writeFileSync(join(directory, 'keys', 'master0.key'), this.secrets[index]!.toString('base64'), { mode: 0o600 });
    const border_routers = Object.fromEntries(
      Object.entries(routers).map(([name, [internal_addr, interfaces]]) => [name, { internal_addr, interfaces }]),
    );
    const attributes = index === 0 ? ['core'] : [];
    const topology = { isd_as: isdAs, mtu: 1472, attributes, border_routers };
    writeFileSync(join(directory, 'topology.json'), JSON.stringify(topology));
  }

  /** Path from the core AS to the leaf, or from an AS inside it to the leaf. */
  path(): Uint8Array {
    const timestamp = Math.floor(Date.now() / 1000) - 10;
    const expTime = 63;
    let segId = 0x4321;
    const hops = HOPS.map(([consIngress, consEgress], i): Hop => {
      const mac = new Uint8Array(6);
      new HopMac(deriveHopKey(this.secrets[i]!)).compute(mac, 0, segId, timestamp, expTime, consIngress, consEgress);
      segId ^= (mac[0]! << 8) | mac[1]!;
      return { expTime, consIngress, consEgress, mac };
    });
    const out = new Uint8Array(MAX_PATH_LENGTH);
    const segments = [{ consDir: true, peer: false, segId: 0x4321, timestamp, hops }];
    return out.slice(0, encodePath(out, 0, { currInf: 0, currHf: 0, segments }));
  }

  remove(): void {
    this.addresses.release();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
