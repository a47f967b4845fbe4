/**
 * The path that readings take, AS by AS, and every candidate: what it announces, what was measured, whether it is in use,
 * pinned, or forbidden and why. While the policy is edited, the candidates show what the edited policy would do.
 */

import type { PathBody, PathEvaluationBody, PathReportBody } from '../http/wire.ts';
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

/** AS chips in the colour of their ISD, interfaces between them. */
function chipsOf(hops: string, withIsd: boolean): HTMLElement[] {
  return partsOf(hops).map(({ text, isd }) => {
    if (isd === null) return make('span', { class: 'hop', title: 'interfaces' }, text.replace('>', '→'));
    const [, as = text] = text.split('-');
    const label = withIsd ? [make('small', {}, `ISD ${isd}`), as] : [make('small', {}, `${isd}-`), as];
    return make('span', { class: 'as', 'data-isd': isd, title: text }, ...label);
  });
}

const STATE_TEXT: Readonly<Record<PathReportBody['state'], string>> = {
  unknown: 'not tried',
  alive: 'answers',
  suspect: 'in doubt',
  down: 'silent',
};

export class PathPanel {
  private readonly current: () => MeterView | undefined;
  private readonly onPin: (fingerprint: string | null) => void;
  private shownPath = '';
  private shownList = '';
  private reports: readonly PathReportBody[] | null = null;
  private evaluation: PathEvaluationBody | null = null;

  /** @param onPin  asked to pin a path, or with null to take the pin away */
  constructor(current: () => MeterView | undefined, onPin: (fingerprint: string | null) => void) {
    this.current = current;
    this.onPin = onPin;
  }

  /** @param areOld  the reports are the last that were heard, and the head end is out of reach */
  render(view: MeterView | undefined, reports: readonly PathReportBody[] | null, areOld: boolean): void {
    this.reports = reports;
    setAttribute(byId('path-list'), 'data-old', areOld);
    if (view === undefined) return;
    const chosen = view.meter.path ?? reports?.find((report) => report.chosen) ?? null;
    this.renderChosen(chosen);
    this.renderList();
    const rtt = reports?.find((report) => report.fingerprint === chosen?.fingerprint)?.rttMs ?? chosen?.rttMs ?? null;
    setText(byId('path-rtt'), chosen === null ? '' : `round trip ${delayText(rtt)}`);
  }

  /** Shows what another policy would do; null: what is in force. */
  preview(evaluation: PathEvaluationBody | null): void {
    this.evaluation = evaluation;
    if (this.current() !== undefined) this.renderList();
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
    strip.replaceChildren(...chipsOf(path.hops, true));
    const isds = path.isds.length === 1 ? `stays in ISD ${path.isds[0]}` : `through ISDs ${path.isds.join(', ')}`;
    setText(byId('path-note'), `Last reading ${isds} · fingerprint ${path.fingerprint.slice(0, 12)}`);
  }

  private renderList(): void {
    const { reports, evaluation } = this;
    // Minutes of validity change by themselves; seconds of it need no new list.
    const key = JSON.stringify([reports, evaluation, Math.floor(Date.now() / 60_000)]);
    if (key === this.shownList) return;
    this.shownList = key;
    const after = new Map(evaluation?.paths.map((path) => [path.fingerprint, path]));
    const rows = inOrder(reports ?? []).map((report) => this.row(report, after.get(report.fingerprint)));
    const list = byId('path-list');
    // The focus must survive: the list is made anew while somebody may be on one of its buttons.
    const focused = list.contains(document.activeElement)
      ? document.activeElement?.closest('li')?.getAttribute('data-fingerprint')
      : null;
    const none = reports === null ? 'Not read yet' : 'None known';
    list.replaceChildren(...(rows.length > 0 ? rows : [make('li', {}, make('span', { class: 'muted' }, none))]));
    if (focused) list.querySelector<HTMLElement>(`li[data-fingerprint="${focused}"] button`)?.focus();
  }

