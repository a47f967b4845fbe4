/**
 * Connect and disconnect. What is shown is what was read back from the meter, never what was asked for; while a command is
 * under way, or the head end is out of reach, the buttons rest.
 */

import { offsetText } from '../fleet/offset-text.ts';
import type { CommandBody } from '../http/wire.ts';
import { ApiError, call, currentToken, newKey, setToken } from './api.ts';
import { ClockNote } from './clock-note.ts';
import { byId, make, setAttribute, setText } from './dom.ts';
import { ageText, clockText, valueText } from './format.ts';
import type { MeterView } from './meter-view.ts';

const OPEN_STATES = new Set(['queued', 'sent', 'acknowledged', 'unknown']);
const STAGE_TEXT: Readonly<Record<string, string>> = {
  queued: 'Queued',
  sent: 'Sent',
  acknowledged: 'Acknowledged',
  verified: 'Verified',
  failed: 'Failed',
  expired: 'Expired',
  unknown: 'Unknown, reading back',
};
const TITLE: Readonly<Record<string, string>> = {
  connect: 'Connect',
  disconnect: 'Disconnect',
  message: 'Message',
  'sync-clock': 'Clock',
  firmware: 'Firmware',
};

/** Whether a command is under way that another one would have to wait for: an image on its way is not one. */
export function isOpen(command: CommandBody | null): boolean {
  return command !== null && OPEN_STATES.has(command.state) && command.progress === null;
}

export class OutputPanel {
  private readonly view: () => MeterView | undefined;
  private readonly linked: () => boolean;
  private readonly connect = byId<HTMLButtonElement>('connect');
  private readonly disconnect = byId<HTMLButtonElement>('disconnect');
  private readonly clock: ClockNote;
  private readonly dialog = byId<HTMLDialogElement>('disconnect-dialog');
  private readonly reason = byId<HTMLInputElement>('reason');
  private readonly token = byId<HTMLInputElement>('disconnect-token-text');
  private readonly confirm = byId<HTMLButtonElement>('confirm-disconnect');
  private readonly submitted: (command: CommandBody) => void;
  private readonly failed: (error: unknown) => void;
  private sending = false;
  /** The button that lost the focus by being disabled. */
  private unfocused: HTMLButtonElement | undefined;
  private shown = '';

  constructor(
    view: () => MeterView | undefined,
    linked: () => boolean,
    submitted: (command: CommandBody) => void,
    failed: (error: unknown) => void,
  ) {
    this.view = view;
    this.linked = linked;
    this.submitted = submitted;
    this.failed = failed;
    this.clock = new ClockNote((jump) => void this.submit({ type: 'sync-clock', ...(jump ? { jump } : {}) }));
    this.connect.addEventListener('click', () => void this.submit({ type: 'connect' }));
    this.disconnect.addEventListener('click', () => this.ask());
    this.reason.addEventListener('input', () => this.checkDialog());
    this.token.addEventListener('input', () => this.checkDialog());
    byId('cancel-disconnect').addEventListener('click', () => this.dialog.close());
    byId<HTMLFormElement>('disconnect-form').addEventListener('submit', () => this.confirmed());
  }

  render(): void {
    const view = this.view();
    const command = view?.meter.lastCommand ?? null;
    const resting = view === undefined || this.sending || !this.linked() || isOpen(command);
    const output = view?.meter.control?.outputState;
    this.setRests(this.connect, resting || output === true);
    this.setRests(this.disconnect, resting || output === false);
    this.clock.render(view?.meter.clock ?? null, resting);
    this.restoreFocus();
    if (this.dialog.open) this.checkDialog();
    const isOld = !this.linked() || view?.state() === 'offline';
    setAttribute(byId('output-state'), 'data-old', isOld);
    setAttribute(byId('control-state'), 'data-old', isOld);
    const state = output === undefined ? 'unknown' : output ? 'on' : 'off';
    setAttribute(byId('output-state'), 'data-output', state);
    setText(byId('output-state-text'), output === undefined ? '–' : output ? 'On' : 'Off');
    setText(byId('control-state'), view?.meter.control?.controlState ?? '–');
    const age = view?.controlAgeMs() ?? null;
    setText(byId('control-age'), age === null ? 'not read yet' : `read back ${ageText(age)}`);
    this.renderCommand(command);
  }

  private setRests(button: HTMLButtonElement, rests: boolean): void {
    if (rests && document.activeElement === button) this.unfocused = button;
    setAttribute(button, 'disabled', rests);
  }

