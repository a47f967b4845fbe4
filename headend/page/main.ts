/**
 * The head end's page: one meter, its power, registers, output, display, path and events. The head end is the memory: on
 * every (re)connection the page fetches the state, then what the graph has missed, then goes on with the stream.
 */

import { POWER_CODES, powerOf } from '../fleet/registers.ts';
import type {
  CommandBody,
  EventBody,
  HistoryBody,
  MeterBody,
  MeterStateBody,
  PathReportBody,
  ReadingBody,
} from '../http/wire.ts';
import { ApiError, call, EventStream, type StreamPhase, setToken, takeTokenFromAddress } from './api.ts';
import { byId, make, setAttribute, setText } from './dom.ts';
import { EventsPanel } from './events-panel.ts';
import { MessagePanel } from './message-panel.ts';
import { MeterView } from './meter-view.ts';
import { OutputPanel } from './output-panel.ts';
import { PathPanel } from './path-panel.ts';
import { PolicyEditor } from './policy-editor.ts';
import { PowerGraph } from './power-graph.ts';
import { PowerPanel } from './power-panel.ts';
import { RegistersPanel } from './registers-panel.ts';

const HISTORY_MS = 300_000;
const PATHS_MS = 5_000;
const LINK_TEXT: Readonly<Record<StreamPhase, string>> = {
  connecting: 'Connecting to the head end',
  open: 'Head end connected',
  lost: 'Head end not reachable, trying again',
  denied: 'Head end asks for a token',
};

takeTokenFromAddress();

let view: MeterView | undefined;
let reports: readonly PathReportBody[] | null = null;
let reportsAreOld = false;
/** Numbers of the requests for the paths: the newest one, and the newest one that was answered. */
let pathsAsked = 0;
let pathsAnswered = 0;
let isLinked = false;
const current = () => view;
const linked = () => isLinked;

const select = byId<HTMLSelectElement>('meter');
const tokenDialog = byId<HTMLDialogElement>('token-dialog');
const graph = new PowerGraph(byId('graph'));
const power = new PowerPanel(current, linked, askForToken);
const output = new OutputPanel(current, linked, takeCommand, commandFailed);
const message = new MessagePanel(current, linked, takeCommand, askForToken);
const registers = new RegistersPanel();
const paths = new PathPanel(current, (fingerprint) => void policy.pin(fingerprint));
const policy = new PolicyEditor(current, {
  preview: (evaluation) => paths.preview(evaluation),
  changed: () => void fetchPaths(),
  denied: askForToken,
});
const events = new EventsPanel();

function render(): void {
  power.render();
  output.render();
  message.render();
  registers.render(view);
  renderPaths();
}

function renderPaths(): void {
  paths.render(view, reports, reportsAreOld || !isLinked);
}

function askForToken(): void {
  setAttribute(byId('meter-state'), 'data-state', 'denied');
  setText(byId('meter-state-text'), 'Denied');
  if (!tokenDialog.open) tokenDialog.showModal();
}

function commandFailed(error: unknown): void {
  showBanner(error instanceof ApiError ? `${error.problem.title}: ${error.problem.detail}` : String(error));
}

function showBanner(text: string): void {
  const banner = byId('banner');
  banner.hidden = text === '';
  setText(banner, text);
}

function takeCommand(command: CommandBody): void {
  if (view === undefined || command.meter !== view.meter.id) return;
  const last = view.meter.lastCommand;
  // The answer of the submission may come after the stream has told of a later stage.
  const older = last !== null && last.id !== command.id && last.createdAt > command.createdAt;
  const behind = last?.id === command.id && last.stages.length > command.stages.length;
  if (older || behind) return;
  showBanner('');
  view.meter = { ...view.meter, lastCommand: command };
  message.commandChanged(command);
  render();
}

function takeReading(reading: ReadingBody): void {
  if (view === undefined || reading.meter !== view.meter.id) return;
  view.takeReading(reading);
  graph.add(Date.parse(reading.receivedAt), powerOf(reading.values)?.value ?? null);
  render();
}

function takeState(state: MeterStateBody): void {
  if (view === undefined || state.id !== view.meter.id) return;
  view.takeState(state);
  graph.setInterval(state.live?.intervalMs ?? 0);
  render();
}

