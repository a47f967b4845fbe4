/**
 * The official SCION packages as a partner in a conversation: `go/oracle` runs as one process for a test file and answers
 * questions in order, each a line of JSON. Its sources say what each operation takes and gives.
 */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { buildGo, goProgram } from './go-packets.ts';

export type OracleAnswer<T> = { readonly result: T; readonly error?: undefined } | { readonly error: string };

/** Builds the program. @returns what is missing, for `needs('go', …)`; undefined when all is well */
export const buildOracle = (): string | undefined => buildGo('oracle');

export class Oracle {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  private stderr = '';

  constructor() {
    this.child = spawn(goProgram('oracle'));
    createInterface({ input: this.child.stdout }).on('line', (line) => this.waiting.shift()?.resolve(line));
    this.child.stderr.on('data', (data) => {
      this.stderr += data;
    });
    this.child.on('close', (code) => {
      for (const { reject } of this.waiting.splice(0)) reject(new Error(`oracle ended with ${code}: ${this.stderr}`));
    });
  }

  /** Asks and gives the answer, which may be an error of the official packages. */
  async try<T>(op: string, args: unknown): Promise<OracleAnswer<T>> {
    const line = await new Promise<string>((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.child.stdin.write(`${JSON.stringify({ op, args })}\n`);
    });
    return JSON.parse(line);
  }

  /** Asks and gives the result. @throws Error when the official packages refuse */
  async ask<T>(op: string, args: unknown): Promise<T> {
    const answer = await this.try<T>(op, args);
    if (answer.error !== undefined) throw new Error(`${op}: ${answer.error}`);
    return answer.result;
  }

  close(): void {
    this.child.stdin.end();
  }
}
