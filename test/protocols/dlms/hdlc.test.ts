/** HDLC: published frames in both directions, and whole links with lost, doubled and damaged frames. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { DlmsClient } from '#dlms/client';
import type { Exchange } from '#dlms/exchange';
import {
  Control,
  crc16,
  decodeFrame,
  decodeParameters,
  encodeAddress,
  encodeFrame,
  encodeParameters,
  type HdlcFrame,
  HdlcStream,
  LLC_SIZE,
} from '#dlms/hdlc';
import { HdlcClientLink, type HdlcClientOptions, type HdlcOperation } from '#dlms/hdlc-client';
import { HdlcServerLink } from '#dlms/hdlc-server';
import { seeded } from '#test/random';
import { APPEND, ECHO, NOTE, octets, PASSWORD, ROWS, smallMeter } from './small-device.ts';
import { vector, vectors } from './vectors.ts';

const Hdlc = suite('dlms hdlc');

const NONE = new Uint8Array(0);

function frameOf(hex: string): HdlcFrame {
  const frame = decodeFrame(fromHex(hex).slice(1, -1));
  assert.ok(frame, hex);
  return frame;
}

function written(destination: string, source: string, control: number, info: Uint8Array = NONE): string {
  const out = new Uint8Array(2100);
  return toHex(out, 0, encodeFrame(out, 0, fromHex(destination), fromHex(source), control, info));
}

Hdlc('checksum, addresses and every frame of the vectors, both ways', () => {
  assert.is(crc16(fromHex('033f'), 0, 2), 0xec5b);
  assert.is(toHex(encodeAddress(1)), vector('HDLC address 1/None').expected);
  assert.is(toHex(encodeAddress(16)), vector('HDLC address 16/None').expected);
  assert.is(toHex(encodeAddress(1, 17)), vector('HDLC address 1/17').expected);
  assert.is(toHex(encodeAddress(1, 0x3fff)), '0002feff');
  let frames = 0;
  for (const { name, expected } of vectors('hdlc')) {
    if (!expected.startsWith('7e')) continue;
    frames++;
    const { destination, source, control, info, isSegmented } = frameOf(expected);
    assert.not.ok(isSegmented);
    assert.is(written(toHex(destination.bytes), toHex(source.bytes), control, info), expected, name);
  }
  assert.is(frames, 6);
  const snrm = frameOf(vector('SNRM client 16 to server 1/17').expected);
  assert.equal(
    [snrm.destination.upper, snrm.destination.lower, snrm.source.upper, snrm.control],
    [1, 17, 16, Control.snrm],
  );
  const far = frameOf(vector('UA, 4-byte server address').expected);
  assert.equal([far.source.bytes.length, far.source.upper, far.source.lower], [4, 1, 17]);
  assert.is(toHex(frameOf(vector('I-frame AARQ').expected).info, 0, LLC_SIZE), 'e6e600');
});

Hdlc('parameters of the vectors, and what is missing or broken', () => {
  const ua = frameOf(vector('UA with parameters').expected).info;
  assert.equal(decodeParameters(ua), { maxInfoSend: 154, maxInfoReceive: 154, windowSend: 1, windowReceive: 1 });
  assert.is(toHex(encodeParameters(decodeParameters(ua)!)), toHex(ua));
  const wide = frameOf(vector('UA, 4-byte server address').expected).info;
  assert.equal(decodeParameters(wide), { maxInfoSend: 128, maxInfoReceive: 128, windowSend: 1, windowReceive: 1 });
  assert.equal(decodeParameters(NONE), { maxInfoSend: 128, maxInfoReceive: 128, windowSend: 1, windowReceive: 1 });
  for (const broken of [
    '81',
    '818001',
    '81800305019a00',
    '8180030501',
    '81800305011f',
    '8180060704000000',
    '818006070400000008',
    '828003050180',
  ])
    assert.is(decodeParameters(fromHex(broken)), undefined, broken);
});

Hdlc('frames are found in any pieces, among noise, with shared flags, and behind damaged ones', () => {
  const good = vectors('hdlc')
    .filter(({ expected }) => expected.startsWith('7e'))
    .map(({ expected }) => expected);
  const damaged = `${good[4]!.slice(0, 30)}ff${good[4]!.slice(32)}`;
  const shared = good[0]! + good[1]!.slice(2) + good[2]!.slice(2);
  const text = `00ff7e7e7e${shared}a5a5${damaged}${good[3]!}7ea00a${good[5]!}7ea00802232193bd657e${good[1]!}`;
  const expected = [good[0], good[1], good[2], good[3], good[5], good[1]].map((hex) => hex!.slice(2, -2));
  const bytes = fromHex(text);
  for (const size of [1, 2, 3, 7, 50, 1000]) {
    const stream = new HdlcStream(512);
    const seen: string[] = [];
    for (let at = 0; at < bytes.length; at += size)
      stream.push(bytes.subarray(at, at + size), ({ destination, source, control, info }) => {
        seen.push(written(toHex(destination.bytes), toHex(source.bytes), control, info).slice(2, -2));
      });
    assert.equal(seen, expected, `pieces of ${size}`);
  }
});

// Links

type Fault = (frame: Uint8Array, toServer: boolean) => readonly Uint8Array[];

/** A client link and a server link, frames between them go through `fault`. */
function rig(options: Partial<HdlcClientOptions> = {}, serverOptions: { maxInfo?: number; physical?: number } = {}) {
  const meter = smallMeter({ rows: 100, maxPdu: 1024 });
  const toClient: Uint8Array[] = [];
  const log: string[] = [];
  const link = new HdlcServerLink({
    maxPdu: 1024,
    serverSap: 1,
    ...(serverOptions.maxInfo ? { maxInfo: serverOptions.maxInfo } : {}),
    ...(serverOptions.physical ? { physicalAddress: serverOptions.physical } : {}),
    open: () => meter.server.session('hdlc', { transport: 'stream' }),
    send: (frame) => {
      log.push(`< ${toHex(frame)}`);
      toClient.push(...state.fault(frame.slice(), false));
    },
  });
  const state: { fault: Fault; now: number } = { fault: (frame) => [frame], now: 1000 };
  const serverStream = new HdlcStream(link.maxInfo);
  const clientStream = new HdlcStream(2030);
  const client = new HdlcClientLink({ clientSap: 17, ...options });
  const dlms = new DlmsClient({ clientSap: 17, password: PASSWORD });
  const inbox: HdlcFrame[] = [];

  /** Splits what the client wants to send into frames, as the line would lose them one by one. */
  const toServer = (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length; ) {
      const size = (((bytes[at + 1]! << 8) | bytes[at + 2]!) & 0x7ff) + 2;
      const frame = bytes.slice(at, at + size);
      at += size;
      log.push(`> ${toHex(frame)}`);
      for (const copy of state.fault(frame, true))
        serverStream.push(copy, (received) => link.receive(received, state.now));
    }
  };
  const run = <T>(operation: HdlcOperation<T>): T => {
    let step = operation.next();
    while (!step.done) {
      toServer(step.value);
      for (const frame of toClient.splice(0))
        clientStream.push(frame, (received) =>
          inbox.push({
            ...received,
            info: received.info.slice(),
            source: copyOf(received.source),
            destination: copyOf(received.destination),
          }),
        );
      state.now++;
      step = operation.next(inbox.shift() ?? null);
    }
    inbox.length = 0;
    return step.value;
  };
  const dlmsRun = <T>(operation: Exchange<T>): T => {
    let step = operation.next();
    while (!step.done) step = operation.next(run(client.exchange(step.value.slice())));
    return step.value;
  };
  return { meter, link, client, dlms, run, dlmsRun, log, state };
}

