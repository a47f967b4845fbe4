/** The newest events of the shown meter and of the head end itself. */

import type { EventBody } from '../http/wire.ts';
import { byId, make } from './dom.ts';
import { clockText } from './format.ts';

const SHOWN = 50;
const SEVERITY_TEXT = { info: 'Info', warning: '▲ Warning', error: '✕ Error' } as const;

export class EventsPanel {
  private readonly list = byId('events');

  clear(): void {
    this.list.replaceChildren();
  }

  /** Puts an event at its place: history and stream may bring the same events, in any order. */
  add(event: EventBody, meter: string | undefined): void {
    if (event.meter !== null && event.meter !== meter) return;
    const rows = [...this.list.children] as HTMLElement[];
    const seqOf = (row: HTMLElement) => Number(row.dataset.seq);
    // An event that the store could not take has no number: it is shown as it comes.
    if (event.seq !== 0 && rows.some((row) => seqOf(row) === event.seq)) return;
    const before = event.seq === 0 ? rows[0] : rows.find((row) => seqOf(row) < event.seq);
    const row = make(
      'li',
      { 'data-severity': event.severity, 'data-kind': event.kind, 'data-seq': String(event.seq) },
      make('time', { datetime: event.at }, clockText(event.at)),
      make('span', { class: 'severity' }, SEVERITY_TEXT[event.severity]),
      make('span', { class: 'what' }, make('span', { class: 'mono muted' }, event.kind), ` ${event.message}`),
    );
    this.list.insertBefore(row, before ?? null);
    while (this.list.childElementCount > SHOWN) this.list.lastElementChild!.remove();
  }
}
