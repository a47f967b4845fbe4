/** DLMS over HDLC and over plain UDP, on real sockets. */

import * as net from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import { exchange } from '#dlms/exchange';
import { encodeDataNotificationHeader, type Push } from '#dlms/notification';
import { parseObis } from '#dlms/obis';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import { HdlcChannel, serveDlmsOverSerial } from '#hw/dlms-hdlc';
import { connectDlmsTcp, connectHdlcTcp, type DlmsTcpListener, listenDlmsTcp } from '#hw/dlms-tcp';
import { listenDlmsUdp, listenForPushes, openDlmsUdp } from '#hw/dlms-udp';
import type { BytePort } from '#hw/serial/port';
import { openTcpPort } from '#hw/serial/tcp';
import { UdpSocket } from '#hw/udp';
import { KEYS, testMeter, testSecurity } from '../interop/dlms-meter.ts';
import { NOTE, octets, PASSWORD, ROWS, type SmallMeter, smallMeter } from '../protocols/dlms/small-device.ts';

const Links = suite('dlms over hdlc and udp');
const HOST = '127.0.0.1';

async function listen(meter: SmallMeter): Promise<DlmsTcpListener> {
  return listenDlmsTcp({ server: meter.server, host: HOST, port: 0 });
}

/** Writes and reads through a channel until something is long on every layer. */
async function use(send: (frame: Uint8Array) => Promise<Uint8Array>, meter: SmallMeter): Promise<void> {
  const client = new DlmsClient({ clientSap: 17, password: PASSWORD });
  await exchange(client.associate(), send);
  await exchange(client.set(NOTE, octets(2500)), send);
  assert.equal(meter.note.value, octets(2500));
  assert.equal(await exchange(client.get(NOTE), send), octets(2500));
  const rows = await exchange(client.get(ROWS), send);
  assert.is(rows.type === 'array' && rows.value.length, meter.rows.captured);
  await exchange(client.release(), send);
}

Links('one TCP port serves wrapper and HDLC, told by the first byte; anything else is closed', async () => {
  const meter = smallMeter({ rows: 200 });
  const listener = await listen(meter);
  const hdlc = await connectHdlcTcp(HOST, listener.port, { clientSap: 17 });
  const wrapper = await connectDlmsTcp(HOST, listener.port);
  await Promise.all([use((frame) => hdlc.exchange(frame), meter), use((frame) => wrapper.exchange(frame), meter)]);
  const stranger = net.connect({ host: HOST, port: listener.port });
  stranger.write('GET / HTTP/1.1\r\n\r\n');
  await new Promise<void>((resolve) => stranger.on('close', () => resolve()));
  hdlc.close();
  wrapper.close();
  await listener.close();
});

Links('an HDLC client byte by byte over TCP is served, and its session ends with the connection', async () => {
  const meter = smallMeter();
  const listener = await listen(meter);
  const socket = net.connect({ host: HOST, port: listener.port });
  socket.setNoDelay(true);
  const received = new Promise<string>((resolve) => socket.once('data', (bytes) => resolve(toHex(bytes))));
  for (const byte of fromHex('7ea00802232193bd647e')) socket.write(Uint8Array.of(byte));
  assert.match(await received, /^7ea00821022373/);
  assert.is(meter.server.sessionCount, 1);
  socket.destroy();
  while (meter.server.sessionCount > 0) await new Promise((resolve) => setImmediate(resolve));
  await listener.close();
});

Links('plain UDP carries the same operations; noise gets no answer and no session', async () => {
  const meter = smallMeter({ rows: 200 });
  const socket = await listenDlmsUdp({ server: meter.server, host: HOST, port: 0 });
  const noise = await openDlmsUdp(HOST, socket.port, { timeoutMs: 50, retries: 0 });
  for (const hex of ['00', '000100110001000162ff', '0002001100010002c001'])
    await noise.exchange(fromHex(hex)).then(
      () => assert.unreachable(),
      (error) => assert.is(error.code, 'meter.unreachable'),
    );
  assert.is(meter.server.sessionCount, 0);
  const channel = await openDlmsUdp(HOST, socket.port);
  await use((frame) => channel.exchange(frame), meter);
  await Promise.all([noise.close(), channel.close(), socket.close()]);
});

