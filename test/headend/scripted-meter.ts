/** A scripted far end for the head end's tests: a household whose load obeys the relay, and faults on demand. */

import { S3mpError } from '#base/errors';
import { emptyPath } from '#scion/combinator';
import { parseIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';
import { parsePolicy, whyForbidden } from '#scion/policy';
import type {
  ClockComparison,
  ControlReading,
  FirmwareReading,
  FirmwareToSend,
  MeterConnection,
  PathReport,
  PathSettings,
  PathTaken,
  ProfileReading,
  ProfileRequest,
  Reading,
  RegisterValue,
  TransferProgress,
} from '../../headend/meter-connection.ts';

/** Blocks of an image at the scripted meter. */
const IMAGE_BLOCK = 64;

export const PATH_A: PathTaken = {
  fingerprint: 'a1b2c3d4e5f60718',
  hops: '1-ff00:0:112 1>12 1-ff00:0:110 11>1 1-ff00:0:111',
  isds: [1],
  rttMs: 72.4,
};
export const PATH_B: PathTaken = {
  fingerprint: 'b7c8d9eaf0112233',
  hops: '1-ff00:0:112 2>22 1-ff00:0:120 21>2 1-ff00:0:111',
  isds: [1],
  rttMs: 70.1,
};
const FOREIGN: PathTaken = {
  fingerprint: 'c0ffee0000000001',
  hops: '1-ff00:0:112 1>12 1-ff00:0:110 31>1 2-ff00:0:210 2>32 1-ff00:0:120 21>2 1-ff00:0:111',
  isds: [1, 2],
  rttMs: null,
};

/** The part of a path that policies look at. */
function pathOf(hops: string): ScionPath {
  const parts = hops.split(' ');
  const interfaces = parts.flatMap((part, i) => {
    if (i % 2 === 0) return [];
    const [out, into] = part.split('>').map(Number);
    return [
      { ia: parseIsdAs(parts[i - 1]!), id: out! },
      { ia: parseIsdAs(parts[i + 1]!), id: into! },
    ];
  });
  return { ...emptyPath(interfaces[0]!.ia, 1280), interfaces };
}

export class ScriptedMeter implements MeterConnection {
  readonly pathFence: readonly string[] = ['+ 1', '-'];
  pathSettings: PathSettings | null = null;
  reads = 0;
  switches = 0;
  writes = 0;
  /** Most calls under way at the same time. */
  mostAtOnce = 0;
  relay = true;
  message = '';
  selfTest = 'PASS bus       /dev/serial0, unit 1\nSKIP relay     moved at the device only';
  loadW = 412;
  /** Power that flows although the relay is open. */
  leakW = 0;
  energyWh = 1_234_567;
  delayMs = 0;
  isReachable = true;
  path: PathTaken = PATH_A;
  /** The next switch takes effect, its answer is lost. */
  loseAnswer = false;
  /** The next switch never arrives and nobody says so. */
  loseRequest = false;
  refusal: S3mpError | undefined;
  /** The relay says yes and stays. */
  isStuck = false;
  isClosed = false;
  now: () => number = Date.now;
  wait: (ms: number) => Promise<void> = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  /** The meter's clock: whether it believes it, and how far ahead it is. */
  clock = { isSet: true, offsetMs: 3 };
  clockSets = 0;
  /** The line holds up the next time on its way, ms. */
  clockDelayMs = 0;
  firmware = { version: '0.1.0', isOffered: true, status: 0, refusal: '' };
  /** What the meter says of the next image. */
  verdict = '';
  /** What becomes of the next activation: the image runs, on trial, or what ran before returns. */
  trial: 'proves' | 'waits' | 'fails' = 'proves';
  /** Blocks that the meter holds. */
  stored = 0;
  blocksSent = 0;
  activations = 0;
  private image: FirmwareToSend | undefined;
  private atOnce = 0;

  read(): Promise<Reading> {
    return this.answer(() => {
      this.reads++;
      const receivedAt = this.now();
      return {
        values: this.values(),
        measuredAt: this.clock.isSet ? receivedAt : null,
        receivedAt,
        delayMs: this.delayMs || 1.5,
        path: this.path,
      };
    });
  }

  readControl(): Promise<ControlReading> {
    return this.answer(() => ({
      outputState: this.relay,
      controlState: this.relay ? ('connected' as const) : ('disconnected' as const),
      path: this.path,
    }));
  }

  switchOutput(connect: boolean): Promise<void> {
    return this.answer(() => {
      this.switches++;
      if (this.refusal) throw this.refusal;
      const { loseRequest, loseAnswer } = this;
      this.loseRequest = false;
      this.loseAnswer = false;
      if (!loseRequest && !this.isStuck) this.relay = connect;
      if (loseRequest || loseAnswer) throw new S3mpError('meter.unreachable', 'no answer');
    });
  }

  writeMessage(text: string): Promise<void> {
    return this.answer(() => {
      this.writes++;
      this.message = text;
    });
  }

  readMessage(): Promise<string> {
    return this.answer(() => this.message);
  }

  readSelfTest(): Promise<string> {
    return this.answer(() => this.selfTest);
  }

  readProfile(obis: string, { from, to, columns }: ProfileRequest): Promise<ProfileReading> {
    return this.answer(() => {
      this.reads++;
      const isLog = obis.includes(':99.98.');
      const fields = [
        { obis: '1-0:1.8.0.255', unit: 'Wh' },
        { obis: '1-0:3.8.0.255', unit: 'varh' },
      ].filter((field) => !columns || columns.includes(field.obis));
      const rows: ProfileReading['rows'][number][] = [];
      for (let at = Math.ceil(from / 900_000) * 900_000; at <= to; at += 900_000) {
        const values = isLog ? [2] : fields.map(({ unit }) => (unit === 'Wh' ? this.energyWh : null));
        rows.push({ at, quality: values.includes(null) ? 'missing' : 'good', values });
      }
      return { fields: isLog ? [{ obis: '0-0:96.11.0.255', unit: '' }] : fields, period: isLog ? 0 : 900, rows };
    });
  }

  readClock(): Promise<ClockComparison> {
    return this.answer(() => ({ ...this.clock, roundTripMs: 40 }));
  }

  setClock(roundTripMs: number): Promise<void> {
    return this.answer(() => {
      this.clockSets++;
      if (this.refusal) throw this.refusal;
      const { loseAnswer } = this;
      this.loseAnswer = false;
      this.clock = { isSet: true, offsetMs: roundTripMs / 2 - 20 - this.clockDelayMs };
      this.clockDelayMs = 0;
      if (loseAnswer) throw new S3mpError('meter.unreachable', 'no answer');
    });
  }

  readFirmware(): Promise<FirmwareReading> {
    return this.answer(() => ({ ...this.firmware }));
  }

  async sendFirmware(image: FirmwareToSend, count: number): Promise<TransferProgress> {
    // Each block is a request of its own.
    if (count > 1 && this.isReachable) await this.wait((count - 1) * this.delayMs);
    return this.answer(() => {
      if (this.image?.sha256 !== image.sha256) this.stored = 0;
      this.image = image;
      this.firmware.status = 1;
      const blocks = Math.ceil(image.bytes.length / IMAGE_BLOCK);
      const sent = Math.min(count, blocks - this.stored);
      this.stored += sent;
      this.blocksSent += sent;
      return { stored: this.stored, blocks, isWhole: this.stored === blocks };
    });
  }

  verifyFirmware(): Promise<void> {
    return this.answer(() => {
      this.firmware.refusal = this.verdict;
      this.firmware.status = this.verdict === '' ? 3 : 4;
      if (this.verdict !== '') throw new S3mpError('dlms.refused', 'class 18 method 3: other reason');
    });
  }

  activateFirmware(): Promise<void> {
    return this.answer(() => {
      this.activations++;
      const { loseRequest, loseAnswer } = this;
      this.loseRequest = false;
      this.loseAnswer = false;
      if (!loseRequest) {
        const runs = this.trial !== 'fails';
        this.firmware.status = this.trial === 'proves' ? 6 : runs ? 5 : 7;
        if (runs) this.firmware.version = this.image!.version;
      }
      if (loseRequest || loseAnswer) throw new S3mpError('meter.unreachable', 'no answer');
    });
  }

  async paths(): Promise<readonly PathReport[]> {
    return this.reports();
  }

  private reports(): PathReport[] {
    const common = { mtu: 1280, expiresAt: this.now() + 3_600_000, forbidden: null };
    return [PATH_A, PATH_B, FOREIGN].map((path) => ({
      ...path,
      ...common,
      state: path === FOREIGN ? 'unknown' : 'alive',
      chosen: path.fingerprint === this.path.fingerprint,
      announcedLatencyMs: path === FOREIGN ? 30 : 36,
      announcedBandwidthKbit: 10_000,
      pinned: this.pathSettings?.pin === path.fingerprint,
      disjoint: path === PATH_B,
      ...(path === FOREIGN ? { forbidden: 'leaves ISD 1 through 2-ff00:0:210' } : {}),
    }));
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }

  setPathSettings(settings: PathSettings | null): void {
    if (settings !== null) parsePolicy(settings.acl, settings.sequence);
    this.pathSettings = settings;
  }

  /** By the real policy, over the interfaces in the hops; the first allowed path would be chosen. */
  evaluatePaths({ acl, sequence, pin }: PathSettings): readonly PathReport[] {
    const policy = parsePolicy(acl, sequence);
    const reports = this.reports().map((report) => {
      const forbidden = report.forbidden ?? whyForbidden(policy, pathOf(report.hops)) ?? null;
      return { ...report, forbidden, pinned: report.fingerprint === pin, chosen: false };
    });
    const allowed = reports.filter((r) => r.forbidden === null);
    const chosen = allowed.find((r) => r.pinned) ?? allowed[0];
    return reports.map((r) => ({ ...r, chosen: r === chosen }));
  }

  private values(): RegisterValue[] {
    const power = this.relay ? this.loadW : this.leakW;
    const value = (obis: string, name: string, number: number, unit: string): RegisterValue => {
      return { obis, name, value: number, unit, quality: 'good' };
    };
    return [
      value('1-0:16.7.0.255', 'Active power', power, 'W'),
      value('1-0:32.7.0.255', 'Voltage', 230.12, 'V'),
      value('1-0:31.7.0.255', 'Current', Math.round((power / 230.12) * 1000) / 1000, 'A'),
      value('1-0:14.7.0.255', 'Frequency', 49.99, 'Hz'),
      value('1-0:13.7.0.255', 'Power factor', 0.987, ''),
      value('1-0:1.8.0.255', 'Active energy import', this.energyWh, 'Wh'),
      { obis: '1-0:3.8.0.255', name: 'Reactive energy import', value: null, unit: 'varh', quality: 'missing' },
    ];
  }

  private async answer<T>(work: () => T): Promise<T> {
    this.atOnce++;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.atOnce);
    try {
      if (this.delayMs > 0) await this.wait(this.delayMs);
      if (!this.isReachable) throw new S3mpError('meter.unreachable', 'no answer from 1-ff00:0:111,127.1.11.10');
      return work();
    } finally {
      this.atOnce--;
    }
  }
}
