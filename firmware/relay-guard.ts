/**
 * RelayGuard: the one object through which every road to the contact goes. It asks for the authority and the reason, lets
 * the contact rest between two movements, and stores the event and the commanded state before it moves anything: what
 * cannot be stored is refused, and the supply stays as it is. A contact that does not follow is reported, not believed.
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
  /** Shortest time between two movements, ms. */
  readonly dwellMs: number;
  /** Writes the event log. @returns whether the event is stored */
  readonly record: (code: number) => boolean;
  /** Told after the contact was asked to move. */
  readonly onChange: () => void;
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

export function guardRelay({ relay, log, steadyClock, dwellMs, record, onChange }: GuardOptions): RelayGuard {
  let movedAt = Number.NEGATIVE_INFINITY;
  return {
    switchRelay(connected, reason, trigger, commit) {
      const now = steadyClock();
      if (now - movedAt < dwellMs) {
        log.warn('the contact moved a moment ago and rests', { reason, dwellMs });
        return 'too-soon';
      }
      if (!record(EVENTS[trigger]) || !commit()) {
        log.error('what cannot be recorded is refused, the contact stays', { reason });
        return 'not-recorded';
      }
      log.info(connected ? 'connecting the load' : 'disconnecting the load', { reason });
      movedAt = now;
      try {
        relay.set(connected);
      } catch (error) {
        log.error('the relay driver failed, the contact stays', { error: messageOf(error) });
      }
      const follows = relay.isConnected() === connected;
      if (!follows) {
        log.error('the contact did not follow', { wanted: connected });
        record(EventCode.disconnectFailure);
      }
      onChange();
      return follows;
    },
    isConnected: () => relay.isConnected(),
  };
}
