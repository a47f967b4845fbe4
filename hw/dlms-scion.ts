/** The DLMS wrapper in SCION datagrams, server side: one session per remote host and port. */

import { performance } from 'node:perf_hooks';
import type { DlmsServer } from '#dlms/server';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import type { Log } from '#hw/log';
import type { ScionEndpoint } from '#hw/scion-endpoint';
import type { PeerRef } from '#scion/end-host';

/**
 * Answers DLMS requests that arrive on a SCION socket; replies take the reversed path.
 * @param hiddenClients  clients that are for other transports only
 */
export function serveDlmsOverScion(
  socket: ScionEndpoint,
  server: DlmsServer,
  log: Log,
  hiddenClients: readonly number[] = [],
): void {
  const out = new Uint8Array(WRAPPER_SIZE + server.maxPdu('datagram'));
  // A peer is one object as long as it uses one path, so its key is put together once.
  const keys = new WeakMap<PeerRef, string>();
  socket.onDatagram = (frame, peer) => {
    let key = keys.get(peer);
    if (key === undefined) {
      key = `[${peer.text}]:${peer.port}`;
      keys.set(peer, key);
    }
    const nowMs = performance.now();
    const session = server.session(key, { hiddenClients }, nowMs);
    if (session === undefined) {
      log.warn('too many DLMS clients, one is refused', { peer: key });
      return;
    }
    let length = session.receive(frame, out, nowMs);
    for (; length > 0; length = session.next(out)) socket.reply(peer, out.subarray(0, length));
  };
}
