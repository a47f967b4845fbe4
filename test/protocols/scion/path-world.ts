/** The lab's paths in a scripted world: they answer after their delay unless they are cut or stalled. */

import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { emptyPath } from '#scion/combinator';
import { parseIsdAs } from '#scion/isd-as';
import { PathManager, type PathSwitch } from '#scion/path-manager';
import { hopsText, pathFingerprint, type ScionPath } from '#scion/path-metadata';
import { parsePolicy } from '#scion/policy';

export const WALL = 1_700_000_000_000;
export const DAY = 86_400_000;

export function makePath(latencyMs: number | undefined, ...interfaces: string[]): ScionPath {
  const list = interfaces.map((text) => {
    const [ia, id] = text.split('#');
    return { ia: parseIsdAs(ia!), id: Number(id) };
  });
  return {
    ...emptyPath(list[0]!.ia, 1472),
    dst: list.at(-1)!.ia,
    interfaces: list,
    fingerprint: pathFingerprint(list),
    expiryMs: WALL + DAY,
    latenciesUs: latencyMs === undefined ? [-1] : [latencyMs * 1000],
    hops: hopsText(list),
  };
}

// The lab: 112-120-111 over LTE, 112-110-111 over the leased line, and a detour that shares the LTE link.
export const lte = makePath(35, '1-112#2', '1-120#1', '1-120#2', '1-111#2');
export const leased = makePath(36, '1-112#1', '1-110#1', '1-110#2', '1-111#1');
export const detour = makePath(41, '1-112#1', '1-110#1', '1-110#3', '1-120#3', '1-120#2', '1-111#2');
export const foreign = makePath(
  30,
  '1-112#1',
  '1-110#1',
  '1-110#4',
  '2-210#1',
  '2-210#2',
  '1-120#4',
  '1-120#2',
  '1-111#2',
);

export const nameOf = new Map(
  [lte, leased, detour, foreign].map((p, i) => [p.fingerprint, ['lte', 'leased', 'detour', 'foreign'][i]!]),
);

/** A scripted world: paths answer after their delay unless they are cut or stalled. */
export class World {
  now = 1000;
  readonly switches: string[] = [];
  readonly manager: PathManager;
  readonly cut = new Set<ScionPath>();
  /** Datagrams of requests sent on each path. */
  readonly requests = new Map<ScionPath, number>();
  stalledUntil = 0;
  readonly delay = new Map([
    [lte, 60],
    [leased, 71],
    [detour, 83],
    [foreign, 62],
  ]);
  answered = 0;
  worstMs = 0;
  private pending: { at: number; run: () => void }[] = [];

  constructor(paths: ScionPath[], acl: string[] = []) {
    this.manager = new PathManager({
      dst: parseIsdAs('1-111'),
      policy: parsePolicy(acl),
      onSwitch: (c: PathSwitch) => this.switches.push(`${nameOf.get(c.to)} ${c.why}`),
    });
    this.manager.update(paths, this.now, WALL);
  }

  at(at: number, run: () => void): void {
    this.pending.push({ at, run });
  }

  /** Runs the clock; a request every 100 ms, probes as the manager wants them. */
  run(forMs: number, requests = true): void {
    const end = this.now + forMs;
    let nextRequest = this.now;
    while (this.now < end) {
      const due = this.pending.filter((p) => p.at <= this.now);
      this.pending = this.pending.filter((p) => p.at > this.now);
      for (const { run } of due.sort((a, b) => a.at - b.at)) run();
      for (let path = this.manager.nextProbe(this.now); path; path = this.manager.nextProbe(this.now)) {
        this.manager.onSent(path.fingerprint, this.now, 'probe');
        this.transmit(
          path,
          'probe',
          () => {},
          () => {},
        );
      }
      if (requests && this.now >= nextRequest) {
        nextRequest += 100;
        this.request(this.now);
      }
      this.now++;
    }
  }

  private request(firstSentAt: number): void {
    let done = false;
    const answered = () => {
      if (done) return;
      done = true;
      this.answered++;
      this.worstMs = Math.max(this.worstMs, this.now - firstSentAt);
    };
    const attempt = (left: number) => {
      if (done || left === 0) return;
      this.transmit(
        this.manager.select(this.now),
        'request',
        answered,
        () => attempt(left - 1),
        () => done,
      );
    };
    attempt(6);
  }

  private transmit(
    path: ScionPath,
    evidence: 'request' | 'probe',
    onAnswer: () => void,
    onSilence: () => void,
    isDone = () => false,
  ): void {
    const sentAt = this.now;
    if (evidence === 'request') this.requests.set(path, (this.requests.get(path) ?? 0) + 1);
    let back = false;
    if (!this.cut.has(path)) {
      const at = Math.max(sentAt + this.delay.get(path)!, this.stalledUntil > sentAt ? this.stalledUntil + 10 : 0);
      this.at(at, () => {
        back = true;
        this.manager.onAnswered(path.fingerprint, this.now - sentAt, this.now, evidence);
        onAnswer();
      });
    }
    this.at(sentAt + this.manager.rtoMs(path.fingerprint), () => {
      if (back || isDone()) return;
      this.manager.onSilence(path.fingerprint, this.now, sentAt, evidence);
      onSilence();
    });
  }

  get chosen(): string {
    return nameOf.get(this.manager.select(this.now).fingerprint)!;
  }
  state(path: ScionPath): string {
    return this.manager.report(this.now).find((r) => r.fingerprint === path.fingerprint)!.state;
  }
}

export function fails(code: string, run: () => unknown): void {
  try {
    run();
  } catch (error) {
    assert.instance(error, S3mpError);
    assert.is((error as S3mpError).code, code);
    return;
  }
  assert.unreachable(`expected ${code}`);
}
