/** The message box and the picture of the meter's display. */

import { DISPLAY_COLUMNS, DISPLAY_ROWS, wrapText } from '#base/wrap';
import type { CommandBody } from '../http/wire.ts';
import { ApiError } from './api.ts';
import { byId, setAttribute, setText } from './dom.ts';
import { clockText } from './format.ts';
import type { MeterView } from './meter-view.ts';
import { OledView } from './oled.ts';
import { isOpen, submitCommand } from './output-panel.ts';

export class MessagePanel {
  private readonly view: () => MeterView | undefined;
  private readonly linked: () => boolean;
  private readonly oled = new OledView(byId<HTMLCanvasElement>('oled'));
  private readonly text = byId<HTMLTextAreaElement>('message-text');
  private readonly button = byId<HTMLButtonElement>('message-send');
  private readonly note = byId('message-note');
  private readonly submitted: (command: CommandBody) => void;
  private readonly denied: () => void;
  private sending = false;
  private shown = '';

  constructor(
    view: () => MeterView | undefined,
    linked: () => boolean,
    submitted: (command: CommandBody) => void,
    denied: () => void,
  ) {
    this.view = view;
    this.linked = linked;
    this.submitted = submitted;
    this.denied = denied;
    this.text.addEventListener('input', () => this.render());
    byId<HTMLFormElement>('message-form').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.send();
    });
  }

  render(): void {
    const meter = this.view()?.meter;
    const limit = meter?.messageLimit ?? 0;
    const draft = this.text.value;
    const left = limit - new TextEncoder().encode(draft).length;
    const busy = this.sending || !this.linked() || isOpen(meter?.lastCommand ?? null);
    setAttribute(this.text, 'disabled', meter === undefined);
    setAttribute(this.button, 'disabled', meter === undefined || busy || left < 0 || draft === '');
    setText(byId('message-left'), left < 0 ? `${-left} characters too many` : `${left} characters left`);
    const held = meter?.message ?? null;
    const key = JSON.stringify([draft, held]);
    if (key === this.shown) return;
    this.shown = key;
    const isDraft = draft !== '' && draft !== held?.text;
    this.oled.show(isDraft ? draft : (held?.text ?? null), isDraft);
    const cut =
      wrapText(draft, DISPLAY_COLUMNS, Number.POSITIVE_INFINITY).length > DISPLAY_ROWS
        ? ', longer than the display'
        : '';
    const read = held === null ? 'not read yet' : `read back ${clockText(held.readAt)}`;
    setText(byId('oled-note'), isDraft ? `Draft, not sent${cut}` : read);
  }

  private async send(): Promise<void> {
    const meter = this.view()?.meter.id;
    const text = this.text.value;
    if (meter === undefined || this.button.disabled) return;
    this.sending = true;
    this.say('');
    this.render();
    try {
      this.submitted(await submitCommand(meter, { type: 'message', text }));
    } catch (error) {
      if (error instanceof ApiError && error.isDenied) this.denied();
      this.say(error instanceof ApiError ? error.problem.detail : String(error), true);
    }
    this.sending = false;
    this.render();
  }

  /** A command of this meter has changed: a message that the meter holds leaves the box. */
  commandChanged(command: CommandBody): void {
    if (command.type !== 'message') return;
    if (command.state === 'verified') {
      if (this.text.value === command.text) this.text.value = '';
      this.say('The meter shows the message');
    } else if (command.state === 'failed' || command.state === 'expired') {
      this.say(command.error?.detail ?? 'The message was not taken', true);
    }
  }

  private say(text: string, isError = false): void {
    setText(this.note, text);
    setAttribute(this.note, 'data-kind', isError ? 'error' : null);
  }
}
