/** The register table: one row a register, changed in place so that nothing flickers and selections stay. */

import { byId, make, setAttribute, setText } from './dom.ts';
import { clockText, valueText } from './format.ts';
import type { MeterView } from './meter-view.ts';

interface Row {
  readonly row: HTMLElement;
  readonly value: HTMLElement;
  readonly unit: HTMLElement;
  readonly quality: HTMLElement;
}

export class RegistersPanel {
  private readonly body = byId('registers');
  private readonly rows = new Map<string, Row>();
  private shown = '';

  render(view: MeterView | undefined): void {
    if (view === undefined) return;
    const { values, id } = view.meter;
    const key = `${id} ${values.map((v) => v.obis).join()}`;
    if (key !== this.shown) {
      this.shown = key;
      this.rows.clear();
      this.body.replaceChildren(...values.map((value) => this.makeRow(value.obis, value.name)));
      if (values.length === 0)
        this.body.append(make('tr', {}, make('td', { colspan: '4', class: 'muted' }, 'No data yet')));
    }
    for (const value of values) {
      const row = this.rows.get(value.obis);
      if (row === undefined) continue;
      const quality = view.qualityOf(value);
      setAttribute(row.row, 'data-quality', quality);
      setText(row.value, valueText(quality === 'missing' ? null : value.value, value.unit));
      setText(row.unit, value.unit);
      setText(row.quality, quality);
    }
    const measured = values[0]?.measuredAt ?? null;
    const text =
      values.length === 0 ? '' : measured === null ? 'meter clock not set' : `measured ${clockText(measured)}`;
    setText(byId('measured-at'), text);
  }

  private makeRow(obis: string, name: string): HTMLElement {
    const value = make('td', { class: 'num', 'data-testid': `value-${obis}` });
    const unit = make('td', { class: 'u' });
    const quality = make('td', { class: 'q' });
    const title = make('td', {}, name, make('span', { class: 'mono' }, obis));
    const row = make('tr', { 'data-obis': obis }, title, value, unit, quality);
    this.rows.set(obis, { row, value, unit, quality });
    return row;
  }
}
