/**
 * Editor of a meter's path policy. While it is open every change is tried on the candidates at the head end and shown
 * there, kept or dropped; nothing is in force before it is applied.
 */

import type { MeterPathPolicyBody, PathEvaluationBody, PathPolicyBody } from '../http/wire.ts';
import { ApiError, call } from './api.ts';
import { byId, setAttribute, setText } from './dom.ts';
import type { MeterView } from './meter-view.ts';

const PREVIEW_AFTER_MS = 250;
const FIELDS: Readonly<Record<string, string>> = { acl: 'policy-acl', sequence: 'policy-sequence' };

export interface PolicyHooks {
  /** What the policy in the editor would do; null while the editor shows what is in force. */
  readonly preview: (evaluation: PathEvaluationBody | null) => void;
  readonly changed: () => void;
  readonly denied: () => void;
}

export class PolicyEditor {
  private readonly current: () => MeterView | undefined;
  private readonly hooks: PolicyHooks;
  private inForce: MeterPathPolicyBody | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private edited = false;
  /** Changes each time a policy is put or its answer comes: what was asked before is not believed after. */
  private puts = 0;

  private readonly details = byId<HTMLDetailsElement>('policy');
  private readonly preference = byId<HTMLSelectElement>('policy-preference');
  private readonly acl = byId<HTMLTextAreaElement>('policy-acl');
  private readonly sequence = byId<HTMLInputElement>('policy-sequence');

  constructor(current: () => MeterView | undefined, hooks: PolicyHooks) {
    this.current = current;
    this.hooks = hooks;
    const form = byId<HTMLFormElement>('policy-form');
    form.addEventListener('input', () => this.touched());
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.put(this.draft());
    });
    byId('policy-default').addEventListener('click', () => void this.useDefault());
    this.details.addEventListener('toggle', () => {
      if (!this.details.open) this.show();
    });
  }

  /** Another meter is shown. */
  clear(): void {
    this.inForce = undefined;
    this.details.open = false;
    this.show();
  }

  async load(): Promise<void> {
    const path = this.path();
    if (path === undefined) return;
    const { puts } = this;
    try {
      const policy = await call<MeterPathPolicyBody>('GET', path);
      if (this.path() === path && this.puts === puts) this.take(policy);
    } catch {
      // The panel says that nothing is known; the next load tries again.
    }
  }

  /** Pins a path within the policy in force; null takes the pin away. */
  async pin(fingerprint: string | null): Promise<void> {
    const { acl = [], sequence = '', preference = 'latency' } = this.inForce ?? {};
    await this.put({ acl, sequence, preference, pin: fingerprint });
  }

  private path(): string | undefined {
    const id = this.current()?.meter.id;
    return id === undefined ? undefined : `/meters/${encodeURIComponent(id)}/path-policy`;
  }

  private take(policy: MeterPathPolicyBody): void {
    const known = JSON.stringify(policy) === JSON.stringify(this.inForce);
    this.inForce = policy;
    if (known) return;
    if (!this.edited) this.show();
    else this.summarise();
  }

  /** Shows what is in force and drops what was edited. */
  private show(): void {
    clearTimeout(this.timer);
    this.edited = false;
    const { acl = [], sequence = '', preference = 'latency' } = this.inForce ?? {};
    this.acl.value = acl.join('\n');
    this.sequence.value = sequence;
    this.preference.value = preference;
    this.note('');
    this.summarise();
    this.hooks.preview(null);
  }

  private summarise(): void {
    const { inForce } = this;
    byId<HTMLButtonElement>('policy-default').disabled = inForce?.own !== true;
    if (inForce === undefined) {
      setText(byId('policy-summary'), '');
      return;
    }
    const parts = [`the head end allows ${inForce.fence.length > 0 ? inForce.fence.join(', ') : 'all'}`];
    if (inForce.acl.length > 0) parts.push(`this meter ${inForce.acl.join(', ')}`);
    if (inForce.sequence !== '') parts.push(`sequence ${inForce.sequence}`);
    const wanted = this.preference.querySelector(`option[value="${inForce.preference}"]`)?.textContent ?? '';
    parts.push(`prefers ${wanted}`);
    if (inForce.pin !== null) parts.push('one path pinned');
    setText(byId('policy-summary'), `· ${parts.join(' · ')}`);
  }

  private draft(): PathPolicyBody {
    return {
      acl: this.acl.value
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line !== ''),
      sequence: this.sequence.value.trim(),
      preference: this.preference.value as PathPolicyBody['preference'],
      pin: this.inForce?.pin ?? null,
    };
  }

  private touched(): void {
    this.edited = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.tryOut(), PREVIEW_AFTER_MS);
  }

  private async tryOut(): Promise<void> {
    const meter = this.current()?.meter.id;
    if (meter === undefined) return;
    const draft = this.draft();
    try {
      const evaluation = await call<PathEvaluationBody>('POST', '/paths:evaluate', { meter, ...draft });
      if (!this.edited || JSON.stringify(draft) !== JSON.stringify(this.draft())) return;
      this.hooks.preview(evaluation);
      const cut = evaluation.survivesOneCut ? 'any one link may fail' : 'one broken link can end the readings';
      this.note(
        evaluation.kept === 0
          ? `Preview: no path is left, readings would stop`
          : `Preview: ${evaluation.kept} kept, ${evaluation.dropped} dropped; ${cut}`,
        evaluation.survivesOneCut ? 'good' : 'warning',
      );
    } catch (error) {
      if (this.edited) this.failed(error);
    }
  }

  private async put(policy: PathPolicyBody): Promise<void> {
    const path = this.path();
    if (path === undefined) return;
    await this.change(path, 'In force', () => call<MeterPathPolicyBody>('PUT', path, policy));
  }

  private async useDefault(): Promise<void> {
    const path = this.path();
    if (path === undefined) return;
    await this.change(path, "The head end's own policy is in force", async () => {
      await call('DELETE', path);
      return call<MeterPathPolicyBody>('GET', path);
    });
  }

  /** Changes what is in force and shows it, unless another meter is shown by then. */
  private async change(path: string, done: string, put: () => Promise<MeterPathPolicyBody>): Promise<void> {
    this.puts++;
    try {
      const policy = await put();
      if (this.path() !== path) return;
      this.inForce = policy;
      this.show();
      this.note(done);
    } catch (error) {
      if (this.path() !== path) return;
      this.failed(error);
    } finally {
      this.puts++;
    }
    this.hooks.changed();
  }

  private failed(error: unknown): void {
    this.hooks.preview(null);
    if (!(error instanceof ApiError)) throw error;
    if (error.isDenied) this.hooks.denied();
    this.note(error.problem.detail, 'error', error.problem.pointer);
    if (error.problem.pointer === '/pin') this.details.open = true;
  }

  private note(text: string, kind: string | null = null, pointer?: string): void {
    const note = byId('policy-note');
    setText(note, text);
    setAttribute(note, 'data-kind', kind);
    for (const [field, id] of Object.entries(FIELDS)) {
      setAttribute(byId(id), 'aria-invalid', pointer?.startsWith(`/${field}`) ? 'true' : null);
    }
  }
}
