/**
 * The DLMS wrapper over plain UDP (IEC 62056-4-7): the server's socket, a client channel, and a listener for pushes. One
 * frame per datagram. A meter keeps it off unless it is configured: plain UDP has neither paths nor a proven sender.
 */

import { DecodeError, S3mpError } from '#base/errors';
import { isAnswerTo } from '#dlms/match';
import { type Push, readPush } from '#dlms/notification';
import type { DlmsServer } from '#dlms/server';
import { isWrapperFrame, WRAPPER_PORT, WRAPPER_SIZE } from '#dlms/wrapper';
import { UdpSocket } from '#hw/udp';
import { formatIpPort } from '#scion/ip';

export interface DlmsUdpOptions {
  readonly server: DlmsServer;
  readonly host: string;
  /** Default 4059; 0 lets the system choose. */
  readonly port?: number;
  readonly log?: (text: string) => void;
}

/**
 * Answers DLMS requests on a UDP socket.
 * @throws S3mpError `socket.in-use`, `socket.failed`
 */
export async function listenDlmsUdp(options: DlmsUdpOptions): Promise<UdpSocket> {
  const { server, host, port = WRAPPER_PORT } = options;
  const out = new Uint8Array(WRAPPER_SIZE + server.maxPdu('datagram'));
  const socket = await UdpSocket.open({
    host,
    port,
    onDatagram: ({ buffer, byteOffset, length: size }, from) => {
      // As a plain Uint8Array: `slice` of a Buffer would not copy.
      const frame = new Uint8Array(buffer, byteOffset, size);
      // Before a session is made for it: noise must not push out a session.
      if (!isWrapperFrame(frame)) return;
      const key = `udp ${formatIpPort(from.address, from.port)}`;
      const nowMs = performance.now();
      const session = server.session(key, { transport: 'datagram', source: from.address }, nowMs);
      if (!session) {
        options.log?.(`too many DLMS clients, ${key} is refused`);
        return;
      }
      let length = session.receive(frame, out, nowMs);
      // Copies, since the socket sends after this turn.
      for (; length > 0; length = session.next(out)) socket.send(out.slice(0, length), from.address, from.port);
    },
    onError: (error) => options.log?.(`UDP: ${error.message}`),
  });
  return socket;
}

export interface DlmsUdpChannelOptions {
  /** For the first answer; doubles with each repetition. Default 3 s. */
  readonly timeoutMs?: number;
  /** Repetitions of the very same bytes. Default 3. */
  readonly retries?: number;
}

export interface DlmsUdpChannel {
  /**
   * Sends one wrapper frame, again when no answer comes.
   * @throws S3mpError `meter.unreachable` on silence: whether the request had an effect is unknown
   */
  exchange(frame: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Opens a client channel to one meter; datagrams of others are not seen. @throws S3mpError `socket.failed` */
export async function openDlmsUdp(
  host: string,
  port: number,
  options: DlmsUdpChannelOptions = {},
): Promise<DlmsUdpChannel> {
  const { timeoutMs = 3000, retries = 3 } = options;
  const where = formatIpPort(host, port);
  let pending: { readonly request: Uint8Array; readonly resolve: (frame: Uint8Array) => void } | undefined;
  const socket = await UdpSocket.open({
    host: '',
    family: host.includes(':') ? 6 : 4,
    port: 0,
    onDatagram: (frame, from) => {
      if (from.address === host && from.port === port && pending && isAnswerTo(pending.request, frame))
        pending.resolve(Uint8Array.prototype.slice.call(frame));
    },
  });
  return {
    close: () => socket.close(),
    async exchange(frame) {
      if (pending) throw new S3mpError('meter.busy', `${where}: a request is under way`, { where });
      const request = frame.slice();
      try {
        for (let attempt = 0; attempt <= retries; attempt++) {
          const answer = await new Promise<Uint8Array | undefined>((resolve) => {
            // Spread, so that many meters behind one broken line are not asked again at the same instant.
            const waitMs = timeoutMs * 2 ** attempt * (1 + Math.random() / 4);
            const timer = setTimeout(() => resolve(undefined), waitMs);
            pending = {
              request,
              resolve: (received) => {
                clearTimeout(timer);
                resolve(received);
              },
            };
            socket.send(request, host, port);
          });
          if (answer) return answer;
        }
      } finally {
        pending = undefined;
      }
      throw new S3mpError('meter.unreachable', `${where}: no answer to ${retries + 1} datagrams`, { where });
    },
  };
}

/**
 * Listens for what meters push over UDP.
 * @param onPush  gets each push in clear and its sender; views are valid during the call
 * @param onOther  gets whole frames with anything else, such as ciphered pushes
 */
export function listenForPushes(
  host: string,
  port: number,
  onPush: (push: Push, from: string) => void,
  onOther: (frame: Uint8Array, from: string) => void = () => {},
): Promise<UdpSocket> {
  return UdpSocket.open({
    host,
    port,
    onDatagram: (frame, sender) => {
      const from = formatIpPort(sender.address, sender.port);
      let push: Push | undefined;
      try {
        push = readPush(frame);
      } catch (error) {
        if (error instanceof DecodeError) return;
        throw error;
      }
      if (push) onPush(push, from);
      else if (isWrapperFrame(frame)) onOther(frame, from);
    },
  });
}
