/** What is wrong with the meter's clock and what to do: shown only when it is not set, or goes wrong. */

import { offsetText } from '../fleet/offset-text.ts';
import type { ClockBody } from '../http/wire.ts';
import { byId, setAttribute, setText } from './dom.ts';

/** As the head end raises its event. */
const OFFSET_LIMIT_MS = 5_000;
/** From here on a person has to have seen the offset. */
const JUMP_MS = 86_400_000;

export class ClockNote {
  readonly button = byId<HTMLButtonElement>('sync-clock');
  private isJump = false;

  /** @param sync  asked to set the clock, also by more than a day */
  constructor(sync: (jump: boolean) => void) {
    this.button.addEventListener('click', () => sync(this.isJump));
  }

  /** @param rests  whether no command can be sent now */
  render(clock: ClockBody | null, rests: boolean): void {
    const isOff = clock !== null && Math.abs(clock.offsetMs) - clock.roundTripMs / 2 > OFFSET_LIMIT_MS;
    const isUnset = clock?.isSet === false;
    byId('clock').hidden = !isUnset && !isOff;
    if (clock === null || byId('clock').hidden) return;
    this.isJump = Math.abs(clock.offsetMs) > JUMP_MS;
    const away = offsetText(clock.offsetMs, 'brief');
    const what = isUnset
      ? `The meter's clock is not set (${away}), as after a power failure. It measures on and obeys no command until the clock is set.`
      : `The meter's clock is ${away}.`;
    const look = this.isJump ? " That is more than a day: look whether the head end's clock is right." : '';
    setText(byId('clock-text'), what + look);
    setAttribute(this.button, 'disabled', rests);
  }
}
