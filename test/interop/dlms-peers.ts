/** Foreign DLMS programs of the interop matrix: what starts them, their versions, and what they answer line by line. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { PYTHON } from '#test/needs';

/** Of the project: benches and tests lie at different depths. */
const root = (function up(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : up(dirname(folder));
})(__dirname);
const scripts = join(root, 'test', 'interop');
const java = join(root, 'dist', 'interop', 'java');
/** Ends a program that hangs. */
const LIMIT_MS = 300_000;

export interface Line {
  // biome-ignore lint/suspicious/noExplicitAny: each step has a result of its own shape
  readonly result?: any;
  readonly associated?: unknown;
  readonly error?: string;
}

export type Transport = 'tcp' | 'udp' | 'hdlc';

/** What a foreign client is to do. */
export interface Plan {
  readonly transport?: Transport;
  readonly password: string | null;
  readonly security?: object;
  readonly gbt?: number;
  readonly maxPdu?: number;
  readonly goOn?: boolean;
  readonly steps: readonly (readonly unknown[])[];
}

/** A program with the library of a peer in it. */
export type Program = readonly [command: string, ...args: string[]];

export interface ClientPeer {
  readonly name: string;
  /** undefined when it is not installed. */
  readonly version: string | undefined;
  readonly client: Program;
  readonly listener: Program;
}

function pythonVersion(distribution: string): string | undefined {
  const script = 'import importlib.metadata as m, sys; print(m.version(sys.argv[1]))';
  const { status, stdout } = spawnSync(PYTHON, ['-c', script, distribution], { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.trim() : undefined;
}

/** Version of a library of the Java peers; they are there once `mvn -f test/interop/java process-classes` has run. */
export function javaVersion(library: string): string | undefined {
  const lib = join(java, 'lib');
  if (!existsSync(lib) || !existsSync(join(java, 'classes', 's3mp'))) return undefined;
  const jar = readdirSync(lib).find((file) => file.startsWith(`${library}-`));
  return jar?.slice(library.length + 1, -'.jar'.length);
}

/** One of the Java mains of `test/interop/java`. */
export function javaProgram(main: string): Program {
  return ['java', '-XX:TieredStopAtLevel=1', '-cp', `${join(java, 'classes')}:${join(java, 'lib')}/*`, `s3mp.${main}`];
}

/** One of the Python scripts of `test/interop`. */
export const python = (script: string): Program => [PYTHON, join(scripts, script)];

export function clientPeers(): ClientPeer[] {
  return [
    {
      name: 'Gurux (Python)',
      version: pythonVersion('gurux-dlms'),
      client: python('gurux-client.py'),
      listener: python('gurux-listener.py'),
    },
    {
      name: 'Gurux (Java)',
      version: javaVersion('gurux.dlms'),
      client: javaProgram('GuruxClient'),
      listener: javaProgram('GuruxListener'),
    },
    {
      name: 'dlms-cosem',
      version: pythonVersion('dlms-cosem'),
      client: python('dlms-cosem-client.py'),
      listener: python('dlms-cosem-listener.py'),
    },
  ];
}

function start([command, ...args]: Program, more: readonly string[]): ChildProcess {
  return spawn(command, [...args, ...more], {
    stdio: 'pipe',
    timeout: LIMIT_MS,
    env: { ...process.env, TZ: 'UTC' },
  });
}

/** Runs a client to its end; its lines, first the association's. @throws Error with what it wrote when it fails */
export async function runClient(program: Program, port: number, plan: Plan, host = '127.0.0.1'): Promise<Line[]> {
  const child = start(program, [host, String(port), JSON.stringify({ transport: 'tcp', ...plan })]);
  let output = '';
  let errors = '';
  child.stdout!.on('data', (chunk) => (output += chunk));
  child.stderr!.on('data', (chunk) => (errors += chunk));
  const status = await new Promise((resolve) => child.on('close', resolve));
  if (status !== 0) throw new Error(lastLine(errors) || `ended with ${status}`);
  // A library may talk to its console between our lines.
  return output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
}

export const lastLine = (text: string): string => text.trim().split('\n').at(-1)?.trim() ?? '';

/** A program that prints its port first, and more lines afterwards. */
export class Served {
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: () => string;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, port: number, errors: () => string) {
    this.#child = child;
    this.#lines = lines;
    this.port = port;
    this.#errors = errors;
  }

  static async start(program: Program, ...args: string[]): Promise<Served> {
    const child = start(program, args);
    let errors = '';
    child.stderr!.on('data', (chunk) => (errors += chunk));
    const lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
    const port = Number((await lines.next()).value);
    if (!Number.isInteger(port)) throw new Error(lastLine(errors) || 'no port');
    return new Served(child, lines, port, () => errors);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  tell(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** @throws Error with what it wrote when it has ended without a line */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(lastLine(this.#errors()) || 'ended');
    return value;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.kill();
    await gone;
  }
}
