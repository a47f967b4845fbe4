import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { BFD_DEFAULTS, BFD_LENGTH, BfdSession, BfdState, type BfdTimers, decodeBfd, encodeBfd } from '#scion/bfd';
import { parseIp } from '#scion/ip';
import {
  isStunRequest,
  MAX_STUN_RESPONSE,
  readStunResponse,
  STUN_REQUEST_LENGTH,
  writeStunRequest,
  writeStunResponse,
} from '#scion/stun';
import { seeded } from '../../random.ts';
import vectors from '../../vectors/scion-packets.json';

const Bfd = suite('BFD and STUN');

Bfd('the control packet of the official test, both ways', () => {
  const { inputs, expected } = vectors['packet-bfd-empty-path'];
  const { bfd } = inputs;
  const packet = {
    diagnostic: bfd.diag,
    state: bfd.state,
    detectMult: bfd.detect_mult,
    myDiscriminator: Number(`0x${bfd.my_disc}`),
    yourDiscriminator: Number(`0x${bfd.your_disc}`),
    desiredMinTxUs: bfd.desired_min_tx_us,
    requiredMinRxUs: bfd.required_min_rx_us,
  };
  const out = new Uint8Array(BFD_LENGTH);
  assert.is(encodeBfd(out, 0, packet), BFD_LENGTH);
  assert.is(toHex(out), expected.bfd_hex);
  assert.equal(decodeBfd(out, 0, BFD_LENGTH), packet);
});

Bfd('packets with what is not in use are discarded', () => {
  const good = fromHex(vectors['packet-bfd-empty-path'].expected.bfd_hex);
  const read = (change: (p: Uint8Array) => void, end = BFD_LENGTH) => {
    const packet = good.slice();
    change(packet);
    return decodeBfd(packet, 0, end);
  };
  assert.ok(read(() => {}));
  const broken: ((p: Uint8Array) => void)[] = [
    (p) => (p[0] = 0x40),
    (p) => (p[2] = 0),
    (p) => (p[3] = 23),
    (p) => (p[3] = 25),
    (p) => p.fill(0, 4, 8),
    (p) => p.fill(0, 8, 12),
    (p) => (p[23] = 1),
    ...[0x20, 0x10, 0x04, 0x02, 0x01].map((flag) => (p: Uint8Array) => (p[1]! |= flag)),
  ];
  broken.forEach((change, i) => {
    assert.is(read(change), undefined, `case ${i}`);
  });
  assert.is(
    read(() => {}, 23),
    undefined,
  );
  // While down, the neighbour does not know us yet.
  assert.ok(
    read((p) => {
      p.fill(0, 8, 12);
      p[1] = BfdState.down << 6;
    }),
  );
  const random = seeded();
  for (let i = 0; i < 20_000; i++) {
    const raw = random.bytes(random.below(32));
    const packet = decodeBfd(raw, 0, raw.length);
    if (packet === undefined) continue;
    const out = new Uint8Array(BFD_LENGTH);
    encodeBfd(out, 0, packet);
    assert.equal(decodeBfd(out, 0, BFD_LENGTH), packet);
  }
});

/** Two sessions over a line that delays and loses, under a virtual clock. */
class Line {
  nowMs = 0;
  readonly ends: BfdSession[];
  cut: [boolean, boolean] = [false, false];
  readonly sentAt: number[][] = [[], []];
  private readonly wire: { at: number; to: number; bytes: Uint8Array }[] = [];
  private readonly delayMs: number;

  constructor(timers: BfdTimers[], delayMs: number, random: () => number) {
    this.delayMs = delayMs;
    this.ends = timers.map((t, i) => new BfdSession(t, 0x100 + i, 0, random));
  }

  restart(end: number, random: () => number): void {
    this.ends[end] = new BfdSession(BFD_DEFAULTS, 0x9999, this.nowMs, random);
  }

