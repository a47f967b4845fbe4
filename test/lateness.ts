/**
 * How late this process is, so that a limit of a test on real time holds for the software and not for the machine: what
 * waits for a processor is late by what the others take.
 */

const TICK_MS = 5;
/** Timers fire on whole milliseconds: this much is no lateness. */
const ROUNDING_MS = 1;

export class Lateness {
  private total = 0;
  private last = performance.now();
  private readonly timer = setInterval(() => this.tick(), TICK_MS);

  /** Time in which this process should have run and did not, since it was watched, ms. */
  totalMs(): number {
    return this.total + Math.max(0, performance.now() - this.last - TICK_MS - ROUNDING_MS);
  }

  close(): void {
    clearInterval(this.timer);
  }

  private tick(): void {
    this.total = this.totalMs();
    this.last = performance.now();
  }
}
