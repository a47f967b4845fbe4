/** Programs of an interoperability run: long-running services with their logs in files, and tools run to their end. */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';

export interface ServiceSpec {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly logFile: string;
  readonly environment?: Readonly<Record<string, string>>;
}

const STOP_LIMIT_MS = 3_000;

/** A service that runs until `stop`. */
export class Service {
  readonly spec: ServiceSpec;
  private child: ChildProcess | undefined;
  private ended: Promise<void> = Promise.resolve();
  /** Whether it was asked to end. */
  stopped = false;

  constructor(spec: ServiceSpec) {
    this.spec = spec;
  }

  start(): void {
    const { program, args, logFile, environment } = this.spec;
    this.stopped = false;
    const log = openSync(logFile, 'a');
    const child = spawn(program, args, {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...environment },
    });
    closeSync(log);
    this.child = child;
    this.ended = new Promise((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
  }

  get running(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Ends the service: politely first, by force after three seconds. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { child } = this;
    this.stopped = true;
    if (child === undefined || !this.running) return;
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
    await this.ended;
    clearTimeout(timer);
  }

  /** Ends the service at once, for use while this process itself ends. */
  kill(): void {
    this.child?.kill('SIGKILL');
  }

  /** Last lines of its log. */
  logTail(lines = 12): string {
    return readFileSync(this.spec.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }
}

export interface ToolResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a tool to its end; it is killed when it takes longer than the limit, and its status is null then. */
export function runTool(
  program: string,
  args: readonly string[],
  { limitMs = 20_000, environment = {} }: { limitMs?: number; environment?: Readonly<Record<string, string>> } = {},
): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (status) => {
      clearTimeout(timer);
      resolve({ status, stdout, stderr });
    });
  });
}