  runUntil(endMs: number): void {
    while (this.nowMs < endMs) {
      const due = [...this.ends.map((e) => e.nextDeadline()), ...this.wire.map((w) => w.at), endMs];
      this.nowMs = Math.max(this.nowMs, Math.min(...due));
      for (const packet of this.wire.filter((w) => w.at <= this.nowMs)) {
        this.wire.splice(this.wire.indexOf(packet), 1);
        this.ends[packet.to]!.receive(packet.bytes, 0, BFD_LENGTH, this.nowMs);
      }
      this.ends.forEach((end, i) => {
        if (!end.poll(this.nowMs)) return;
        const bytes = new Uint8Array(BFD_LENGTH);
        end.write(bytes, 0);
        this.sentAt[i]!.push(this.nowMs);
        if (!this.cut[i]) this.wire.push({ at: this.nowMs + this.delayMs, to: 1 - i, bytes });
      });
    }
  }

  get states(): number[] {
    return this.ends.map((e) => e.info.state);
  }
}

const UP = [BfdState.up, BfdState.up];
const { down } = BfdState;

function lineUp(timers: BfdTimers[] = [BFD_DEFAULTS, BFD_DEFAULTS], delayMs = 20): Line {
  const random = seeded();
  const line = new Line(timers, delayMs, () => random.u32() / 2 ** 32);
  line.runUntil(3000);
  assert.equal(line.states, UP);
  return line;
}

Bfd('two sessions come up, and stay up on a quiet line', () => {
  const line = lineUp();
  line.runUntil(120_000);
  assert.equal(line.states, UP);
  for (const { info } of line.ends) assert.ok(info.changes <= 2, `${info.changes} changes of state`);
  const gaps = line.sentAt[0]!.slice(-200).map((t, i, all) => (i === 0 ? 175 : t - all[i - 1]!));
  assert.ok(Math.min(...gaps) >= 150 && Math.max(...gaps) <= 200, `${Math.min(...gaps)} to ${Math.max(...gaps)}`);
});

Bfd('a cut line is noticed by both ends within the detection time, and healed in about a second', () => {
  const line = lineUp();
  const cutAt = line.nowMs;
  line.cut = [true, true];
  line.runUntil(cutAt + 650);
  assert.equal(line.states, [down, down]);
  for (const { info } of line.ends) {
    assert.is(info.diagnostic, 1);
    assert.ok(info.sinceMs - cutAt <= 620, `after ${info.sinceMs - cutAt} ms`);
    assert.is(info.sinceMs - info.lastReceivedMs, 600);
  }
  line.runUntil(cutAt + 10_000);
  const slow = line.sentAt[0]!.filter((t) => t > cutAt + 2000);
  assert.ok(slow.length <= 12, `${slow.length} packets in eight seconds while down`);
  line.cut = [false, false];
  line.runUntil(cutAt + 12_500);
  assert.equal(line.states, UP);
});

Bfd('a line that is dead one way brings both ends down: the deaf one by time, the other because it is told', () => {
  const line = lineUp();
  const at = line.nowMs;
  line.cut = [true, false];
  line.runUntil(at + 900);
  assert.equal(line.states, [down, down]);
  assert.equal(
    line.ends.map((e) => e.info.diagnostic),
    [3, 1],
  );
  line.runUntil(at + 20_000);
  assert.ok(!line.ends.some((e) => e.isUp));
});

Bfd('a neighbour that starts again is met again', () => {
  const line = lineUp();
  line.restart(1, () => 0.3);
  line.runUntil(line.nowMs + 100);
  assert.is(line.ends[0]!.isUp, false);
  line.runUntil(line.nowMs + 3000);
  assert.equal(line.states, UP);
});

Bfd('each end keeps to the slower of what it wants and what the other bears', () => {
  const line = lineUp([
    { detectMult: 3, desiredMinTxMs: 50, requiredMinRxMs: 50 },
    { detectMult: 5, desiredMinTxMs: 100, requiredMinRxMs: 300 },
  ]);
  line.sentAt.forEach((_, i) => {
    line.sentAt[i] = [];
  });
  line.runUntil(line.nowMs + 30_000);
  const [a, b] = line.sentAt.map((t) => t.length);
  assert.ok(a! >= 100 && a! <= 134, `${a} packets at 225 to 300 ms`);
  assert.ok(b! >= 300 && b! <= 400, `${b} packets at 75 to 100 ms`);
  assert.equal(
    line.ends.map((e) => e.info.detectionMs),
    [500, 900],
  );
});