  private row(report: PathReportBody, after: PathReportBody | undefined): HTMLElement {
    const shown = after ?? report;
    const isForbidden = shown.forbidden !== null;
    const change = after === undefined || report.forbidden !== null ? null : isForbidden ? 'dropped' : 'kept';
    const announced = report.announcedLatencyMs;
    return make(
      'li',
      {
        'data-fingerprint': report.fingerprint,
        'data-hops': report.hops,
        'data-state': isForbidden ? 'forbidden' : report.state,
        'data-chosen': shown.chosen,
        'data-pinned': shown.pinned,
        'data-forbidden': isForbidden,
        'data-preview': change,
      },
      make('span', { class: 'via' }, ...chipsOf(report.hops, false)),
      make(
        'span',
        { class: 'state' },
        make('span', { class: 'mark', 'aria-hidden': 'true' }),
        stateText(shown, change),
      ),
      make(
        'span',
        { class: 'rtt' },
        make('b', {}, delayText(report.rttMs)),
        ...(announced === null ? [] : [make('small', {}, `${delayText(2 * announced)} announced`)]),
      ),
      make('span', { class: 'mtu' }, `${report.mtu} B`),
      make('span', { class: 'band' }, bandwidthText(report.announcedBandwidthKbit)),
      make('span', { class: 'until', title: report.expiresAt }, lifeText(report.expiresAt)),
      make('span', { class: 'act' }, ...this.pinButton(report)),
      ...(shown.forbidden === null ? [] : [make('span', { class: 'why' }, whyText(shown))]),
    );
  }

  private pinButton(report: PathReportBody): HTMLElement[] {
    if (report.forbidden !== null && !report.pinned) return [];
    const { pinned, fingerprint, hops } = report;
    const label = pinned ? `Take the pin off the path ${hops}` : `Pin the path ${hops}`;
    const button = make(
      'button',
      { type: 'button', class: 'pin', 'aria-pressed': String(pinned), 'aria-label': label, 'data-testid': 'pin' },
      pinned ? 'Unpin' : 'Pin',
    );
    button.addEventListener('click', () => this.onPin(pinned ? null : fingerprint));
    return [button];
  }
}

/** The one in use first, then allowed ones by round trip, then forbidden ones. */
function inOrder(reports: readonly PathReportBody[]): PathReportBody[] {
  const expected = ({ rttMs, announcedLatencyMs }: PathReportBody) => rttMs ?? 2 * (announcedLatencyMs ?? 1e9);
  return [...reports].sort(
    (a, b) =>
      Number(b.chosen) - Number(a.chosen) ||
      Number(a.forbidden !== null) - Number(b.forbidden !== null) ||
      expected(a) - expected(b),
  );
}

function stateText(report: PathReportBody, change: 'kept' | 'dropped' | null): string {
  if (change === 'dropped') return 'would be dropped';
  if (change === 'kept') return report.chosen ? 'would be used' : 'kept';
  if (report.forbidden !== null) return 'forbidden';
  const words = [report.chosen ? 'in use' : STATE_TEXT[report.state]];
  if (report.chosen && report.state !== 'alive') words.push(STATE_TEXT[report.state]);
  if (report.pinned) words.push('pinned');
  else if (report.disjoint) words.push('disjoint');
  return words.join(', ');
}

/** Why a path is forbidden: where it leads, and the rule that says no. */
function whyText({ forbidden, isds }: PathReportBody): string {
  const denied = /^(\d+)-(\S+?)#(\d+) is denied by "(.*)"$/.exec(forbidden ?? '');
  if (denied === null) return forbidden ?? '';
  const [, isd, as, id, rule] = denied;
  const where = isds.length > 1 ? `ISD ${isd}, ${isd}-${as}` : `${isd}-${as}`;
  const what = rule === '-' ? 'nothing allows that' : `the rule “${rule}” denies that`;
  return `It leads through ${where} at interface ${id}: ${what}.`;
}

function bandwidthText(kbit: number | null): string {
  if (kbit === null) return '–';
  if (kbit >= 1_000_000) return `${kbit / 1_000_000} Gbit/s`;
  return kbit >= 1_000 ? `${kbit / 1_000} Mbit/s` : `${kbit} kbit/s`;
}

function lifeText(expiresAt: string): string {
  const minutes = Math.floor((Date.parse(expiresAt) - Date.now()) / 60_000);
  if (minutes < 1) return 'about to end';
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}
