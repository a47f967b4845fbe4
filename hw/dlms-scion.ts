/** The DLMS wrapper in SCION datagrams, server side: one session per remote host and port. */

import type { DlmsServer, SessionOptions } from '#dlms/server';
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
  // A peer is one object as long as it uses one path, so what is known of it is put together once.
  const clients = new WeakMap<PeerRef, { readonly key: string; readonly options: SessionOptions }>();
  socket.onDatagram = (frame, peer) => {
    let client = clients.get(peer);
    if (client === undefined) {
      // Failed passwords count against the host: a guesser has ports enough.
      client = { key: `[${peer.text}]:${peer.port}`, options: { hiddenClients, source: peer.text } };
      clients.set(peer, client);
    }
    const nowMs = performance.now();
    const session = server.session(client.key, client.options, nowMs);
    if (session === undefined) {
      log.warn('too many DLMS clients, one is refused', { peer: client.key });
      return;
    }
    let length = session.receive(frame, out, nowMs);
    for (; length > 0; length = session.next(out)) socket.reply(peer, out.subarray(0, length));
  };
}
