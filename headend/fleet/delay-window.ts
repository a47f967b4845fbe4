/** The last readings' delays and times in fixed rings: rate and percentiles for the page, nothing allocated per reading. */

const SIZE = 128;

export class DelayWindow {
  private readonly at = new Float64Array(SIZE).fill(Number.NEGATIVE_INFINITY);
  private readonly delay = new Float64Array(SIZE);
  private next = 0;
  private total = 0;

  add(nowMs: number, delayMs: number): void {
    this.at[this.next] = nowMs;
    this.delay[this.next] = delayMs;
    this.next = (this.next + 1) % SIZE;
    this.total++;
  }

  clear(): void {
    this.at.fill(Number.NEGATIVE_INFINITY);
    this.total = 0;
  }

  /** Readings a second over the last `windowMs`, or since `sinceMs` when that is shorter. */
  rate(nowMs: number, windowMs: number, sinceMs: number): number {
    const from = Math.max(nowMs - windowMs, sinceMs);
    let count = 0;
    for (let i = 0; i < SIZE; i++) if (this.at[i]! > from) count++;
    return nowMs > from ? (count * 1000) / Math.max(1000, nowMs - from) : 0;
  }

  /** Delay that a share `p` of the readings of the last `windowMs` did not exceed; null without a reading. */
  percentile(nowMs: number, windowMs: number, p: number): number | null {
    if (this.total === 0) return null;
    const recent: number[] = [];
    for (let i = 0; i < SIZE; i++) if (this.at[i]! > nowMs - windowMs) recent.push(this.delay[i]!);
    if (recent.length === 0) return null;
    recent.sort((a, b) => a - b);
    return recent[Math.min(recent.length - 1, Math.ceil(p * recent.length) - 1)]!;
  }
}
