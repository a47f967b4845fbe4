/** A serial line without hardware: a pair of ptys (socat) with pymodbus as the energy meter on the far end. */

import { type ChildProcess, spawn } from 'node:child_process';
import { lstatSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { GUARD_MS } from '#test/guard';
import { commandWorks } from '#test/needs';
import type { Random } from '#test/random';
import mapVectors from '../vectors/modbus-maps.json';

/** Debian's own Python: the one that has Debian's pymodbus. */
const PYTHON = '/usr/bin/python3';
const SCRIPT = join(process.cwd(), 'test', 'interop', 'pymodbus-slave.py');
const BUS_SCRIPT = join(process.cwd(), 'test', 'interop', 'pymodbus-bus.py');

/** Register values by address. */
export type Registers = Readonly<Record<number, number>>;

export const hasSocat = (): boolean => commandWorks('socat', '-V');
export const hasPymodbus = (): boolean => commandWorks(PYTHON, '-c', 'import pymodbus, serial, serial_asyncio');

/** A bundled test looks for the native serial driver beside itself; this puts it there. */
export function linkSerialDriver(): void {
  const link = join(__dirname, 'prebuilds');
  const prebuilds = join(process.cwd(), 'node_modules', '@serialport', 'bindings-cpp', 'prebuilds');
  if (!exists(link)) symlinkSync(prebuilds, link);
}

export interface PtyPair {
  /** Path for the energy meter. */
  readonly meter: string;
  /** Path for the firmware. */
  readonly bus: string;
  /** Both ends vanish, as when an adapter is pulled out. */
  stop(): Promise<void>;
}

/** Joins two ptys, named `meter` and `bus` in `folder`. */
export async function startPtyPair(folder: string): Promise<PtyPair> {
  const meter = join(folder, 'meter');
  const bus = join(folder, 'bus');
  const child = spawn('socat', [`pty,raw,echo=0,link=${meter}`, `pty,raw,echo=0,link=${bus}`], { stdio: 'ignore' });
  const until = Date.now() + GUARD_MS;
  while (!exists(meter) || !exists(bus)) {
    if (child.exitCode !== null || Date.now() > until) throw new Error(`socat made no ptys in ${folder}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return { meter, bus, stop: () => ended(child) };
}

export interface PymodbusSlave {
  /** Writes registers; resolves when they are in force. */
  set(registers: Registers): Promise<void>;
  /** The process stands still; what is asked meanwhile is answered when it goes on. */
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
}

/** Starts unit 1 on a serial port; a range is readable where all of its registers are in `registers`. */
export async function startPymodbusSlave(path: string, registers: Registers): Promise<PymodbusSlave> {
  return startServer<Registers>(SCRIPT, path, registers);
}

/** An energy meter on a bus of several: its registers by function code (3 holding, 4 input). */
export interface PymodbusUnit {
  readonly 3?: Registers;
  readonly 4?: Registers;
  readonly delay_ms?: number;
  readonly silent?: boolean;
}

export interface PymodbusBus {
  /** Writes registers of units, or takes units off the bus; resolves when that is in force. */
  set(units: Readonly<Record<number, PymodbusUnit>>): Promise<void>;
  /** All bytes that came from the master. */
  readonly heard: () => string;
  /** The same as requests, with the steady ms at which each was seen. */
  readonly requests: readonly { readonly at: number; readonly unit: number; readonly start: number }[];
  stop(): Promise<void>;
}

/** Starts several units on a serial port. */
export async function startPymodbusBus(
  path: string,
  units: Readonly<Record<number, PymodbusUnit>>,
): Promise<PymodbusBus> {
  let heard = '';
  const requests: { at: number; unit: number; start: number }[] = [];
  const slave = await startServer<Readonly<Record<number, PymodbusUnit>>>(BUS_SCRIPT, path, units, (text) => {
    if (!text.startsWith('got ')) return;
    heard += text.slice(4);
    // Every read is 8 bytes.
    for (let i = requests.length; 16 * (i + 1) <= heard.length; i++) {
      const frame = Buffer.from(heard.slice(16 * i, 16 * (i + 1)), 'hex');
      requests.push({ at: performance.now(), unit: frame[0]!, start: frame.readUInt16BE(2) });
    }
  });
  return { ...slave, heard: () => heard, requests };
}

async function startServer<T>(script: string, path: string, initial: T, onLine: (text: string) => void = () => {}) {
  const child = spawn(PYTHON, [script, path, JSON.stringify(initial)], { stdio: ['pipe', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => (errors += chunk));
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout });
  lines.on('line', onLine);

  const line = (expected: string) =>
    new Promise<void>((resolve, reject) => {
      const fail = () => settle(() => reject(new Error(`pymodbus slave did not say "${expected}": ${errors}`)));
      const timer = setTimeout(fail, GUARD_MS);
      const take = (text: string) => text === expected && settle(resolve);
      function settle(how: () => void) {
        clearTimeout(timer);
        lines.off('line', take);
        child.off('exit', fail);
        how();
      }
      lines.on('line', take);
      child.once('exit', fail);
    });

  const slave = {
    async set(values: T) {
      const set = line('set');
      child.stdin.write(`${JSON.stringify(values)}\n`);
      await set;
    },
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    stop: () => ended(child),
  };
  try {
    await line('ready');
  } catch (error) {
    await slave.stop();
    throw error;
  }
  return slave;
}

/** Registers that the golden frames of a map hold, by function code, with its identity. */
export function mapUnit(map: keyof typeof mapVectors): PymodbusUnit {
  const held: Record<number, Record<number, number>> = { 3: {}, 4: {} };
  const { reads, identity } = mapVectors[map] as { reads: Exchange[]; identity?: Exchange };
  for (const { request, reply } of identity ? [...reads, identity] : reads) {
    const [frame, words] = [Buffer.from(request, 'hex'), Buffer.from(reply, 'hex')];
    for (let i = 0; i < frame.readUInt16BE(4); i++)
      held[frame[1]!]![frame.readUInt16BE(2) + i] = words.readUInt16BE(3 + 2 * i);
  }
  return held;
}

interface Exchange {
  readonly request: string;
  readonly reply: string;
}

/** Quantities in the resolution of an OR-WE-514's registers; energies in 0.01 kWh and 0.01 kvarh. */
export interface MeterValues {
  readonly voltage: number;
  readonly current: number;
  readonly frequency: number;
  readonly activePower: number;
  readonly reactivePower: number;
  readonly apparentPower: number;
  readonly powerFactor: number;
  readonly activeEnergy: number;
  readonly reactiveEnergy: number;
}

/** A house that draws 327 W. */
export const HOUSE: MeterValues = {
  voltage: 23_142,
  current: 1_473,
  frequency: 5_001,
  activePower: 327,
  reactivePower: 98,
  apparentPower: 341,
  powerFactor: 959,
  activeEnergy: 197_936,
  reactiveEnergy: 102_348,
};
/** The same house behind an open contact. */
export const DARK_HOUSE: MeterValues = {
  ...HOUSE,
  current: 0,
  activePower: 0,
  reactivePower: 0,
  apparentPower: 0,
  powerFactor: 1_000,
};

/** Values that a meter at a house can have all at once: S = U·I, P² + Q² = S², PF = P/S. Powers of either sign. */
export function plausibleValues(random: Random): MeterValues {
  const voltage = 20_000 + random.below(6_000);
  const current = random.below(90_000);
  const apparentPower = Math.round((voltage * current) / 100_000);
  const angle = (random.below(100_000) / 100_000) * 2 * Math.PI;
  const activePower = Math.round(apparentPower * Math.cos(angle));
  return {
    voltage,
    current,
    frequency: 4_900 + random.below(200),
    activePower,
    reactivePower: Math.round(apparentPower * Math.sin(angle)),
    apparentPower,
    powerFactor: apparentPower === 0 ? 1000 : Math.round((1000 * activePower) / apparentPower),
    activeEnergy: random.below(100_000_000),
    reactiveEnergy: random.below(100_000_000),
  };
}

/** The registers of an OR-WE-514 that holds these values. Registers between them hold 0xffff, to be ignored. */
export function registersOf(values: MeterValues): Registers {
  const out: Record<number, number> = {};
  for (let address = 0x130; address <= 0x158; address++) out[address] = 0xffff;
  const word = (address: number, value: number) => {
    out[address] = value & 0xffff;
  };
  const long = (address: number, value: number) => {
    word(address, value >>> 16);
    word(address + 1, value);
  };
  word(0x00b, 0x00a2);
  word(0x130, values.frequency);
  word(0x131, values.voltage);
  long(0x139, values.current);
  long(0x140, values.activePower);
  long(0x148, values.reactivePower);
  long(0x150, values.apparentPower);
  word(0x158, values.powerFactor);
  long(0xa000, values.activeEnergy);
  long(0xa01e, values.reactiveEnergy);
  return out;
}

/** The link itself, not where it leads: a dead pty leaves none. */
function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise((resolve) => child.once('exit', resolve));
  child.kill();
  await exit;
}