function copyOf(address: HdlcFrame['source']): HdlcFrame['source'] {
  return { ...address, bytes: address.bytes.slice() };
}

Hdlc('a link is connected, carries an association and values of any size, and is released', () => {
  for (const [options, maxInfo] of [
    [{}, 512],
    [{ maxInfo: 32, window: 1 }, 512],
    [{ maxInfo: 2030, window: 7 }, 64],
    [{ physicalAddress: 17, window: 3, maxInfo: 128 }, 128],
    [{ physicalAddress: 0x1234 }, 100],
  ] as const) {
    const { meter, client, dlms, run, dlmsRun, link } = rig(options, { maxInfo });
    run(client.connect());
    assert.is(
      client.parameters!.maxInfoSend,
      Math.min(options && 'maxInfo' in options ? options.maxInfo : 512, maxInfo),
    );
    dlmsRun(dlms.associate());
    for (const size of [0, 20, 100, 900, 3000]) {
      dlmsRun(dlms.set(NOTE, octets(size)));
      assert.equal(dlmsRun(dlms.get(NOTE)), octets(size));
    }
    const rows = dlmsRun(dlms.get(ROWS));
    assert.is(rows.type === 'array' && rows.value.length, 100);
    dlmsRun(dlms.release());
    run(client.disconnect());
    assert.not.ok(link.isConnected);
    assert.is(meter.server.sessionCount, 0, 'the session ends with the link');
  }
});

