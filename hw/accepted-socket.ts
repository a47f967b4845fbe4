/**
 * An accepted TCP connection that receives into one buffer for its life. node:net offers that (`onread`) only for
 * connections that a program opens, and gives an accepted one a buffer of 64 kB for each segment, which the collector has
 * to take away again. So the accepted socket hands its handle over to a second one. Where a Node has no handle to hand
 * over, the connection works with buffers of its own.
 */

import { Socket, type SocketConstructorOpts } from 'node:net';

type WithHandle = { _handle?: object | null };

/**
 * Takes over a connection of a server with `pauseOnConnect`; no listener of the accepted socket is called any more.
 * @param size  bytes of the buffer
 * @param onBytes  gets what has arrived, in a view that is valid during the call and may be changed
 * @returns the socket to use from here on; its `data` event is not for use
 */
export function receiveInPlace(accepted: Socket, size: number, onBytes: (bytes: Uint8Array) => void): Socket {
  const owner = accepted as WithHandle;
  const handle = owner._handle;
  if (!handle) {
    // As a plain Uint8Array: `slice` of a Buffer would not copy.
    accepted.on('data', ({ buffer, byteOffset, length }) => onBytes(new Uint8Array(buffer, byteOffset, length)));
    accepted.resume();
    return accepted;
  }
  owner._handle = null;
  // Without a handle this only counts it off the server's connections.
  accepted.destroy();
  const buffer = new Uint8Array(size);
  let view = buffer;
  const callback = (length: number) => {
    // A client asks with requests of few lengths, so that the view of the last one often fits.
    if (view.length !== length) view = buffer.subarray(0, length);
    onBytes(view);
    return true;
  };
  return new Socket({ handle, onread: { buffer, callback } } as SocketConstructorOpts);
}
