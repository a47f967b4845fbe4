/** Time as the fleet sees it: two clocks and a timer behind one interface, so that tests turn the hands themselves. */

import type { SteadyClock, WallClock } from '#base/crypto';

export interface FleetClock {
  /** ms since the epoch, for time stamps only. */
  readonly wall: WallClock;
  /** ms that only grow, for ages, deadlines and intervals. */
  readonly steady: SteadyClock;
  /** Calls `run` once after `ms`. @returns cancels it */
  readonly after: (ms: number, run: () => void) => () => void;
}

export const SYSTEM_CLOCK: FleetClock = {
  wall: () => Date.now(),
  steady: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Resolves after `ms` on that clock. */
export function pause(clock: FleetClock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}
