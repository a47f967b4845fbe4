/**
 * One device process of the lab: started from its bundle, watched until it says `ready`, its log kept in a file. It can
 * be killed and started again. The IPC channel ends it when the lab dies for whatever reason.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { type ErrorCode, HTTP_STATUS } from '#base/error-codes';
import { S3mpError } from '#base/errors';

export interface ProcessSpec {
  readonly name: string;
  readonly node: string;
  readonly nodeFlags: readonly string[];
  readonly script: string;
  readonly args: readonly string[];
  readonly logFile: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** A log line of a device, as `--json` writes it. */
export interface DeviceLogLine {
  readonly level?: string;
  readonly component?: string;
  readonly message?: string;
  readonly [field: string]: unknown;
}

/** Ends the wait for a process that hangs, on a slow and busy machine as well. */
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 10_000;

export class LabProcess {
  readonly spec: ProcessSpec;
  private readonly onLine: (line: DeviceLogLine) => void;
  private readonly log: WriteStream;
  private child: ChildProcess | undefined;
  private exited: Promise<number | null> = Promise.resolve(null);
  private stopping = false;
  /** Told when the process ends without being asked to. */
  onUnexpectedExit: (status: number | null) => void = () => {};

  constructor(spec: ProcessSpec, onLine: (line: DeviceLogLine) => void) {
    this.spec = spec;
    this.onLine = onLine;
    this.log = createWriteStream(spec.logFile, { flags: 'a', mode: 0o600 });
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  get running(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  /**
   * Starts the process and waits until it logs `ready`.
   * @throws S3mpError when it ends before that or takes too long; the message holds its last error line
   */
  async start(): Promise<DeviceLogLine> {
    const { spec } = this;
    this.stopping = false;
    const child = spawn(spec.node, [...spec.nodeFlags, spec.script, ...spec.args, '--json'], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...process.env, ...spec.environment },
    });
    this.child = child;
    this.exited = new Promise((resolve) => {
      child.once('close', (status) => resolve(status));
      child.once('error', () => resolve(null));
    });
    child.stdout?.on('data', (chunk) => this.log.write(chunk));

    let lastError = '';
    let isReady = false;
    let code: ErrorCode = 'internal';
    return await new Promise<DeviceLogLine>((resolve, reject) => {
      const fail = (why: string) =>
        reject(new S3mpError(code, `${spec.name} ${why}${lastError ? `: ${lastError}` : ''} (log: ${spec.logFile})`));
      const timer = setTimeout(() => fail(`was not ready after ${READY_LIMIT_MS / 1000} s`), READY_LIMIT_MS);
      createInterface({ input: child.stderr! }).on('line', (text) => {
        this.log.write(`${text}\n`);
        const line = parseLine(text);
        if (line.level === 'error' || line.error !== undefined) lastError = String(line.message ?? text);
        if (typeof line.error === 'string' && Object.hasOwn(HTTP_STATUS, line.error)) code = line.error as ErrorCode;
        if (line.message === 'ready') {
          isReady = true;
          clearTimeout(timer);
          resolve(line);
        }
        this.onLine(line);
      });
      void this.exited.then((status) => {
        clearTimeout(timer);
        fail(`ended with status ${status}`);
        if (isReady && !this.stopping) this.onUnexpectedExit(status);
      });
    });
  }

  /** Ends the process: politely first, by force after ten seconds. @returns its exit status */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.stopping = true;
    if (!this.running) return this.exited;
    this.child!.kill(signal);
    const timer = setTimeout(() => this.child?.kill('SIGKILL'), STOP_LIMIT_MS);
    const status = await this.exited;
    clearTimeout(timer);
    return status;
  }

  close(): void {
    this.log.end();
  }
}

function parseLine(text: string): DeviceLogLine {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as DeviceLogLine;
  } catch {
    // Not every line is ours: Node prints its own warnings.
  }
  return { message: text };
}
