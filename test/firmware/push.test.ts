/** Pushes over real sockets: plain UDP, and SCION on the path of the destination's latest request. */

import { createSocket } from 'node:dgram';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiText } from '#base/bytes';
import { createLog } from '#hw/log';
import { ScionSocket } from '#hw/scion-socket';
import { emptyPath } from '#scion/combinator';
import { parseTopology } from '#scion/topology';
import { Pusher } from '../../firmware/push.ts';

const quiet = createLog('test', { write: () => {} });
const topology = parseTopology({
  isd_as: '1-ff00:0:111',
  mtu: 1472,
  dispatched_ports: '1024-65535',
  border_routers: {},
});
const FRAME = Uint8Array.of(0, 1, 0, 1, 0, 1, 0, 3, 0x0f, 1, 2);

const Push = suite('push');

Push('over UDP a datagram leaves at once', async () => {
  const listener = createSocket('udp4');
  await new Promise<void>((resolve) => listener.bind(0, '127.0.0.1', resolve));
  try {
    const arrived = new Promise<Uint8Array>((resolve) => listener.once('message', resolve));
    assert.ok(new Pusher(quiet).send(`127.0.0.1:${listener.address().port}`, FRAME));
    assert.equal(Uint8Array.from(await arrived), FRAME);
  } finally {
    listener.close();
  }
});

Push('over SCION only to who was heard of, on the reversed path, at the port of the destination', async () => {
  const open = (hostIp: string) => ScionSocket.open({ topology, hostIp, shim: false, log: quiet });
  const [meter, headend, listener] = await Promise.all([open('127.93.0.1'), open('127.93.0.2'), open('127.93.0.2')]);
  try {
    const seen: string[] = [];
    const requested = new Promise<void>((resolve) => {
      meter.onDatagram = (payload) => {
        seen.push(asciiText(payload));
        resolve();
      };
    });
    const pusher = new Pusher(quiet);
    pusher.open(meter);
    const to = `1-ff00:0:111,[127.93.0.2]:${listener.local.port}`;
    assert.not(pusher.send(to, FRAME), 'not heard of yet');
    const { ia } = meter.local;
    headend.send(meter.local, new TextEncoder().encode('hello'), emptyPath(ia, topology.mtu));
    await requested;
    assert.equal(seen, ['hello'], 'the server still gets its datagrams');
    const arrived = new Promise<Uint8Array>((resolve) => {
      listener.onDatagram = (payload) => resolve(payload.slice());
    });
    assert.ok(pusher.send(to, FRAME));
    assert.equal(await arrived, FRAME);
    for (const nonsense of ['', 'x', '1-ff00:0:111,[127.93.0.9]:4059', '1-ff00:0:111,127.93.0.2', '127.0.0.1'])
      assert.not(pusher.send(nonsense, FRAME), nonsense);
  } finally {
    await Promise.all([meter.close(), headend.close(), listener.close()]);
  }
});

Push.run();