/** Everything anew: after a reset, a reconnection or a change of the meter. */
async function refetch(): Promise<void> {
  try {
    const { meters } = await call<{ meters: MeterBody[] }>('GET', '/meters?limit=1000');
    const wanted = view?.meter.id ?? new URLSearchParams(location.search).get('meter');
    const meter = meters.find((m) => m.id === wanted) ?? meters[0];
    renderMeters(meters, meter?.id);
    document.body.dataset.phase = 'ready';
    if (meter === undefined) {
      showBanner('No meter is configured.');
      return;
    }
    view = new MeterView(meter);
    graph.setInterval(meter.live?.intervalMs ?? 0);
    setText(byId('meter-address'), meter.address);
    render();
    await Promise.all([fetchHistory(meter), fetchEvents(meter.id), fetchPaths(), policy.load()]);
  } catch (error) {
    if (error instanceof ApiError && error.isDenied) askForToken();
  }
}

function renderMeters(meters: readonly MeterBody[], chosen: string | undefined): void {
  const several = meters.length > 1;
  select.hidden = !several;
  byId('meter-name').hidden = several;
  setText(byId('meter-name'), meters[0]?.name ?? '');
  const key = JSON.stringify(meters.map((m) => [m.id, m.name]));
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...meters.map((m) => make('option', { value: m.id }, m.name)));
  }
  if (chosen !== undefined) select.value = chosen;
}

async function fetchHistory(meter: MeterBody): Promise<void> {
  const code = powerOf(meter.values)?.obis ?? POWER_CODES[0]!;
  const newest = graph.newestMs;
  const from = newest > Date.now() - HISTORY_MS ? `&from=${Math.floor(newest)}` : '';
  const path = `/meters/${encodeURIComponent(meter.id)}/readings?obis=${encodeURIComponent(code)}${from}`;
  const body = await call<HistoryBody>('GET', path);
  if (view?.meter.id !== meter.id) return;
  for (const point of body.series[0]?.points ?? []) graph.add(Date.parse(point.at), point.value);
}

async function fetchEvents(meter: string): Promise<void> {
  const body = await call<{ events: EventBody[] }>('GET', '/events?limit=50');
  if (view?.meter.id !== meter) return;
  for (const event of body.events) events.add(event, meter);
}

async function fetchPaths(): Promise<void> {
  const id = view?.meter.id;
  if (id === undefined || document.hidden) return;
  const number = ++pathsAsked;
  let paths: PathReportBody[] | undefined;
  try {
    paths = (await call<{ paths: PathReportBody[] }>('GET', `/meters/${encodeURIComponent(id)}/paths`)).paths;
  } catch {
    // What was known is still the best there is; it is shown as old.
  }
  // An answer may be overtaken by that of a later request, which knows more.
  if (view?.meter.id !== id || number < pathsAnswered) return;
  pathsAnswered = number;
  reports = paths ?? reports;
  reportsAreOld = paths === undefined;
  renderPaths();
}

function takeEvent(name: string, data: unknown): void {
  switch (name) {
    case 'hello': {
      const { stream, at } = data as { stream: string; at: string };
      graph.setServerTime(at);
      void refetch().then(() => power.streamOpened(stream));
      break;
    }
    case 'heartbeat':
      graph.setServerTime((data as { at: string }).at);
      break;
    case 'reset':
      events.clear();
      break;
    case 'reading':
      takeReading(data as ReadingBody);
      break;
    case 'state':
      takeState(data as MeterStateBody);
      break;
    case 'command':
      takeCommand(data as CommandBody);
      break;
    case 'event':
      events.add(data as EventBody, view?.meter.id);
      break;
    case 'path':
      void fetchPaths();
      void policy.load();
      break;
  }
}

const stream = new EventStream({
  phase: (phase) => {
    setAttribute(byId('link'), 'data-phase', phase);
    setText(byId('link-text'), LINK_TEXT[phase]);
    isLinked = phase === 'open';
    render();
    if (phase === 'denied') askForToken();
  },
  event: takeEvent,
});

byId<HTMLFormElement>('token-form').addEventListener('submit', () => {
  const field = byId<HTMLInputElement>('token-text');
  setToken(field.value);
  field.value = '';
  stream.restart();
});

select.addEventListener('change', () => {
  void power.setContinuous(false);
  const chosen = select.value;
  view = undefined;
  reports = null;
  policy.clear();
  graph.clear();
  events.clear();
  history.replaceState(null, '', `?meter=${encodeURIComponent(chosen)}`);
  void refetch();
});

window.addEventListener('online', () => stream.restart());
setInterval(() => {
  render();
  graph.redraw();
}, 500);
setInterval(() => void fetchPaths(), PATHS_MS);
