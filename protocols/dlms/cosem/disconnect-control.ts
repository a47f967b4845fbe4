/**
 * Class 70, Disconnect Control v0 (IEC 62056-6-2): which trigger moves the supply's switch in which control mode.
 *
 *   connected ──b remote, f manual, g local──► disconnected (b) or ready for reconnection (f, g)
 *   ready ──e manual, h local──► connected · ──c remote disconnect──► disconnected
 *   disconnected ──a remote──► connected, or ──d remote──► ready
 *
 * The switch is reached through a `RelayGuard` only; output_state is what the guard measures, never what was commanded.
 */

import { type Data, Tag } from '#dlms/axdr';
import type { CosemObject } from '#dlms/cosem/logical-device';
import type { Setting } from '#dlms/cosem/setting';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

/** The one road to the contact: it records who asked and why before it moves anything. */
export interface RelayGuard {
  /**
   * Asks for the contact to move.
   * @param reason  for the event log, such as `remote-disconnect by client 17`
   * @param trigger  whose authority moves it
   * @param commit  makes the commanded state durable, called before the contact moves; false refuses the movement
   * @returns whether the contact is now in that position; `too-soon` when it moved a moment ago and has to rest,
   *   `not-recorded` when the event or the state could not be stored; the contact then stays
   */
  switchRelay(
    connected: boolean,
    reason: string,
    trigger: Trigger,
    commit: () => boolean,
  ): boolean | 'too-soon' | 'not-recorded';
  /** Measured position of the contact: true when the load is supplied. */
  isConnected(): boolean;
}

export const ControlState = { disconnected: 0, connected: 1, readyForReconnection: 2 } as const;
export type ControlState = (typeof ControlState)[keyof typeof ControlState];

export type Trigger =
  | 'remote-disconnect'
  | 'remote-reconnect'
  | 'manual-disconnect'
  | 'manual-reconnect'
  | 'local-disconnect'
  | 'local-reconnect'
  | 'restore';

/** The standard's transitions: from, trigger, to. The contact moves when exactly one end is "connected". */
export const TRANSITIONS = {
  a: { trigger: 'remote-reconnect', from: ControlState.disconnected, to: ControlState.connected },
  b: { trigger: 'remote-disconnect', from: ControlState.connected, to: ControlState.disconnected },
  c: { trigger: 'remote-disconnect', from: ControlState.readyForReconnection, to: ControlState.disconnected },
  d: { trigger: 'remote-reconnect', from: ControlState.disconnected, to: ControlState.readyForReconnection },
  e: { trigger: 'manual-reconnect', from: ControlState.readyForReconnection, to: ControlState.connected },
  f: { trigger: 'manual-disconnect', from: ControlState.connected, to: ControlState.readyForReconnection },
  g: { trigger: 'local-disconnect', from: ControlState.connected, to: ControlState.readyForReconnection },
  h: { trigger: 'local-reconnect', from: ControlState.readyForReconnection, to: ControlState.connected },
} as const satisfies Record<string, { trigger: Trigger; from: ControlState; to: ControlState }>;

export type TransitionLetter = keyof typeof TRANSITIONS;

/** Transitions that each control mode allows. Mode 0 never switches. */
export const CONTROL_MODES: readonly string[] = ['', 'bcfgde', 'bcfgae', 'bcgde', 'bcgae', 'bcfgdeh', 'bcgdeh'];

/** The state that `trigger` leads to in `mode`, or undefined when the mode has no such transition from `state`. */
export function nextControlState(mode: number, state: ControlState, trigger: Trigger): ControlState | undefined {
  for (const letter of CONTROL_MODES[mode] ?? '') {
    const transition = TRANSITIONS[letter as TransitionLetter];
    if (transition.trigger === trigger && transition.from === state) return transition.to;
  }
  return undefined;
}

/** States that a trigger can lead to in a mode. */
function targetsOf(mode: number, trigger: Trigger): ControlState[] {
  return [...(CONTROL_MODES[mode] ?? '')]
    .map((letter) => TRANSITIONS[letter as TransitionLetter])
    .filter((transition) => transition.trigger === trigger)
    .map((transition) => transition.to);
}

export interface DisconnectOptions {
  /** Control mode 0…6, fixed or a setting that clients may write; see `CONTROL_MODES`. */
  readonly mode: number | Setting;
  /** Control state kept over restarts; by default it follows the measured contact. */
  readonly initialState?: ControlState | undefined;
  /** Makes a control state durable, before it holds. @returns false when it could not, which refuses the transition */
  readonly commit?: ((state: ControlState) => boolean) | undefined;
  /** Called after each change of the control state. */
  readonly onState?: ((state: ControlState) => void) | undefined;
}