Hdlc('SNRM without parameters agrees on the defaults and is answered without any', () => {
  const { link, log, meter, state } = rig();
  const send = (hex: string) => link.receive(frameOf(hex), state.now);
  send(vector('SNRM client 16 to server 1/17').expected);
  assert.is(log.at(-1), `< ${written('21', '0223', Control.ua)}`);
  send(written('0223', '21', Control.disc));
  assert.is(log.at(-1), `< ${written('21', '0223', Control.ua)}`);
  assert.is(meter.server.sessionCount, 0);
  send(written('0223', '21', Control.disc));
  assert.is(log.at(-1), `< ${written('21', '0223', Control.dm)}`, 'DISC while disconnected');
});

Hdlc('the published AARQ frame associates with the public client of a meter that has one', () => {
  const { link, log } = rig();
  link.receive(frameOf(written('0223', '21', Control.snrm)), 0);
  link.receive(frameOf(vector('I-frame AARQ').expected), 0);
  // Client 16 is not configured here: refused in words, in one I frame with N(R) = 1 and F.
  const answer = frameOf(log.at(-1)!.slice(2));
  assert.is(answer.control, 0x30);
  assert.match(toHex(answer.info), /^e6e70061/);
});

Hdlc('what is not for this meter, or comes before SNRM, gets no answer', () => {
  const { link, log, state } = rig({}, { physical: 17 });
  const quiet = (hex: string) => {
    const before = log.length;
    link.receive(frameOf(hex), state.now);
    assert.is(log.length, before, hex);
  };
  quiet(vector('I-frame AARQ').expected);
  quiet(written('0225', '21', Control.snrm));
  quiet(written('0423', '21', Control.snrm));
  quiet(written('fe23', '21', Control.snrm));
  link.receive(frameOf(written('0223', '21', Control.snrm)), 0);
  assert.ok(link.isConnected);
  quiet(written('0223', '23', 0x11));
  quiet(written('0223', '21', Control.ui, Uint8Array.of(1, 2, 3)));
});

Hdlc('too much information, a number never sent and information in RR end the link', () => {
  for (const frame of [
    written('03', '23', 0x10, new Uint8Array(129)),
    written('03', '23', 0x10, Uint8Array.of(1, 2, 3, 4)),
    written('03', '23', 0x11, Uint8Array.of(1)),
  ]) {
    const { link, log } = rig();
    link.receive(frameOf(written('03', '23', Control.snrm)), 0);
    link.receive(frameOf(frame), 0);
    assert.is(frameOf(log.at(-1)!.slice(2)).control, Control.frmr);
    assert.not.ok(link.isConnected);
  }
  const { link, log } = rig();
  link.receive(frameOf(written('03', '23', Control.snrm)), 0);
  link.receive(frameOf(written('03', '23', 0x31)), 0);
  assert.is(log.length, 1, 'N(R) 1 before anything was sent');
  assert.ok(link.isConnected);
});

Hdlc('segments without end are refused when the APDU would be too long', () => {
  const { link, log } = rig();
  link.receive(frameOf(written('03', '23', Control.snrm)), 0);
  const out = new Uint8Array(256);
  for (let i = 0; link.isConnected && i < 20; i++) {
    const info = new Uint8Array(128);
    if (i === 0) info.set([0xe6, 0xe6, 0]);
    const end = encodeFrame(out, 0, Uint8Array.of(3), Uint8Array.of(0x23), ((i & 7) << 1) | 0x10, info, true);
    link.receive(decodeFrame(out.subarray(1, end - 1))!, 0);
  }
  assert.is(frameOf(log.at(-1)!.slice(2)).control, Control.frmr);
});

Hdlc('a link without frames is over after its time, and the meter forgets the session', () => {
  const { link, meter } = rig();
  link.receive(frameOf(written('03', '23', Control.snrm)), 0);
  link.expire(120_000);
  assert.ok(link.isConnected);
  link.expire(120_001);
  assert.not.ok(link.isConnected);
  assert.is(meter.server.sessionCount, 0);
});

