/** Receiving on accepted TCP connections, over real sockets. */

import * as net from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { receiveInPlace } from '#hw/accepted-socket';

const Accepted = suite('accepted socket');

const once = (socket: net.Socket | net.Server, event: string) =>
  new Promise<void>((resolve) => socket.once(event, () => resolve()));

Accepted('bytes arrive in one buffer; addresses, answers and the end are those of any socket', async () => {
  const received: Uint8Array[] = [];
  let text = '';
  let socket: net.Socket | undefined;
  const server = net.createServer({ pauseOnConnect: true }, (accepted) => {
    socket = receiveInPlace(accepted, 8, (bytes) => {
      received.push(bytes);
      text += String.fromCharCode(...bytes);
      if (text.endsWith('.')) socket!.write(text);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  let answer = '';
  client.setEncoding('latin1').on('data', (chunk) => (answer += chunk));
  client.write('more than eight bytes.');
  while (answer.length < 22) await once(client, 'data');
  assert.is(answer, 'more than eight bytes.');
  assert.ok(
    received.length >= 3 && received.every(({ buffer, length }) => buffer === received[0]!.buffer && length <= 8),
  );
  assert.not.ok(received[0] instanceof Buffer, 'slice copies');
  assert.is(socket!.remotePort, client.localPort);
  const gone = once(socket!, 'close');
  client.end();
  await gone;
  server.close();
  await once(server, 'close');
});

Accepted('a socket that has no handle to give works with buffers of its own', async () => {
  const server = net.createServer((socket) => socket.end('hello'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const bare = new net.Socket();
  let text = '';
  const socket = receiveInPlace(bare, 8, (bytes) => {
    assert.not.ok(bytes instanceof Buffer);
    text += String.fromCharCode(...bytes);
  });
  assert.is(socket, bare);
  socket.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  await once(socket, 'close');
  assert.is(text, 'hello');
  server.close();
});

Accepted.run();
