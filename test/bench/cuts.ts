/**
 * Continuous reading at ten a second while links of the path in use are cut at random moments and healed again. Nobody
 * tells: the routers run without BFD and send no SCMP errors, so only the silence of the path shows a cut.
 */

import type { Lab } from '#hw/lab/lab';
import { parseIsdAs } from '#scion/isd-as';
import type { PathSwitch } from '#scion/path-manager';
import { RttEstimator } from '#scion/rtt';
import { Lateness } from '../lateness.ts';
import { connectMeter } from './meter-client.ts';

export const INTERVAL_MS = 100;
const DEADLINE_MS = 5_000;
/** How long a link stays cut after readings go on. */
const CUT_MS = 700;
const RECOVERY_LIMIT_MS = 30_000;
const WARM_UP_READINGS = 40;
/** What a failover may take beyond the protocol's own times: timers, both ends' processes. */
const MARGIN_MS = 50;

export interface Cut {
  readonly link: string;
  /** From the first datagram that the cut swallowed to the next reading answered over another path, ms. */
  readonly tookMs: number;
  /** Of which this process was late, on a machine that does other things, ms. */
  readonly lateMs: number;
  /** The goal by the figures of that moment: interval + RTO + 2·RTT + margin, ms. */
  readonly goalMs: number;
}

export interface CutRun {
  readonly cuts: readonly Cut[];
  readonly readings: number;
  /** Codes of readings that failed. */
  readonly lost: readonly string[];
  /** Switches during each stall and the time after it. */
  readonly stallSwitches: readonly (readonly PathSwitch[])[];
  /** Round trip and retransmission timeout over the undisturbed readings, ms. */
  readonly srttMs: number;
  readonly rtoMs: number;
}

export interface CutPlan {
  readonly cuts: number;
  /** Stalls of 200 ms on both uplinks of the meter's AS, as when its power line retrains. */
  readonly stalls: number;
  readonly random: () => number;
  readonly onCut?: (cut: Cut, index: number) => void;
}

interface Reading {
  readonly endedAt: number;
  readonly hops: string;
}

/** Runs the plan on a lab with field lines. */
export async function runCuts(lab: Lab, { cuts, stalls, random, onCut }: CutPlan): Promise<CutRun> {
  const { connection, socket, close } = await connectMeter(lab, lab.meters[0]!, 'headend');
  const manager = socket.manager(parseIsdAs('1-ff00:0:111'));
  const switches: PathSwitch[] = [];
  socket.onSwitch = (_dst, change) => switches.push(change);
  const rtt = new RttEstimator();
  const lateness = new Lateness();
  const lost: string[] = [];
  let readings = 0;
  let last: Reading | undefined;
  let wake = () => {};
  let calm = true;
  let stopped = false;

  const reader = (async () => {
    for (let due = performance.now(); !stopped; due += INTERVAL_MS) {
      const wait = due - performance.now();
      if (wait > 0) await sleep(wait);
      try {
        const { path, delayMs } = await connection.read(DEADLINE_MS);
        if (calm) rtt.sample(delayMs);
        last = { endedAt: performance.now(), hops: path!.hops };
      } catch (error) {
        lost.push(String((error as { code?: string }).code ?? error));
      }
      readings++;
      wake();
    }
  })();
  /** Waits reading by reading until something holds. */
  const until = async (what: string, holds: () => boolean, limitMs = RECOVERY_LIMIT_MS) => {
    const end = performance.now() + limitMs;
    while (!holds()) {
      if (performance.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const allAlive = () => manager.report(socket.now()).every((p) => p.forbidden !== undefined || p.state === 'alive');

  const made: Cut[] = [];
  const stallSwitches: PathSwitch[][] = [];
  try {
    await until('first readings', () => readings >= WARM_UP_READINGS && last !== undefined && allAlive());
    for (let i = 0; i < cuts; i++) {
      await until('a calm platform', allAlive);
      await sleep(random() * INTERVAL_MS);
      const links = linksOf(last!.hops);
      const link = links[Math.floor(random() * links.length)]!;
      const goalMs = INTERVAL_MS + rtoMs(rtt) + 2 * rtt.srttMs + MARGIN_MS;
      calm = false;
      const late = lateness.totalMs();
      lab.links.cut(link);
      const passed = (hops: string) => linksOf(hops).includes(link);
      await until(`a reading around ${link}`, () => {
        const since = lab.links.lostSince(link);
        return since !== undefined && last!.endedAt > since && !passed(last!.hops);
      });
      const tookMs = last!.endedAt - lab.links.lostSince(link)!;
      const cut = { link, tookMs, lateMs: lateness.totalMs() - late, goalMs };
      made.push(cut);
      onCut?.(cut, i);
      await sleep(CUT_MS);
      lab.links.heal(link);
      await until('paths healed', allAlive);
      calm = true;
    }
    for (let i = 0; i < stalls; i++) {
      await until('a calm platform', allAlive);
      await sleep(3_000 + random() * INTERVAL_MS);
      const before = switches.length;
      calm = false;
      lab.links.stall('leased', 200);
      lab.links.stall('lte', 200);
      await sleep(4_000);
      calm = true;
      stallSwitches.push(switches.slice(before));
    }
  } finally {
    stopped = true;
    lateness.close();
    await reader;
    await close();
  }
  return { cuts: made, readings, lost, stallSwitches, srttMs: rtt.srttMs, rtoMs: rtoMs(rtt) };
}

/** Retransmission timeout by the goal's own formula. */
function rtoMs({ srttMs, rttVarMs }: RttEstimator): number {
  return Math.max(30, srttMs + 4 * rttVarMs);
}

/** Names of the links that a path from the head end crosses. */
function linksOf(hops: string): string[] {
  return hops.split(' ').flatMap((part) => LINK_NAMES.get(part) ?? []);
}

/** Each link of ISD 1 by its interfaces, in both directions of travel: in the lab they are unique. */
const LINK_NAMES: ReadonlyMap<string, string> = new Map(
  [
    ['fibre', 1, 11],
    ['leased', 12, 1],
    ['backup', 2, 23],
    ['lte', 21, 2],
    ['trunk', 13, 22],
  ].flatMap(([name, a, b]) => [
    [`${a}>${b}`, String(name)],
    [`${b}>${a}`, String(name)],
  ]),
);

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
