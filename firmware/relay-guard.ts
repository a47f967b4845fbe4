/**
 * RelayGuard: the one object through which every road to the contact goes. It writes the event before it moves anything,
 * and a contact that does not follow is reported, not believed.
 */

import { messageOf } from '#base/errors';
import type { RelayGuard } from '#dlms/cosem/disconnect-control';
import type { Log } from '#hw/log';
import type { Relay } from '#hw/relay';

/** @param onChange  told after the contact was asked to move */
export function guardRelay(relay: Relay, log: Log, onChange: () => void): RelayGuard {
  return {
    switchRelay(connected, reason) {
      log.info(connected ? 'connecting the load' : 'disconnecting the load', { reason });
      try {
        relay.set(connected);
      } catch (error) {
        log.error('the relay driver failed, the contact stays', { error: messageOf(error) });
      }
      const follows = relay.isConnected() === connected;
      if (!follows) log.error('the contact did not follow', { wanted: connected });
      onChange();
      return follows;
    },
    isConnected: () => relay.isConnected(),
  };
}
