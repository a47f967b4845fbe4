/**
 * Ends the process when the main thread hangs: a thread of its own looks whether the case number still grows. Nothing in
 * the main thread could say so, since an endless loop lets nothing else run.
 */

import { Worker } from 'node:worker_threads';

const WATCH = `
  const { workerData } = require('node:worker_threads');
  const { writeSync } = require('node:fs');
  const { cell, stallMs, what } = workerData;
  const at = new Int32Array(cell);
  let last = -1;
  setInterval(() => {
    const now = Atomics.load(at, 0);
    if (now === last) {
      writeSync(2, what + ': no end of case ' + now + '\\n');
      process.kill(process.pid, 'SIGKILL');
    }
    last = now;
  }, stallMs);
`;

export class Watchdog {
  readonly #cell = new SharedArrayBuffer(4);
  readonly #at = new Int32Array(this.#cell);
  readonly #worker: Worker;

  /** @param what  for the line that it writes, with the seed to run it again */
  constructor(what: string, stallMs: number) {
    this.#worker = new Worker(WATCH, { eval: true, workerData: { cell: this.#cell, stallMs, what } });
    this.#worker.unref();
  }

  /** The case that begins. */
  feed(index: number): void {
    Atomics.store(this.#at, 0, index);
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
