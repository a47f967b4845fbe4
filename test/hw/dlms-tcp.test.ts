/** DLMS over real TCP sockets: framing, limits and timers of the listener, and the client channel. */

import * as net from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { DlmsClient } from '#dlms/client';
import { exchange } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { connectDlmsTcp } from '#hw/dlms-tcp';
import { KNOWN_REGISTERS, listen, PASSWORD, testMeter } from '../interop/dlms-meter.ts';

const Tcp = suite('dlms over tcp');

const AARQ = fromHex('000100100001001f601da109060760857405080101be10040e01000000065f1f0400007e1f04b0');
const GET_NAME = fromHex('000100100001000dc001c1000100002a0000ff0200');

const rejection = async (promise: Promise<unknown>): Promise<S3mpError> => {
  try {
    await promise;
  } catch (error) {
    if (error instanceof S3mpError) return error;
    throw error;
  }
  throw new Error('it should have failed');
};

/** A raw connection that collects what it gets; `closed` resolves when the server hangs up. */
async function raw(port: number) {
  const socket = net.connect({ host: '127.0.0.1', port });
  const state = { received: new Uint8Array(0), notify: () => {} };
  socket.on('data', (chunk) => {
    state.received = Uint8Array.from([...state.received, ...chunk]);
    state.notify();
  });
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  const until = (bytes: number) =>
    new Promise<void>((resolve, reject) => {
      state.notify = () => state.received.length >= bytes && resolve();
      state.notify();
      void closed.then(() => reject(new Error(`closed with ${state.received.length} of ${bytes} bytes`)));
    });
  return { socket, state, closed, until };
}

Tcp('a client reads the meter over a connection', async () => {
  const meter = testMeter();
  const listener = await listen(meter);
  const channel = await connectDlmsTcp('127.0.0.1', listener.port);
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD), maxPdu: 256 });
  await exchange(client.associate(), channel.exchange);
  const { registers } = await exchange(client.readRegisters(Object.keys(KNOWN_REGISTERS)), channel.exchange);
  for (const { obis, value, unit } of registers) assert.equal([value, unit], KNOWN_REGISTERS[obis]);
  const list = await exchange(
    client.get({ classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 }),
    channel.exchange,
  );
  assert.ok(list.type === 'array' && list.value.length >= 26);
  await exchange(client.release(), channel.exchange);
  channel.close();
  await listener.close();
});

Tcp('frames may come byte by byte or several at once, and answers keep their order', async () => {
  const listener = await listen(testMeter());
  const { socket, state, until } = await raw(listener.port);
  socket.setNoDelay(true);
  for (const byte of AARQ) socket.write(Uint8Array.of(byte));
  await until(51);
  socket.write(Uint8Array.from([...GET_NAME, ...GET_NAME, ...GET_NAME]));
  await until(51 + 3 * 30);
  const answer = '000100010010 0016 c401c1000910 53334d30303030303030303034373131'.replace(/ /g, '');
  assert.is(toHex(state.received, 51), answer.repeat(3));
  socket.destroy();
  await listener.close();
});

Tcp('one connection knows nothing of another, also after a truncated frame', async () => {
  const meter = testMeter();
  const listener = await listen(meter);
  const first = await raw(listener.port);
  first.socket.write(AARQ);
  await first.until(51);
  first.socket.write(GET_NAME.subarray(0, 10));
  const second = await raw(listener.port);
  second.socket.write(GET_NAME);
  await second.until(11);
  assert.is(toHex(second.state.received, 8), 'd80101', 'not associated by the first one');
  first.socket.write(GET_NAME.subarray(10));
  await first.until(51 + 30);
  assert.is(meter.server.sessionCount, 2);
  for (const { socket, closed } of [first, second]) {
    socket.end();
    await closed;
  }
  await listener.close();
  assert.is(meter.server.sessionCount, 0);
  assert.is(meter.events.at(-1)?.kind, 'association-closed');
});

Tcp('a wrong version, an oversized frame and a frame that does not end close the connection', async () => {
  const reasons: string[] = [];
  const listener = await listen(testMeter(), { partialMs: 60, log: (text) => reasons.push(text) });
  for (const hex of ['7fa00802232193bd647e', '00010010000108016000', '0001001000010010c0']) {
    const { socket, closed } = await raw(listener.port);
    socket.write(fromHex(hex));
    await closed;
  }
  assert.equal(
    reasons.map((reason) => reason.replace(/^.*closed: /, '')),
    ['not a DLMS wrapper', 'an APDU longer than 2048 bytes', 'a frame was not whole after 60 ms'],
  );
  const { socket, until } = await raw(listener.port);
  socket.write(AARQ);
  await until(51);
  socket.destroy();
  await listener.close();
});

Tcp('bytes that trickle in do not extend the time for a frame, silence ends a connection', async () => {
  const listener = await listen(testMeter(), { partialMs: 80, idleMs: 150 });
  const slow = await raw(listener.port);
  const drip = setInterval(() => slow.socket.write(Uint8Array.of(0)), 20);
  slow.socket.write(fromHex('00010010000100ff'));
  await slow.closed;
  clearInterval(drip);
  const idle = await raw(listener.port);
  idle.socket.write(AARQ);
  await idle.until(51);
  await idle.closed;
  await listener.close();
});

