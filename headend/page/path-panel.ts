/** The path that readings take, AS by AS, and the other candidates with their state. */

import type { PathBody, PathReportBody } from '../http/wire.ts';
import { byId, make, setAttribute, setText } from './dom.ts';
import { delayText } from './format.ts';
import type { MeterView } from './meter-view.ts';

/** The ASes of `1-ff00:0:112 1>2 1-ff00:0:110 …` in order, with the interfaces between them. */
function partsOf(hops: string): { readonly text: string; readonly isd: string | null }[] {
  return hops
    .split(/\s+/)
    .filter((part) => part !== '')
    .map((text) => ({ text, isd: /^(\d+)-[0-9a-f:]+$/i.exec(text)?.[1] ?? null }));
}

export class PathPanel {
  private shownPath = '';
  private shownList = '';

  render(view: MeterView | undefined, reports: readonly PathReportBody[] | null): void {
    if (view === undefined) return;
    const chosen = view.meter.path ?? reports?.find((report) => report.chosen) ?? null;
    this.renderChosen(chosen);
    this.renderList(reports);
    const rtt = reports?.find((report) => report.fingerprint === chosen?.fingerprint)?.rttMs ?? chosen?.rttMs ?? null;
    setText(byId('path-rtt'), chosen === null ? '' : `round trip ${delayText(rtt)}`);
  }

  private renderChosen(path: PathBody | null): void {
    const key = path === null ? 'none' : `${path.fingerprint} ${path.hops}`;
    if (key === this.shownPath) return;
    this.shownPath = key;
    const strip = byId('path-chosen');
    setAttribute(strip, 'data-fingerprint', path?.fingerprint ?? '');
    setAttribute(strip, 'data-hops', path?.hops ?? null);
    if (path === null) {
      strip.replaceChildren(make('span', { class: 'muted' }, 'No path yet'));
      setText(byId('path-note'), '');
      return;
    }
    strip.replaceChildren(
      ...partsOf(path.hops).map(({ text, isd }) => {
        if (isd === null) return make('span', { class: 'hop', title: 'interfaces' }, text.replace('>', '→'));
        const [, as = text] = text.split('-');
        return make('span', { class: 'as', 'data-isd': isd, title: text }, make('small', {}, `ISD ${isd}`), as);
      }),
    );
    const isds = path.isds.length === 1 ? `stays in ISD ${path.isds[0]}` : `through ISDs ${path.isds.join(', ')}`;
    setText(byId('path-note'), `${isds} · fingerprint ${path.fingerprint.slice(0, 12)}`);
  }

  private renderList(reports: readonly PathReportBody[] | null): void {
    const key = JSON.stringify(reports);
    if (key === this.shownList) return;
    this.shownList = key;
    const rows = (reports ?? []).map((report) => {
      const via = partsOf(report.hops).map(({ text, isd }) =>
        isd === null ? make('small', { title: 'interfaces' }, text.replace('>', '→')) : make('span', {}, text),
      );
      const state = report.forbidden !== null ? 'forbidden' : report.state;
      const figures = report.rttMs === null ? latencyText(report) : delayText(report.rttMs);
      const why = report.forbidden ?? (report.chosen ? 'in use' : '');
      return make(
        'li',
        {
          'data-fingerprint': report.fingerprint,
          'data-state': state,
          'data-chosen': report.chosen,
          'data-forbidden': report.forbidden !== null,
        },
        make('span', { class: 'via' }, ...via),
        make('span', { class: 'state' }, figures === '' ? state : `${state} · ${figures}`),
        ...(why === '' ? [] : [make('span', { class: 'why' }, why)]),
      );
    });
    byId('path-list').replaceChildren(
      ...(rows.length > 0 ? rows : [make('li', {}, make('span', { class: 'muted' }, 'None known'))]),
    );
  }
}

function latencyText({ announcedLatencyMs }: PathReportBody): string {
  return announcedLatencyMs === null ? '' : `${delayText(announcedLatencyMs)} announced`;
}