Bfd('with one packet per detection time none may be late', () => {
  const quick = { detectMult: 1, desiredMinTxMs: 200, requiredMinRxMs: 200 };
  const line = lineUp([quick, quick], 0);
  line.runUntil(60_000);
  assert.equal(line.states, UP);
  const gaps = line.sentAt[0]!.slice(-200).map((t, i, all) => (i === 0 ? 170 : t - all[i - 1]!));
  assert.ok(Math.max(...gaps) <= 180.001);
});

Bfd('every own state meets every remote state as RFC 5880 says', () => {
  const { adminDown, init, up } = BfdState;
  const next: Record<number, Record<number, number>> = {
    [down]: { [adminDown]: down, [down]: init, [init]: up, [up]: down },
    [init]: { [adminDown]: down, [down]: init, [init]: up, [up]: up },
    [up]: { [adminDown]: down, [down]: down, [init]: up, [up]: up },
  };
  const bring = { [down]: [], [init]: [down], [up]: [init] } as Record<number, number[]>;
  const packet = (state: number) => {
    const bytes = new Uint8Array(BFD_LENGTH);
    encodeBfd(bytes, 0, {
      diagnostic: 0,
      state,
      detectMult: 3,
      myDiscriminator: 5,
      yourDiscriminator: 1,
      desiredMinTxUs: 200_000,
      requiredMinRxUs: 200_000,
    });
    return bytes;
  };
  for (const own of [down, init, up]) {
    for (const remote of [adminDown, down, init, up]) {
      const session = new BfdSession(BFD_DEFAULTS, 1, 0, () => 0);
      for (const state of bring[own]!) session.receive(packet(state), 0, BFD_LENGTH, 0);
      assert.is(session.info.state, own);
      session.receive(packet(remote), 0, BFD_LENGTH, 1);
      assert.is(session.info.state, next[own]![remote], `${own} meets ${remote}`);
    }
  }
});

Bfd('STUN request and response of the vector, and what is no request', () => {
  const { inputs, expected } = vectors.stun;
  const id = fromHex(inputs.txid_hex);
  const request = new Uint8Array(STUN_REQUEST_LENGTH);
  assert.is(writeStunRequest(request, 0, id), STUN_REQUEST_LENGTH);
  assert.is(toHex(request), expected.request_hex);
  assert.ok(isStunRequest(request, 0, request.length));
  const out = new Uint8Array(MAX_STUN_RESPONSE);
  const end = writeStunResponse(out, 0, request, 0, parseIp('192.0.2.7')!, 31000);
  assert.is(toHex(out, 0, end), expected.response_hex);
  assert.equal(readStunResponse(out, 0, end, id), { host: parseIp('192.0.2.7'), port: 31000 });
  const v6 = writeStunResponse(out, 0, request, 0, parseIp('2001:db8::7')!, 9);
  assert.equal(readStunResponse(out, 0, v6, id), { host: parseIp('2001:db8::7'), port: 9 });
  assert.is(readStunResponse(out, 0, v6, new Uint8Array(12)), undefined);
  for (let at = 0; at < request.length; at++) {
    const changed = request.slice();
    changed[at]! ^= 0x10;
    assert.not(isStunRequest(changed, 0, changed.length), `byte ${at}`);
    assert.not(isStunRequest(request, 0, at));
  }
  const random = seeded();
  for (let i = 0; i < 20_000; i++) {
    const raw = out.slice(0, random.below(2) ? v6 : random.below(v6));
    for (let n = random.below(3); n >= 0 && raw.length > 0; n--) raw[random.below(raw.length)] = random.below(256);
    readStunResponse(raw, 0, raw.length, id);
  }
});

Bfd.run();
