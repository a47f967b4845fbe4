/**
 * Sets a meter's clock from the head end's. The meter is asked first: its answer gives the round trip, half of which the
 * time is ahead when it leaves, and the offset, which a person must have seen when it is more than a day.
 */

import { S3mpError } from '#base/errors';
import type { ClockBody, EvidenceBody } from '../http/wire.ts';
import type { ClockComparison } from '../meter-connection.ts';
import type { CommandRecord } from '../store/store.ts';
import { timeText } from './bodies.ts';
import type { CommandTarget, Finding, ProcedureTools } from './command-procedure.ts';
import { offsetText } from './offset-text.ts';

/** An offset up to this may be set without somebody having looked at it. */
const SURE_OFFSET_MS = 86_400_000;
/** A clock that is off by more, and by more than the line's delay explains, has not been set well. */
const TOLERANCE_MS = 1_000;

export function clockBody({ isSet, offsetMs, roundTripMs }: ClockComparison, at: number): ClockBody {
  return { isSet, offsetMs: Math.round(offsetMs), roundTripMs: Math.round(roundTripMs), readAt: timeText(at) };
}

/** Why a meter obeys no command, and what to do about it. */
export function notSet(meter: string, cause?: unknown): S3mpError {
  const text = `the clock of ${meter} is not set, so it obeys no command; set it: headend.js sync-clock ${meter}`;
  return new S3mpError('clock.not-set', text, {}, cause);
}

/** @throws S3mpError `clock.refused` */
export async function setClock(
  target: CommandTarget,
  { jump = false }: CommandRecord,
  waitMs: number,
  sent: (evidence: EvidenceBody) => Promise<void>,
  now: () => number,
): Promise<void> {
  const before = await target.readClock();
  if (Math.abs(before.offsetMs) > SURE_OFFSET_MS && !jump) {
    const away = offsetText(before.offsetMs);
    const look = `the head end's says ${timeText(now())}; when that is right, set it with --jump`;
    throw new S3mpError('clock.refused', `the meter's clock is ${away}; ${look}`);
  }
  try {
    const clockBefore = clockBody(before, now());
    await target.setClock(before.roundTripMs, waitMs, () => sent({ clockBefore, readAt: clockBefore.readAt }));
  } catch (error) {
    if (!(error instanceof S3mpError) || error.code !== 'dlms.refused') throw error;
    const text = `the meter does not take a time so far back: its clock is ${offsetText(before.offsetMs)}`;
    throw new S3mpError('clock.refused', text, {}, error);
  }
}

export async function readBackClock(
  target: CommandTarget,
  record: CommandRecord,
  { clock }: ProcedureTools,
): Promise<Finding> {
  const after = await target.readClock();
  const body = clockBody(after, clock.wall());
  const isNear = Math.abs(after.offsetMs) <= Math.max(TOLERANCE_MS, after.roundTripMs);
  return {
    as: after.isSet && isNear,
    evidence: { ...record.evidence, clock: body, readAt: body.readAt },
    detail: after.isSet
      ? `the clock is ${offsetText(after.offsetMs)}: the line has held up the time on its way, set it again`
      : 'the clock is still not set',
    code: after.isSet ? 'clock.refused' : 'clock.not-set',
  };
}
