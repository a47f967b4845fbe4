import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GUARD_MS } from '#test/guard';
import { ask, type HttpRig, httpRig, TestStream } from './http-rig.ts';

const Stream = suite<{ rig: HttpRig; streams: TestStream[] }>('event stream');

Stream.before.each(async (context) => {
  context.rig = await httpRig({ stream: { heartbeatMs: 150, ring: 5, maxStreams: 12 } });
  context.streams = [];
});
Stream.after.each(async ({ rig, streams }) => {
  for (const stream of streams) stream.close();
  await rig.close();
});

const tell = (rig: HttpRig, message: string) => rig.fleet.event('test', 'info', 'm1', message);
const messages = (stream: TestStream) => stream.events.filter((e) => e.event === 'event').map((e) => e.data.message);

Stream('begins with hello, brings what happens and a heartbeat', async ({ rig, streams }) => {
  const stream = await TestStream.open(rig.port);
  streams.push(stream);
  const hello = await stream.untilEvent('hello');
  assert.match(hello.data.stream, /^stream-/);
  await ask(rig.port, { method: 'POST', path: '/api/v1/meters/m1/readings', body: {} });
  const reading = await stream.untilEvent('reading');
  assert.is(reading.data.values[0].value, 412);
  assert.is(reading.id, undefined);
  const state = await stream.until((e) => e.event === 'state' && e.data.state === 'online', 'state online');
  assert.is(state.data.id, 'm1');
  assert.is((await stream.untilEvent('event')).data.kind, 'meter.online');
  assert.ok((await stream.untilEvent('heartbeat')).data.at);
});

Stream('topics and meters filter; unknown topics are refused', async ({ rig, streams }) => {
  const only = await TestStream.open(rig.port, '?topics=command');
  const other = await TestStream.open(rig.port, '?meters=m2');
  streams.push(only, other);
  await other.untilEvent('hello');
  await tell(rig, 'one');
  const headers = { 'idempotency-key': 'k' };
  const body = { type: 'message', text: 'hi' };
  await ask(rig.port, { method: 'POST', path: '/api/v1/meters/m1/commands', body, headers });
  await only.until((e) => e.data.state === 'verified', 'verified');
  const states = only.events.filter((e) => e.event === 'command').map((e) => e.data.state);
  assert.equal(states, ['queued', 'sent', 'acknowledged', 'verified']);
  assert.equal(messages(only), []);
  await other.untilEvent('heartbeat');
  assert.equal(
    other.events.filter((e) => e.event !== 'hello' && e.event !== 'heartbeat'),
    [],
  );
  assert.is((await ask(rig.port, { path: '/api/v1/stream?topics=gossip' })).status, 422);
});

Stream('a client that comes back gets exactly what it missed', async ({ rig, streams }) => {
  const first = await TestStream.open(rig.port);
  streams.push(first);
  await first.untilEvent('hello');
  await tell(rig, 'one');
  const { id } = await first.untilEvent('event');
  first.close();
  await tell(rig, 'two');
  await tell(rig, 'three');
  const second = await TestStream.open(rig.port, '', id);
  streams.push(second);
  await second.until((e) => e.data.message === 'three', 'three');
  await tell(rig, 'four');
  await second.until((e) => e.data.message === 'four', 'four');
  assert.equal(messages(second), ['two', 'three', 'four']);
  assert.not.ok(second.events.some((e) => e.event === 'reset'));
});

Stream('a heartbeat carries the place, so a client that filtered much can still resume', async ({ rig, streams }) => {
  const first = await TestStream.open(rig.port, '?topics=command');
  streams.push(first);
  await first.untilEvent('hello');
  for (let i = 0; i < 9; i++) await tell(rig, `e${i}`);
  const before = first.events.length;
  const beat = await first.until((e) => e.event === 'heartbeat' && first.events.indexOf(e) >= before, 'heartbeat');
  first.close();
  const second = await TestStream.open(rig.port, '?topics=command', beat.id);
  streams.push(second);
  await second.untilEvent('heartbeat');
  assert.not.ok(second.events.some((e) => e.event === 'reset'));
});

