/**
 * The meter that is shown, as the head end last told it, aged by the browser's own steady clock: neither a wrong clock of
 * the PC nor a lost connection can make an old value look fresh.
 */

import type { MeterBody, MeterState, MeterStateBody, Quality, ReadingBody, ValueBody } from '../http/wire.ts';

/** As the head end ages its values (from stale on); kept in step by `staleAfterMs`. */
const MISSING_AFTER_MS = 900_000;

export class MeterView {
  meter: MeterBody;
  private valuesAt = performance.now();
  private stateAt = performance.now();

  constructor(meter: MeterBody) {
    this.meter = meter;
  }

  takeState(state: MeterStateBody): void {
    // A lost message read-back must not wipe what a command's evidence showed; null here means "not read since the start".
    this.meter = { ...this.meter, ...state };
    this.stateAt = performance.now();
  }

  takeReading(reading: ReadingBody): void {
    this.meter = { ...this.meter, values: reading.values, path: reading.path, ageMs: 0 };
    this.valuesAt = performance.now();
    this.stateAt = this.valuesAt;
  }

  /** Age of the newest reading in ms, null when there is none since the head end started. */
  ageMs(): number | null {
    return this.meter.ageMs === null ? null : this.meter.ageMs + performance.now() - this.stateAt;
  }

  /** Worse of what the head end says and what the age says: silence of the stream must not look like health. */
  state(): MeterState {
    const { state, lateAfterMs, staleAfterMs } = this.meter;
    const age = this.ageMs();
    if (age === null || state === 'offline') return state;
    if (age > staleAfterMs) return 'stale';
    return age > lateAfterMs ? 'late' : 'online';
  }

  qualityOf(value: ValueBody): Quality {
    const age = value.ageMs + performance.now() - this.valuesAt;
    if (value.quality === 'missing' || age > Math.max(MISSING_AFTER_MS, this.meter.staleAfterMs)) return 'missing';
    return age > this.meter.staleAfterMs ? 'stale' : value.quality;
  }

  /** Since the control state was read back, ms. */
  controlAgeMs(): number | null {
    const { control } = this.meter;
    return control === null ? null : control.ageMs + performance.now() - this.stateAt;
  }
}
