/**
 * Whether the values of one snapshot can be true together: ranges of the mains, and the relations between voltage,
 * current, powers and power factor. A CRC lets one in 65,536 damaged replies pass, and a meter may be broken; such values
 * must be seen for what they are.
 */

import { Quantity, type RegisterMap } from '#modbus/register-map';

/** Why a value is suspect, as bits. */
export const Doubt = {
  /** The latest attempt to read it failed. */
  unread: 1,
  /** Outside of what the mains and the meter can have. */
  range: 2,
  /** Contradicts other values of the same snapshot. */
  contradiction: 4,
  /** An energy that went back, or up by more than the meter can carry. */
  step: 8,
  /** Stands alone: the first reading of an energy, or one that no second reading confirmed on a line that damages replies. */
  alone: 16,
  /** An energy held as far ahead of the register as it may have been before a restart; wrong by less than a count. */
  held: 32,
} as const;

/** Most that a directly connected meter of these families carries, A per phase. */
export const MAX_AMPERES = 100;

const {
  voltage: U,
  voltageL2: U2,
  voltageL3: U3,
  current: I,
  currentL2: I2,
  currentL3: I3,
  frequency: F,
  activePower: P,
  reactivePower: Q,
  apparentPower: S,
  powerFactor: PF,
} = Quantity;

/** Of three phases, VA. */
const MAX_VA = 3 * 300 * 1.5 * MAX_AMPERES;

/** Quantity, lowest and highest value. A phase of three may be dead; the phase that feeds the meter is not. */
const RANGES: readonly (readonly [quantity: number, low: number, high: number])[] = [
  [U, 8_000, 30_000],
  [U2, 0, 30_000],
  [U3, 0, 30_000],
  [F, 4_500, 6_500],
  [I, 0, 1500 * MAX_AMPERES],
  [I2, 0, 1500 * MAX_AMPERES],
  [I3, 0, 1500 * MAX_AMPERES],
  [PF, -1_000, 1_000],
  [P, -MAX_VA, MAX_VA],
  [Q, -MAX_VA, MAX_VA],
  [S, 0, MAX_VA],
];

/** Share by which two ways to the same power may differ: registers are not all of the same instant. */
const TOLERANCE = 0.05;
/** Distortion makes the apparent power larger than active and reactive power explain, by up to this share. */
const DISTORTION = 0.35;
/** Small powers: resolution, and what a meter suppresses below its starting current, VA. */
const SLACK_VA = 10;

/** Power that the steps of the current register leave open, and the slack, VA. */
export function slackOf(map: RegisterMap): number {
  const current = map.registers.find(({ quantity }) => quantity === 'current');
  const stepA = current === undefined || current.type === 'f32' ? 0 : current.factor / 1000;
  return SLACK_VA + 230 * stepA;
}

/**
 * Judges a snapshot.
 * @param v  values by number of the quantity, NaN where the snapshot has none
 * @param doubts  gets the bits of `Doubt` of each quantity
 * @param slack  of the map
 * @returns whether nothing speaks against the snapshot
 */
export function judge(v: Float64Array, doubts: Uint8Array, phases: 1 | 3, slack: number): boolean {
  doubts.fill(0);
  let fine = true;
  for (let i = 0; i < RANGES.length; i++) {
    const [quantity, low, high] = RANGES[i]!;
    if (v[quantity]! < low || v[quantity]! > high) {
      doubts[quantity]! |= Doubt.range;
      fine = false;
    }
  }
  const isSingle = phases === 1;
  const ui = (isSingle ? v[U]! * v[I]! : v[U]! * v[I]! + v[U2]! * v[I2]! + v[U3]! * v[I3]!) * 1e-5;
  const p = Math.abs(v[P]!);
  const s = v[S]!;
  // Math.hypot would allocate its arguments and its result.
  const pq = Math.sqrt(p * p + v[Q]! * v[Q]!);
  // Every comparison with a missing value is false. With three phases the sum of the phases only bounds the totals.
  const active = Math.abs(p - (s * Math.abs(v[PF]!)) / 1000) > TOLERANCE * s + slack;
  const reactive = exceeds(pq, s, slack) || (isSingle && s > (1 + DISTORTION) * pq + slack);
  const apparent = exceeds(s, ui, slack) || (isSingle && exceeds(ui, s, slack));
  const total = exceeds(p, ui, slack);
  if (active) doubt(doubts, P, S, PF);
  if (reactive) doubt(doubts, P, Q, S);
  if (apparent) doubt(doubts, U, I, S);
  if (total) doubt(doubts, U, I, P);
  if (!isSingle && (apparent || total)) {
    doubt(doubts, U2, U3, I2);
    doubt(doubts, I3, I3, I3);
  }
  return fine && !(active || reactive || apparent || total);
}

const exceeds = (a: number, b: number, slack: number): boolean => a > (1 + TOLERANCE) * b + slack;

function doubt(doubts: Uint8Array, a: number, b: number, c: number): void {
  doubts[a]! |= Doubt.contradiction;
  doubts[b]! |= Doubt.contradiction;
  doubts[c]! |= Doubt.contradiction;
}