Stream(
  'who was away for too long, or comes from another life of the server, is told to start anew',
  async (context) => {
    const { rig, streams } = context;
    const first = await TestStream.open(rig.port);
    streams.push(first);
    await tell(rig, 'one');
    const { id } = await first.untilEvent('event');
    first.close();
    for (let i = 0; i < 6; i++) await tell(rig, `more ${i}`);
    for (const old of [id!, 'deadbeef-1', 'garbage', `${id!.split('-')[0]}-999`, '']) {
      const stream = await TestStream.open(rig.port, '', old);
      streams.push(stream);
      await stream.untilEvent('reset');
      assert.equal(messages(stream), [], old);
    }
  },
);

Stream('a subscription lives with its stream and ends after it', async ({ rig, streams }) => {
  const viewers = await Promise.all(Array.from({ length: 10 }, () => TestStream.open(rig.port, '?topics=reading')));
  streams.push(...viewers);
  for (const viewer of viewers) {
    const hello = await viewer.untilEvent('hello');
    const body = { intervalMs: 1000, stream: hello.data.stream };
    await ask(rig.port, { method: 'POST', path: '/api/v1/meters/m1/live', body });
  }
  const from = rig.meter.reads;
  const started = performance.now();
  const count = (n: number) => () => viewers[9]!.events.filter((e) => e.event === 'reading').length >= n;
  await viewers[9]!.until(count(3), 'third reading');
  const seconds = (performance.now() - started) / 1000;
  assert.ok(rig.meter.reads - from <= Math.ceil(seconds) + 1, `${rig.meter.reads - from} reads in ${seconds} s`);
  assert.is((await rig.fleet.meter('m1')).live!.viewers, 10);
  for (const viewer of viewers) viewer.close();
  const end = performance.now() + GUARD_MS;
  while ((await rig.fleet.meter('m1')).live !== null && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.is((await rig.fleet.meter('m1')).live, null);
});

Stream('streams are bounded in number', async ({ rig, streams }) => {
  for (let i = 0; i < 12; i++) streams.push(await TestStream.open(rig.port));
  assert.is((await ask(rig.port, { path: '/api/v1/stream' })).status, 429);
});

Stream(
  'a client that does not read loses readings but no events, and one that never reads is cut off',
  async (context) => {
    const rig = await httpRig({ stream: { heartbeatMs: 60_000, maxUnsentBytes: 200_000 } });
    try {
      const socket = connect(rig.port, '127.0.0.1');
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.pause();
      socket.write('GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n');
      while (!/s3mp_http_streams 1/.test(rig.fleet.metrics.text())) await new Promise((r) => setTimeout(r, 5));
      const reading = await rig.fleet.read('m1');
      // Far more than the socket's buffers hold: readings must be held back, not piled up.
      for (let i = 0; i < 20_000; i++) {
        rig.fleet.feed.publish({ topic: 'reading', meter: 'm1', data: { ...reading, delayMs: i } });
      }
      await tell(rig, 'important');
      let text = '';
      socket.on('data', (chunk) => (text += chunk));
      socket.resume();
      const end = performance.now() + GUARD_MS;
      while (!(text.includes('important') && text.includes('"delayMs":19999')) && performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.ok(text.includes('important'), 'the event came');
      assert.ok(text.includes('"delayMs":19999'), 'the newest reading came');
      const readings = text.match(/event: reading/g)!.length;
      assert.ok(readings < 19_000, `${readings} of 20000 readings were sent`);
      socket.pause();
      const closed = new Promise((resolve) => socket.once('close', resolve));
      for (let i = 0; i < 4000; i++) {
        const data = { seq: i, at: '2026-01-01T00:00:00.000Z', kind: 'flood', severity: 'info', meter: null } as const;
        rig.fleet.feed.publish({ topic: 'event', meter: null, data: { ...data, message: 'x'.repeat(2000) } });
      }
      socket.resume();
      await closed;
      const gone = performance.now() + GUARD_MS;
      while (!/s3mp_http_streams 0/.test(rig.fleet.metrics.text()) && performance.now() < gone) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      assert.match(rig.fleet.metrics.text(), /s3mp_http_streams 0/);
      context.streams.length = 0;
    } finally {
      await rig.close();
    }
  },
);

Stream.run();