Links('a ciphered datagram that comes twice is answered twice with the same bytes', async () => {
  const meter = testMeter({ security: testSecurity() });
  const socket = await listenDlmsUdp({ server: meter.server, host: HOST, port: 0 });
  const channel = await openDlmsUdp(HOST, socket.port);
  const client = new DlmsClient({
    clientSap: 1,
    security: {
      crypto: nodeCrypto,
      mechanism: 5,
      title: asciiBytes('S3H00001'),
      unicast: KEYS.unicast,
      authentication: KEYS.authentication,
      counter: new MemoryCounter(),
    },
  });
  const frames: Uint8Array[] = [];
  const answers: string[] = [];
  const twice = async (frame: Uint8Array) => {
    frames.push(frame.slice());
    const answer = await channel.exchange(frame);
    answers.push(toHex(answer));
    return answer;
  };
  await exchange(client.associate(), twice);
  await exchange(client.get({ classId: 3, ln: parseObis('1-0:1.8.0.255'), attribute: 2 }), twice);
  assert.is(toHex(await channel.exchange(frames.at(-1)!)), answers.at(-1));
  assert.not.ok(meter.events.some(({ kind }) => kind === 'protection-failed'));
  await Promise.all([channel.close(), socket.close()]);
});

Links('a UDP request without answer is repeated byte for byte, then unreachable', async () => {
  const seen: string[] = [];
  const deaf = await UdpSocket.open({ host: HOST, port: 0, onDatagram: (bytes) => seen.push(toHex(bytes)) });
  const channel = await openDlmsUdp(HOST, deaf.port, { timeoutMs: 10, retries: 3 });
  const error = await channel.exchange(fromHex('00010011000100026200')).catch((reason) => reason);
  assert.ok(error instanceof S3mpError);
  assert.is(error.code, 'meter.unreachable');
  assert.equal(seen, new Array(4).fill('00010011000100026200'));
  await Promise.all([channel.close(), deaf.close()]);
});

Links('pushes over UDP reach their listener, broken ones do not', async () => {
  const pushes: Push[] = [];
  const others: string[] = [];
  let wake = () => {};
  const arrived = new Promise<void>((resolve) => (wake = resolve));
  const listener = await listenForPushes(
    HOST,
    0,
    (push) => pushes.push(structuredClone(push)),
    (frame) => {
      others.push(toHex(frame, 8));
      wake();
    },
  );
  const meter = await UdpSocket.open({ host: HOST, port: 0, onDatagram: () => {} });
  const out = new Uint8Array(64);
  const w = encodeDataNotificationHeader(new ByteWriter(out, WRAPPER_SIZE), 7, null);
  w.u8(0x11).u8(42);
  encodeWrapperHeader(out, 0, 1, 102, w.length);
  meter.send(out.slice(0, w.at), HOST, listener.port);
  meter.send(out.slice(0, w.at - 1), HOST, listener.port);
  meter.send(fromHex('00010001006600040f000000'), HOST, listener.port);
  meter.send(fromHex('0001000100660002db00'), HOST, listener.port);
  await arrived;
  assert.equal(pushes, [
    {
      serverSap: 1,
      clientSap: 102,
      kind: 'data',
      notification: { invoke: 7, dateTime: null, body: { type: 'unsigned', value: 42 } },
    },
  ]);
  assert.equal(others, ['db00']);
  await Promise.all([listener.close(), meter.close()]);
});

/** Two ends of a line, each behind a serial device server. */
async function line(): Promise<{ ports: BytePort[]; close: () => Promise<void> }> {
  const ends: net.Socket[] = [];
  const joined = net.createServer((socket) => {
    ends.push(socket);
    socket.setNoDelay(true);
    const [near, far] = ends;
    if (near && far) near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => joined.listen(0, HOST, resolve));
  const { port } = joined.address() as net.AddressInfo;
  const ports = [openTcpPort(HOST, port), openTcpPort(HOST, port)];
  await Promise.all(ports.map((end) => new Promise<void>((resolve) => (end.onState = () => resolve()))));
  return {
    ports,
    close: async () => {
      await Promise.all(ports.map((end) => end.close()));
      for (const end of ends) end.destroy();
      await new Promise((resolve) => joined.close(resolve));
    },
  };
}

Links('a meter on a line is read over HDLC, with noise before and a frame that breaks off', async () => {
  const meter = smallMeter({ rows: 20 });
  const { ports, close } = await line();
  const stop = serveDlmsOverSerial(ports[0]!, meter.server, 17);
  const channel = new HdlcChannel(ports[1]!, { clientSap: 17, physicalAddress: 17, maxInfo: 128 }, 500);
  ports[1]!.write(fromHex('00ff7ea0'));
  await channel.connect();
  await use((frame) => channel.exchange(frame), meter);
  await channel.disconnect();
  assert.is(meter.server.sessionCount, 0);
  stop();
  await close();
});

Links.run();
