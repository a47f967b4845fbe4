/**
 * Carries pushes to their destinations: `host:port` over plain UDP, `1-ff00:0:110,[10.0.0.1]:4059` over SCION. The meter
 * looks up no paths: the utility chooses them, and a push takes the reversed path of the destination's latest request. A
 * destination that was not heard of since the start is told as not sent; the push setup tries again.
 */

import { createSocket } from 'node:dgram';
import { messageOf } from '#base/errors';
import type { Log } from '#hw/log';
import type { ScionEndpoint } from '#hw/scion-endpoint';
import { formatAddress, parseEndpoint } from '#scion/address';
import type { PeerRef } from '#scion/end-host';
import { parseIpPort } from '#scion/ip';

/** Hosts whose paths are kept. */
const MAX_PEERS = 8;

export class Pusher {
  readonly #log: Log;
  readonly #peers = new Map<string, PeerRef>();
  #socket: ScionEndpoint | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** From now on there is SCION. Comes behind whoever else takes the socket's datagrams. */
  open(socket: ScionEndpoint): void {
    this.#socket = socket;
    const next = socket.onDatagram;
    socket.onDatagram = (payload, peer) => {
      if (this.#peers.get(peer.text) !== peer) this.#remember(peer);
      next(payload, peer);
    };
  }

  #remember(peer: PeerRef): void {
    this.#peers.delete(peer.text);
    this.#peers.set(peer.text, peer);
    const [oldest] = this.#peers.keys();
    if (this.#peers.size > MAX_PEERS) this.#peers.delete(oldest!);
  }

  /** @returns whether the frame was handed to the network */
  send(destination: string, frame: Uint8Array): boolean {
    try {
      return destination.includes(',') ? this.#overScion(destination, frame) : this.#overUdp(destination, frame);
    } catch (error) {
      this.#log.warn('not pushed', { destination, error: messageOf(error) });
      return false;
    }
  }

  #overScion(destination: string, frame: Uint8Array): boolean {
    const endpoint = parseEndpoint(destination);
    const peer = this.#peers.get(formatAddress(endpoint));
    if (!this.#socket || !peer) {
      this.#log.warn('not pushed, no path: the destination was not heard of', { destination });
      return false;
    }
    const { port } = endpoint;
    // Inside the AS no router looks at the SCION port: the underlay's is the destination's.
    const nextHop = peer.path.length === 0 ? { ...peer.nextHop, port } : peer.nextHop;
    this.#socket.reply({ ...peer, port, nextHop }, frame);
    this.#log.info('pushed', { destination, bytes: frame.length });
    return true;
  }

  #overUdp(destination: string, frame: Uint8Array): boolean {
    const { host, port } = parseIpPort(destination);
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', (error) => this.#log.warn('not pushed', { destination, error: error.message }));
    socket.send(frame, port, host, () => socket.close());
    this.#log.info('pushed', { destination, bytes: frame.length });
    return true;
  }
}