  /** A button that rests drops the focus to the body: gives it back to the one that can be pressed then. */
  private restoreFocus(): void {
    if (this.unfocused === undefined || this.dialog.open) return;
    const { activeElement, body } = document;
    // A dialog that closed keeps the focus until the next frame, and lets go of it then.
    const isLost = activeElement === body || activeElement === this.unfocused || this.dialog.contains(activeElement);
    const isPressable = (button: HTMLButtonElement) => !button.disabled && button.offsetParent !== null;
    const next = [this.unfocused, this.connect, this.disconnect].find(isPressable);
    if (isLost && next === undefined) return;
    if (isLost) next?.focus({ preventScroll: true });
    this.unfocused = undefined;
  }

  private renderCommand(command: CommandBody | null): void {
    byId('command').hidden = command === null;
    const key = command === null ? '' : JSON.stringify(command);
    if (command === null || key === this.shown) return;
    this.shown = key;
    const why = command.reason === null ? '' : `: ${command.reason}`;
    setText(byId('command-title'), `${TITLE[command.type]}${why}`);
    const stage = byId('command-stage');
    setAttribute(stage, 'data-state', command.state);
    setAttribute(stage, 'data-command', command.id);
    setAttribute(stage, 'data-type', command.type);
    setText(stage, STAGE_TEXT[command.state] ?? command.state);
    const steps = command.stages.map(({ state, at }) =>
      make('li', { 'data-done': state, title: clockText(at) }, STAGE_TEXT[state]?.split(',')[0] ?? state),
    );
    for (let i = command.stages.length; i < 4 && isOpen(command); i++) steps.push(make('li', {}, '…'));
    byId('stages').replaceChildren(...steps);
    setText(byId('evidence'), evidenceText(command));
  }

  private ask(): void {
    const meter = this.view()?.meter;
    if (meter === undefined) return;
    setText(byId('disconnect-meter'), meter.name);
    this.reason.value = '';
    this.token.value = '';
    byId('disconnect-token').hidden = !meter.disconnectNeedsToken;
    this.checkDialog();
    this.dialog.showModal();
    this.reason.focus();
  }

  private checkDialog(): void {
    const needsToken = !byId('disconnect-token').hidden;
    const complete = this.reason.value.trim().length >= 3 && (!needsToken || this.token.value.trim() !== '');
    setAttribute(this.confirm, 'disabled', !complete || !this.linked());
  }

  private confirmed(): void {
    const before = currentToken();
    if (this.token.value.trim() !== '') setToken(this.token.value);
    this.token.value = '';
    // A token that is refused must not take away what worked without it.
    void this.submit({ type: 'disconnect', reason: this.reason.value.trim() }, () => setToken(before));
  }

  private async submit(body: Record<string, string | boolean>, denied: () => void = () => {}): Promise<void> {
    const meter = this.view()?.meter.id;
    if (meter === undefined || this.sending) return;
    this.sending = true;
    const { connect, disconnect, clock } = this;
    this.unfocused = body.type === 'connect' ? connect : body.type === 'disconnect' ? disconnect : clock.button;
    this.render();
    try {
      this.submitted(await submitCommand(meter, body));
    } catch (error) {
      if (error instanceof ApiError && error.isDenied) denied();
      this.failed(error);
    }
    this.sending = false;
    this.render();
  }
}

/** Sends a command; a lost answer is repeated under the same key, which cannot run it twice. */
export async function submitCommand(meter: string, body: Record<string, string | boolean>): Promise<CommandBody> {
  const path = `/meters/${encodeURIComponent(meter)}/commands`;
  const key = { 'idempotency-key': newKey() };
  try {
    return await call<CommandBody>('POST', path, body, key);
  } catch (error) {
    if (!(error instanceof ApiError) || error.problem.status !== 0) throw error;
    return call<CommandBody>('POST', path, body, key);
  }
}

function evidenceText({ evidence, error, image, progress }: CommandBody): string {
  const parts: string[] = [];
  if (image) parts.push(`${image.model} ${image.version}`);
  if (progress && progress.blocks > 0) parts.push(`${progress.stored} of ${progress.blocks} blocks`);
  if (progress?.waiting) parts.push(`waits: ${progress.waiting}`);
  if (evidence?.clockBefore && evidence.clock) {
    const [before, now] = [evidence.clockBefore, evidence.clock].map(({ offsetMs }) => offsetText(offsetMs, 'brief'));
    parts.push(`clock ${before} before, ${now} now`);
  }
  if (evidence?.firmware !== undefined) parts.push(`runs ${evidence.firmware}`);
  if (evidence?.outputState !== undefined) parts.push(`output ${evidence.outputState ? 'on' : 'off'}`);
  if (evidence?.controlState !== undefined) parts.push(`control ${evidence.controlState}`);
  if (evidence?.powerAfterW !== undefined) parts.push(`power after ${valueText(evidence.powerAfterW)} W`);
  if (evidence?.text !== undefined) parts.push(`display holds “${evidence.text}”`);
  if (evidence) parts.push(`read back ${clockText(evidence.readAt)}`);
  if (error) parts.push(`${error.title}: ${error.detail}`);
  return parts.join(' · ');
}
