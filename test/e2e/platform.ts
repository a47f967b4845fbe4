/** A running platform for end-to-end tests, and its API as a client sees it. */

import { join } from 'node:path';
import { Lab, type LabOptions } from '#hw/lab/lab';
import { GUARD_MS } from '#test/guard';
import { FRESH_LIMIT_MS } from '../../firmware/measurement-image.ts';

/** Folder of the bundles, two above the bundled test. */
export const BUNDLES = join(__dirname, '..', '..');

/** By then a value whose source has fallen silent is missing in what the platform gives, polling and reading included, ms. */
export const MISSING_LIMIT_MS = FRESH_LIMIT_MS + 15_000;

export interface ApiValue {
  readonly obis: string;
  readonly name: string;
  readonly value: number | null;
  readonly unit: string;
  readonly measuredAt: string | null;
  readonly receivedAt: string;
  readonly ageMs: number;
  readonly quality: string;
}

export interface ApiReading {
  readonly meter: string;
  readonly delayMs: number;
  readonly receivedAt: string;
  readonly path: { fingerprint: string; hops: string; isds: number[]; rttMs: number | null };
  readonly values: readonly ApiValue[];
}

export interface ApiProblem {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
}

export interface ApiCommand {
  readonly id: string;
  readonly state: string;
  readonly evidence: Record<string, unknown> | null;
}

export const OBIS = {
  netPower: '1-0:16.7.0.255',
  voltage: '1-0:32.7.0.255',
  current: '1-0:31.7.0.255',
  frequency: '1-0:14.7.0.255',
  powerFactor: '1-0:13.7.0.255',
  apparentPower: '1-0:9.7.0.255',
  reactiveImport: '1-0:3.7.0.255',
  reactiveExport: '1-0:4.7.0.255',
  activeEnergy: '1-0:1.8.0.255',
  reactiveEnergy: '1-0:3.8.0.255',
} as const;

export class Platform {
  readonly lab: Lab;

  private constructor(lab: Lab) {
    this.lab = lab;
  }

  static async start(options: Partial<LabOptions> = {}): Promise<Platform> {
    return new Platform(await Lab.start({ bundles: BUNDLES, headend: { port: 0 }, ...options }));
  }

  stop(): Promise<void> {
    return this.lab.stop();
  }

  get url(): string {
    return this.lab.pageUrl!;
  }

  get meterId(): string {
    return this.lab.meters[0]!.id;
  }

  async request(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const json =
      body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } };
    return await fetch(new URL(`api/v1/${path}`, this.url), { method, headers, ...json });
  }

  async get<T>(path: string): Promise<T> {
    return (await (await this.request('GET', path)).json()) as T;
  }

  /** Reads the meter once through the API. @returns the reading, or the problem */
  async read(): Promise<{ status: number; reading: ApiReading; problem: ApiProblem }> {
    const response = await this.request('POST', `meters/${this.meterId}/readings`, {});
    const body = await response.json();
    return { status: response.status, reading: body as ApiReading, problem: body as ApiProblem };
  }

  /** Value of a register in a reading; fails when it is not there. */
  static value(reading: ApiReading, obis: string): ApiValue {
    const value = reading.values.find((v) => v.obis === obis);
    if (!value) throw new Error(`no ${obis} in the reading`);
    return value;
  }
}

/** Waits until `probe` gives something other than undefined or false. Polling is for things that tell nobody. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | false> | T | undefined | false,
  limitMs = GUARD_MS,
): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