export class DisconnectControl implements CosemObject {
  readonly classId = 70;
  readonly version = 0;
  readonly attributes = 4;
  readonly methods = 2;
  readonly ln: Uint8Array;
  readonly #guard: RelayGuard;
  readonly #options: DisconnectOptions;
  #state: ControlState;

  constructor(obis: string, guard: RelayGuard, options: DisconnectOptions) {
    this.ln = parseObis(obis);
    this.#guard = guard;
    this.#options = options;
    this.#state = options.initialState ?? (guard.isConnected() ? ControlState.connected : ControlState.disconnected);
  }

  get state(): ControlState {
    return this.#state;
  }

  get(attribute: number, w: ByteWriter): number {
    if (attribute === 2) w.u8(Tag.boolean).u8(this.#guard.isConnected() ? 1 : 0);
    else if (attribute === 3) w.u8(Tag.enum).u8(this.#state);
    else w.u8(Tag.enum).u8(this.#mode);
    return Result.success;
  }

  set(attribute: number, value: Data): number {
    const { mode } = this.#options;
    return attribute === 4 && typeof mode === 'object' ? mode.write(value) : Result.readWriteDenied;
  }

  get #mode(): number {
    const { mode } = this.#options;
    return typeof mode === 'object' ? mode.number : mode;
  }

  /**
   * Methods 1 remote_disconnect and 2 remote_reconnect; the parameter is integer 0, absent or any integer. When the meter
   * itself runs a script (limiter, schedule), they are the local triggers.
   */
  invoke(
    method: number,
    parameter: Data | null,
    context: { readonly clientSap: number; readonly origin?: string },
  ): number {
    if (parameter && parameter.type !== 'integer' && parameter.type !== 'null-data') return Result.typeUnmatched;
    const isLocal = context.origin !== undefined;
    const trigger: Trigger = `${isLocal ? 'local' : 'remote'}-${method === 1 ? 'disconnect' : 'reconnect'}`;
    return this.trigger(trigger, `${trigger} by ${context.origin ?? `client ${context.clientSap}`}`);
  }

  /**
   * Runs one trigger.
   * @returns success also when the target state holds already; hardware-fault when the contact did not follow;
   *   temporary-failure when it has to rest or nothing can be stored
   */
  trigger(trigger: Trigger, reason: string): number {
    const mode = this.#mode;
    if (mode === 0) return Result.readWriteDenied;
    const next = nextControlState(mode, this.#state, trigger);
    if (next === undefined) return this.#isReached(mode, trigger) ? this.#confirm(reason, trigger) : Result.otherReason;
    const connect = next === ControlState.connected;
    if (connect !== (this.#state === ControlState.connected)) {
      const result = this.#move(connect, reason, trigger, () => this.#commit(next));
      if (result === Result.hardwareFault) this.#commit(this.#state);
      if (result !== Result.success) return result;
    } else if (!this.#commit(next)) return Result.temporaryFailure;
    this.#state = next;
    this.#options.onState?.(next);
    return Result.success;
  }

  /** Whether the mode knows the trigger and what it asks for holds already. */
  #isReached(mode: number, trigger: Trigger): boolean {
    const targets = targetsOf(mode, trigger);
    if (targets.length === 0) return false;
    const wantsSupply = trigger.endsWith('-reconnect');
    if (wantsSupply) return this.#state === ControlState.connected || targets.includes(this.#state);
    return this.#state !== ControlState.connected;
  }

  /** A repeated trigger also repairs a contact that has left its commanded position. */
  #confirm(reason: string, trigger: Trigger): number {
    const connected = this.#state === ControlState.connected;
    if (this.#guard.isConnected() === connected) return Result.success;
    return this.#move(connected, reason, trigger, () => this.#commit(this.#state));
  }

  /** Moves a contact that a power failure has left elsewhere back to the commanded state. Called once, at the start. */
  restore(): number {
    return this.#confirm('commanded state at the start', 'restore');
  }

  #commit(state: ControlState): boolean {
    return this.#options.commit?.(state) ?? true;
  }

  #move(connected: boolean, reason: string, trigger: Trigger, commit: () => boolean): number {
    const moved = this.#guard.switchRelay(connected, reason, trigger, commit);
    if (typeof moved === 'string') return Result.temporaryFailure;
    return moved ? Result.success : Result.hardwareFault;
  }
}
