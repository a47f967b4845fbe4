/**
 * RelayGuard: the one object through which every road to the contact goes. It asks for the authority and the reason, lets
 * the contact rest between two movements and not disconnect too often, and stores the event and the commanded state before
 * it moves anything: what cannot be stored is refused, and the supply stays as it is. Afterwards it keeps looking: a
 * contact that does not follow, or power that flows through an open one (solid-state relays fail short), is an alarm.
 */

import type { SteadyClock } from '#base/crypto';
import { messageOf } from '#base/errors';
import type { RelayGuard, Trigger } from '#dlms/cosem/disconnect-control';
import { EventCode } from '#dlms/well-known';
import type { Log } from '#hw/log';
import type { Relay } from '#hw/relay';

export interface GuardOptions {
  readonly relay: Relay;
  readonly log: Log;
  readonly steadyClock: SteadyClock;
  /** Where the contact was last commanded to be; by default where it is. */
  readonly commanded?: boolean | undefined;
  /** Shortest time between two movements, ms. */
  readonly dwellMs: number;
  /** Most disconnections in an hour; a reconnection is never too much. Default: no limit. */
  readonly perHour?: number;
  /** W through the meter, negative when exported; undefined when no fresh value is there. */
  readonly power?: () => number | undefined;
  /** Power above which an open contact is taken for a closed one, W. */
  readonly leakW?: number;
  /** Writes the event log. @returns whether the event is stored */
  readonly record: (code: number) => boolean;
  /** Told after the contact was asked to move. */
  readonly onChange: () => void;
}

export interface WatchfulGuard extends RelayGuard {
  /** Looks whether the contact is where it was commanded to be. About once a second. */
  tick(): void;
  /** Counts what the event log has of the time before a restart. @param events  code and age in ms of each, in any order */
  resume(events: Iterable<readonly [code: number, ageMs: number]>): void;
  /** What is wrong with the contact, short enough for the display. */
  readonly fault: string | undefined;
}

const EVENTS: Readonly<Record<Trigger, number>> = {
  'remote-disconnect': EventCode.remoteDisconnect,
  'remote-reconnect': EventCode.remoteReconnect,
  'manual-disconnect': EventCode.manualDisconnect,
  'manual-reconnect': EventCode.manualReconnect,
  'local-disconnect': EventCode.localDisconnect,
  'local-reconnect': EventCode.localReconnect,
  restore: EventCode.relayRestored,
};
export const HOUR_MS = 3_600_000;
/** A contact, and the meter that measures behind it, take a moment. */
const FOLLOW_MS = 10_000;
/** Power above which an open contact is taken for a closed one, W. */
export const LEAK_W = 30;

export function guardRelay(options: GuardOptions): WatchfulGuard {
  const { relay, log, steadyClock, dwellMs, perHour = Number.POSITIVE_INFINITY, leakW = LEAK_W, record } = options;
  let movedAt = Number.NEGATIVE_INFINITY;
  let disconnections: number[] = [];
  let commanded = options.commanded ?? relay.isConnected();
  /** Since when the contact is not as commanded; undefined while it is. */
  let wrongSince: number | undefined;
  let isReported = false;
  let fault: string | undefined;

  /** Why a movement must wait; undefined when it need not. */
  function reasonToWait(connected: boolean, trigger: Trigger, now: number): string | undefined {
    // What a power failure has moved goes back at once.
    if (trigger === 'restore') return undefined;
    if (now - movedAt < dwellMs) return `the contact moved a moment ago and rests for ${dwellMs} ms`;
    disconnections = disconnections.filter((at) => now - at < HOUR_MS);
    if (!connected && disconnections.length >= perHour) return `${perHour} disconnections in an hour are enough`;
    return undefined;
  }

  function report(text: string, connected: boolean): void {
    log.error(text, { wanted: connected ? 'connected' : 'disconnected' });
    record(EventCode.disconnectFailure);
  }

  return {
    switchRelay(connected, reason, trigger, commit) {
      const now = steadyClock();
      const wait = reasonToWait(connected, trigger, now);
      if (wait !== undefined) {
        log.warn('the contact is not moved', { reason, because: wait });
        return 'too-soon';
      }
      if (!record(EVENTS[trigger]) || !commit()) {
        log.error('what cannot be recorded is refused, the contact stays', { reason });
        return 'not-recorded';
      }
      log.info(connected ? 'connecting the load' : 'disconnecting the load', { reason });
      movedAt = now;
      if (!connected) disconnections.push(now);
      commanded = connected;
      wrongSince = undefined;
      fault = undefined;
      try {
        relay.set(connected);
      } catch (error) {
        log.error('the relay driver failed, the contact stays', { error: messageOf(error) });
      }
      const follows = relay.isConnected() === connected;
      if (!follows) {
        fault = 'relay does not follow';
        report('the contact did not follow', connected);
        commanded = !connected;
      }
      options.onChange();
      return follows;
    },
    isConnected: () => relay.isConnected(),
    tick() {
      const now = steadyClock();
      const measured = relay.isConnected();
      const isLeaking = !measured && Math.abs(options.power?.() ?? 0) > leakW;
      if (measured === commanded && !isLeaking) {
        if (wrongSince !== undefined) fault = undefined;
        wrongSince = undefined;
        isReported = false;
        return;
      }
      wrongSince ??= now;
      if (isReported || now - wrongSince < FOLLOW_MS) return;
      isReported = true;
      fault = isLeaking ? 'power while OFF' : 'relay moved by itself';
      report(isLeaking ? 'power flows though the contact is open' : 'the contact has left its position', commanded);
    },
    resume(events) {
      const now = steadyClock();
      for (const [code, ageMs] of events) {
        const trigger = Object.keys(EVENTS).find((name) => EVENTS[name as Trigger] === code);
        if (trigger) movedAt = Math.max(movedAt, now - ageMs);
        if (trigger?.endsWith('-disconnect')) disconnections.push(now - ageMs);
      }
    },
    get fault() {
      return fault;
    },
  };
}