Tcp('a client whose segments always end inside a frame is not taken for a slow one', async () => {
  const listener = await listen(testMeter(), { partialMs: 500 });
  const { socket, until } = await raw(listener.port);
  socket.setNoDelay(true);
  socket.write(AARQ);
  await until(51);
  const shifted = Uint8Array.from([...GET_NAME.subarray(10), ...GET_NAME.subarray(0, 10)]);
  socket.write(GET_NAME.subarray(0, 10));
  const end = performance.now() + 800;
  for (let count = 1; performance.now() < end; count++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.not.ok(socket.destroyed);
    socket.write(shifted);
    await until(51 + 30 * count);
  }
  socket.destroy();
  await listener.close();
});

Tcp('answers that wait for a slow client stay what they were while further ones are made', async () => {
  const listener = await listen(testMeter());
  const { socket, until } = await raw(listener.port);
  socket.setNoDelay(true);
  socket.write(AARQ);
  await until(51);
  socket.removeAllListeners('data').pause();
  // biome-ignore lint/suspicious/noExplicitAny: undocumented, and the only way to the other end
  const handles: unknown[] = (process as any)._getActiveHandles();
  const served = handles.find(
    (each) => each instanceof net.Socket && each.remotePort === socket.localPort,
  ) as net.Socket;
  // Invoke ids tell the requests and their answers apart.
  const batch = Buffer.concat(
    Array.from({ length: 128 }, (_, i) => GET_NAME.map((byte, at) => (at === 10 ? 0xc0 | (i % 16) : byte))),
  );
  let count = 0;
  const ask = async () => {
    count += 128;
    socket.write(batch);
    while (served.bytesRead < AARQ.length + count * GET_NAME.length)
      await new Promise((resolve) => setImmediate(resolve));
  };
  while (served.writableLength === 0) await ask();
  for (let more = 0; more < 4; more++) await ask();
  assert.ok(served.writableLength > 0);
  const answers: Uint8Array[] = [];
  let length = 0;
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      answers.push(chunk);
      length += chunk.length;
      if (length === count * 30) resolve();
    });
    socket.resume();
  });
  const all = Buffer.concat(answers);
  for (let i = 0; i < count; i++)
    if (all.readUInt32BE(i * 30 + 8) !== (0xc401_c000 | ((i % 16) << 8)) >>> 0)
      assert.unreachable(`answer ${i} of ${count}`);
  socket.destroy();
  await listener.close();
});

Tcp('connections over the limit are closed at once, and a free place is given again', async () => {
  const listener = await listen(testMeter(), { maxConnections: 2 });
  const first = await raw(listener.port);
  const second = await raw(listener.port);
  const third = await raw(listener.port);
  await third.closed;
  assert.is(listener.connections, 2);
  first.socket.destroy();
  await first.closed;
  second.socket.write(AARQ);
  await second.until(51);
  while (listener.connections > 1) await new Promise((resolve) => setImmediate(resolve));
  const fourth = await raw(listener.port);
  fourth.socket.write(AARQ);
  await fourth.until(51);
  await listener.close();
});

Tcp('wrong passwords count per address over all its connections', async () => {
  const meter = testMeter();
  const listener = await listen(meter);
  const attempt = async (password: string) => {
    const channel = await connectDlmsTcp('127.0.0.1', listener.port);
    const client = new DlmsClient({ clientSap: 17, password: asciiBytes(password) });
    try {
      await exchange(client.associate(), channel.exchange);
      return 'opened';
    } catch (error) {
      return (error as S3mpError).code;
    } finally {
      channel.close();
    }
  };
  for (let i = 0; i < 4; i++) assert.is(await attempt(`guess ${i}`), 'dlms.authentication-failed');
  assert.is(await attempt(PASSWORD), 'dlms.authentication-failed', 'locked for a second');
  await listener.close();
});

Tcp('a taken port is a clear error', async () => {
  const listener = await listen(testMeter());
  const error = await rejection(listen(testMeter(), { port: listener.port }));
  assert.is(error.code, 'socket.in-use');
  assert.match(error.message, `127.0.0.1:${listener.port}`);
  await listener.close();
});

Tcp('a channel to nobody, to silence and to a server that hangs up fails as unreachable', async () => {
  const listener = await listen(testMeter());
  const { port } = listener;
  const channel = await connectDlmsTcp('127.0.0.1', port);
  const pending = rejection(channel.exchange(GET_NAME.subarray(0, 12)));
  await listener.close();
  assert.is((await pending).code, 'meter.unreachable');
  assert.is((await rejection(channel.exchange(GET_NAME))).code, 'meter.unreachable');
  assert.is((await rejection(connectDlmsTcp('127.0.0.1', port))).code, 'meter.unreachable');
  const silent = net.createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const mute = await connectDlmsTcp('127.0.0.1', (silent.address() as net.AddressInfo).port, 50);
  assert.match((await rejection(mute.exchange(GET_NAME))).message, /no answer after 50 ms/);
  silent.close();
});

Tcp.run();
