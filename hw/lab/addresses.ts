/**
 * Addresses of a lab. Each lab owns 127.L.0.0/16 for a free number L, so several labs and a real SCION installation can
 * share a PC; each simulated host has its own address there. A lab holds its number by listening on 127.L.0.1.
 *
 *   127.L.0.1     the lab itself          127.L.1.k    link emulator, link k
 *   127.L.2.m     energy meter m          127.L.a.1    border router of AS a (110 -> a = 110)
 *   127.L.a.2     control service of AS a 127.L.a.10   head end          127.L.a.100+m  meter m
 */

import { createServer, type Server } from 'node:net';
import { ConfigError } from '#base/errors';

const FIRST_LAB = 16;
const LAST_LAB = 250;
const CLAIM_PORT = 30_000;

export class LabAddresses {
  readonly lab: number;
  private readonly claim: Server | undefined;

  constructor(lab: number, claim?: Server) {
    this.lab = lab;
    this.claim = claim;
  }

  private host(a: number, b: number): string {
    return `127.${this.lab}.${a}.${b}`;
  }
  link(index: number): string {
    return this.host(1, index + 1);
  }
  energyMeter(index: number): string {
    return this.host(2, index + 1);
  }
  /** @param as  last group of the AS number as printed, 110 of `ff00:0:110` */
  router(as: number): string {
    return this.host(as, 1);
  }
  controlService(as: number): string {
    return this.host(as, 2);
  }
  headend(as: number): string {
    return this.host(as, 10);
  }
  meter(as: number, index: number): string {
    return this.host(as, 100 + index);
  }

  release(): void {
    this.claim?.close();
  }
}

/**
 * Takes the lowest free lab number.
 * @throws ConfigError when every number is taken
 */
export async function claimLab(): Promise<LabAddresses> {
  for (let lab = FIRST_LAB; lab <= LAST_LAB; lab++) {
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen({ host: `127.${lab}.0.1`, port: CLAIM_PORT, exclusive: true }, () => resolve(true));
    });
    if (free) {
      server.unref();
      return new LabAddresses(lab, server);
    }
  }
  throw new ConfigError('socket.in-use', `every lab number from ${FIRST_LAB} to ${LAST_LAB} is taken`);
}
