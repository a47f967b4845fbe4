/**
 * One UDP socket over node:dgram for senders and receivers of many datagrams: no name resolution, a large receive buffer,
 * typed errors at opening and none afterwards. Datagrams that cannot be sent are lost, as UDP loses them anyway; a far
 * end that refuses (ICMP) does not end the socket.
 */

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { messageOf, S3mpError } from '#base/errors';
import { formatIpPort } from '#scion/ip';

/** Rides out a pause of the event loop of some tens of milliseconds at full load. */
const RECEIVE_BUFFER = 4 << 20;
const SEND_BUFFER = 1 << 20;

export interface UdpSocketOptions {
  /** IP address to bind; '' binds every address of `family`. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Needed only with host ''. */
  readonly family?: 4 | 6;
  /** A datagram arrived. The bytes belong to the callee, who may change and send them. */
  onDatagram(datagram: Uint8Array, from: RemoteInfo): void;
  /** The system reported an error on the open socket; it goes on. */
  onError?(error: Error): void;
}

export class UdpSocket {
  readonly host: string;
  readonly port: number;
  readonly #socket: Socket;
  #open = true;

  private constructor(socket: Socket) {
    const { address, port } = socket.address();
    this.#socket = socket;
    this.host = address;
    this.port = port;
  }

  /**
   * Opens and binds a socket.
   * @throws S3mpError `socket.in-use` when the address is taken, `socket.failed` for any other reason; both name it
   */
  static async open(options: UdpSocketOptions): Promise<UdpSocket> {
    const { host, port, family, onDatagram, onError } = options;
    const socket = await bindUdp(host, port, family);
    socket.on('error', (error) => onError?.(error));
    socket.on('message', onDatagram);
    return new UdpSocket(socket);
  }

  /** Sends a datagram. The bytes must stay as they are until the next turn of the event loop. */
  send(datagram: Uint8Array, host: string, port: number): void {
    // Without a callback node:dgram drops errors of sending, and it takes its fast path.
    if (this.#open) this.#socket.send(datagram, port, host);
  }

  close(): Promise<void> {
    if (!this.#open) return Promise.resolve();
    this.#open = false;
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}

/**
 * Binds a socket of node:dgram that never resolves names. Its errors are the caller's to hear from then on.
 * @param host  IP address; '' binds every address of `family`
 * @throws S3mpError `socket.in-use` when the address is taken, `socket.failed` for any other reason; both name it
 */
export function bindUdp(host: string, port: number, family = host.includes(':') ? 6 : 4): Promise<Socket> {
  const socket = createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    // IPv4 has its own socket; mapped addresses would never equal a neighbour's.
    ipv6Only: family === 6,
    // Every address is a literal; the default look-up would cost a turn of the event loop per datagram.
    lookup: (name, _options, callback) => callback(null, name, family),
  });
  return new Promise((resolve, reject) => {
    const refuse = (error: unknown) => {
      socket.close();
      reject(openError(formatIpPort(host || (family === 6 ? '::' : '0.0.0.0'), port), error));
    };
    socket.once('error', refuse);
    socket.bind({ port, exclusive: true, ...(host === '' ? {} : { address: host }) }, () => {
      socket.off('error', refuse);
      growBuffers(socket);
      resolve(socket);
    });
  });
}

function growBuffers(socket: Socket): void {
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER);
    socket.setSendBufferSize(SEND_BUFFER);
  } catch {
    // The system's limit holds; smaller buffers only mean earlier loss.
  }
}

function openError(address: string, error: unknown): S3mpError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'EADDRINUSE') {
    return new S3mpError('socket.in-use', `UDP address ${address} is already in use`, { address }, error);
  }
  const reason = code === 'EADDRNOTAVAIL' ? 'this host does not have this IP address' : messageOf(error);
  return new S3mpError('socket.failed', `cannot open UDP ${address}: ${reason}`, { address }, error);
}