Hdlc('a meter that forgets the link, or does not speak, is told apart', () => {
  const { client, dlms, dlmsRun, run, link, state } = rig();
  run(client.connect());
  dlmsRun(dlms.associate());
  link.close();
  const code = (act: () => void) => {
    try {
      act();
    } catch (error) {
      return (error as S3mpError).code;
    }
    return 'none';
  };
  assert.is(
    code(() => dlmsRun(dlms.get(NOTE))),
    'meter.unreachable',
  );
  state.fault = () => [];
  assert.is(
    code(() => run(client.connect())),
    'meter.unreachable',
  );
  assert.not.ok(client.isConnected);
});

Hdlc('frames that are lost, doubled or damaged cost time only: everything has its effect once', () => {
  const random = seeded();
  let broken = 0;
  let done = 0;
  for (let round = 0; round < 60; round++) {
    const maxInfo = [32, 64, 128, 512][round % 4]!;
    const { meter, client, dlms, run, dlmsRun, state } = rig({ maxInfo, window: 1 + (round % 7) });
    run(client.connect());
    dlmsRun(dlms.associate());
    state.fault = (frame) => {
      const luck = random.below(100);
      if (luck < 5) return [];
      if (luck < 8) return [frame, frame.slice()];
      if (luck < 11) frame[random.below(frame.length)]! ^= 1 << random.below(8);
      return [frame];
    };
    try {
      for (let i = 0; i < 10; i++) {
        const value = octets(random.below(800), i);
        const before = meter.note.log.length;
        assert.equal(dlmsRun(dlms.action(i & 1 ? ECHO : APPEND, value)), i & 1 ? value : null);
        assert.is(meter.note.log.length, before + 1);
        assert.equal(meter.note.log.at(-1), value);
        done++;
      }
    } catch (error) {
      // Three repetitions in a row lost: the operation is unknown, the link is given up.
      assert.ok(error instanceof S3mpError && error.code === 'meter.unreachable', String(error));
      broken++;
    }
  }
  console.log(`${done} operations, ${broken} links given up`);
  assert.ok(done > 400);
});

Hdlc('whatever bytes come, neither side breaks, and the next honest client works', () => {
  const random = seeded();
  const { link, meter, log, state } = rig();
  const stream = new HdlcStream(link.maxInfo);
  const seeds = vectors('hdlc')
    .filter(({ expected }) => expected.startsWith('7e'))
    .map(({ expected }) => fromHex(expected));
  const out = new Uint8Array(1200);
  for (let i = 0; i < 20_000; i++) {
    let bytes: Uint8Array;
    if (random.below(3) === 0) {
      bytes = seeds[random.below(seeds.length)]!.slice();
      for (let n = random.below(4); n >= 0; n--) bytes[random.below(bytes.length)] = random.below(256);
    } else {
      // Right checksums, any control byte and information.
      const info = random.bytes(random.below(4) === 0 ? random.below(600) : random.below(8));
      if (random.below(2)) info.set([0xe6, 0xe6, 0].slice(0, info.length));
      const control = random.below(2) ? random.below(256) : [0x93, 0x53, 0x10, 0x11, 0x13][random.below(5)]!;
      bytes = out.slice(
        0,
        encodeFrame(out, 0, Uint8Array.of(3), Uint8Array.of(0x23), control, info, random.below(4) === 0),
      );
    }
    stream.push(bytes, (frame) => link.receive(frame, state.now++));
    log.length = 0;
  }
  stream.reset();
  link.close();
  assert.is(meter.server.sessionCount, 0);
  const after = rig();
  after.run(after.client.connect());
  after.dlmsRun(after.dlms.associate());
});

Hdlc('a client survives any frame of a meter', () => {
  const random = seeded();
  const out = new Uint8Array(700);
  for (let round = 0; round < 3000; round++) {
    const { client, dlms, run, dlmsRun, state } = rig();
    run(client.connect());
    state.fault = (frame, toServer) => {
      if (toServer || random.below(2)) return [frame];
      const info = random.bytes(random.below(40));
      const end = encodeFrame(
        out,
        0,
        Uint8Array.of(0x23),
        Uint8Array.of(3),
        random.below(256),
        info,
        random.below(2) === 0,
      );
      return [out.slice(0, end)];
    };
    try {
      dlmsRun(dlms.associate());
    } catch (error) {
      assert.ok(error instanceof S3mpError, String(error));
    }
  }
});

Hdlc.run();
