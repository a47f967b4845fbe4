/** The big number, its age, the meter's state, the two ways of reading and the figures of the live readings. */

import { powerOf } from '../fleet/registers.ts';
import type { MeterStateBody, Quality, ReadingBody } from '../http/wire.ts';
import { ApiError, call } from './api.ts';
import { byId, setAttribute, setText } from './dom.ts';
import { ageText, clockText, delayText, valueText } from './format.ts';
import type { MeterView } from './meter-view.ts';

const LIVE_INTERVAL_MS = 1000;
/** How long the note on a good reading stays. */
const NOTE_MS = 6000;

const STATE_TEXT: Readonly<Record<string, string>> = {
  loading: 'Loading',
  online: 'Online',
  late: 'Late',
  stale: 'Stale',
  offline: 'Offline',
  unknown: 'No data',
  denied: 'Denied',
};

export class PowerPanel {
  private readonly view: () => MeterView | undefined;
  private readonly linked: () => boolean;
  private readonly once = byId<HTMLButtonElement>('read-once');
  private readonly continuous = byId<HTMLButtonElement>('read-continuous');
  private readonly note = byId('read-note');
  private readonly denied: () => void;
  private lease: { meter: string; id: string } | undefined;
  private stream: string | undefined;
  private wanted = false;
  private busy = false;
  /** When a single read failed, as long as the note says so. */
  private failedAt: number | undefined;
  private noteTimer: ReturnType<typeof setTimeout> | undefined;

  /** @param linked  whether the head end is within reach */
  constructor(view: () => MeterView | undefined, linked: () => boolean, denied: () => void) {
    this.view = view;
    this.linked = linked;
    this.denied = denied;
    this.once.addEventListener('click', () => void this.readOnce());
    this.continuous.addEventListener('click', () => void this.setContinuous(!this.wanted));
  }

  /** The stream is open (again): a subscription is tied to it. */
  streamOpened(stream: string): void {
    this.stream = stream;
    if (this.wanted) void this.subscribe();
  }

  async setContinuous(on: boolean): Promise<void> {
    this.wanted = on;
    setAttribute(this.continuous, 'aria-pressed', String(on));
    if (on) await this.subscribe();
    else await this.unsubscribe();
  }

  render(): void {
    const view = this.view();
    setAttribute(this.once, 'disabled', view === undefined || this.busy || !this.linked());
    setAttribute(this.continuous, 'disabled', view === undefined);
    if (view === undefined) return;
    const { meter } = view;
    this.renderState(view.state(), meter);
    const power = powerOf(meter.values);
    const quality = power === undefined ? 'missing' : view.qualityOf(power);
    const shown = quality === 'missing' ? null : (power?.value ?? null);
    setText(byId('power'), valueText(shown));
    setAttribute(byId('power'), 'data-value', shown === null ? null : String(shown));
    setText(byId('power-unit'), power?.unit ?? 'W');
    setAttribute(byId('power-line'), 'data-quality', quality);
    this.renderAge(view, quality);
    this.renderLive(meter.live);
    const age = view.ageMs();
    // A newer reading overtakes the failure of a read.
    if (this.failedAt !== undefined && age !== null && age < performance.now() - this.failedAt) this.say('');
  }

  private renderState(state: string, meter: MeterStateBody): void {
    const badge = byId('meter-state');
    setAttribute(badge, 'data-state', state);
    setText(byId('meter-state-text'), STATE_TEXT[state] ?? state);
    const next = meter.nextTryAt === null ? '' : `, next try ${clockText(meter.nextTryAt)}`;
    setAttribute(badge, 'title', meter.reason === null ? null : `${meter.reason}: ${meter.detail ?? ''}${next}`);
  }

  private renderAge(view: MeterView, quality: Quality): void {
    const { meter } = view;
    const state = view.state();
    const age = view.ageMs();
    const parts: string[] = [];
    if (state === 'offline') {
      parts.push(meter.lastSeenAt === null ? 'never seen' : `last seen ${clockText(meter.lastSeenAt)}`);
      if (meter.reason !== null) parts.push(meter.reason);
      if (meter.nextTryAt !== null) parts.push(`next try ${clockText(meter.nextTryAt)}`);
    } else if (age === null) parts.push('not read yet');
    else {
      parts.push(ageText(age));
      if (state === 'late') parts.push('late');
      if (quality === 'suspect') parts.push('suspect');
      if (quality === 'stale') parts.push('stale');
    }
    setText(byId('age'), parts.join(' · '));
    setAttribute(byId('age'), 'data-state', state);
  }

  private renderLive(live: MeterStateBody['live']): void {
    setText(byId('live-rate'), live === null ? '–' : `${live.achievedPerSecond.toFixed(2)} /s`);
    setText(byId('live-p50'), delayText(live?.delayP50Ms ?? null));
    setText(byId('live-p95'), delayText(live?.delayP95Ms ?? null));
    setText(byId('live-viewers'), live === null ? '–' : String(live.viewers));
  }

  private async readOnce(): Promise<void> {
    const view = this.view();
    if (view === undefined || this.busy) return;
    this.busy = true;
    setAttribute(this.once, 'aria-busy', 'true');
    setAttribute(this.once, 'disabled', true);
    this.say('');
    try {
      const reading = await call<ReadingBody>('POST', `/meters/${encodeURIComponent(view.meter.id)}/readings`);
      view.takeReading(reading);
      this.say(`Read in ${delayText(reading.delayMs)}`);
    } catch (error) {
      this.fail(error);
      this.failedAt = performance.now();
    }
    this.busy = false;
    setAttribute(this.once, 'aria-busy', null);
    this.render();
  }

  private async subscribe(): Promise<void> {
    const meter = this.view()?.meter.id;
    if (meter === undefined) return;
    const { lease, stream } = this;
    const body = {
      intervalMs: LIVE_INTERVAL_MS,
      ...(stream === undefined ? {} : { stream }),
      ...(lease?.meter === meter ? { lease: lease.id } : {}),
    };
    try {
      const granted = await call<{ lease: string }>('POST', `/meters/${encodeURIComponent(meter)}/live`, body);
      this.lease = { meter, id: granted.lease };
      if (!this.wanted) await this.unsubscribe();
    } catch (error) {
      this.fail(error);
      // The head end may only be out of reach for a moment; the stream will say when it is back.
      if (error instanceof ApiError && error.problem.status !== 0) {
        this.wanted = false;
        setAttribute(this.continuous, 'aria-pressed', 'false');
      }
    }
  }

  private async unsubscribe(): Promise<void> {
    const { lease } = this;
    if (lease === undefined) return;
    this.lease = undefined;
    // A lease that cannot be ended ends by itself: nobody renews it.
    await call('DELETE', `/meters/${encodeURIComponent(lease.meter)}/live/${lease.id}`).catch(() => {});
  }

  private fail(error: unknown): void {
    if (error instanceof ApiError && error.isDenied) this.denied();
    this.say(error instanceof ApiError ? `${error.problem.title}: ${error.problem.detail}` : String(error), true);
  }

  private say(text: string, isError = false): void {
    clearTimeout(this.noteTimer);
    this.failedAt = undefined;
    if (!isError) this.noteTimer = setTimeout(() => setText(this.note, ''), NOTE_MS);
    setText(this.note, text);
    setAttribute(this.note, 'data-kind', isError ? 'error' : null);
  }
}
