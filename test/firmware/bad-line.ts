/**
 * A serial line that damages what passes, in virtual time: every byte may change, stray bytes come between, the adapter
 * may echo, and the meter may hang and answer late. Behind it is the simulated meter, whose values change all the time
 * and are remembered, so that a value that it never gave, or gave no longer at the time of its reading, is found out.
 */

import type { BytePort } from '#hw/serial/port';
import { SimMeter } from '#hw/sim/or-we-514';
import type { LineTiming } from '#modbus/line-timing';
import { MAX_FRAME } from '#modbus/rtu';
import type { Random } from '#test/random';
import type { MeasurementImage } from '../../firmware/measurement-image.ts';
import type { PollLoop } from '../../firmware/poll-loop.ts';
import { type Faults, MeterHistory, noFaults, spoil } from './line-faults.ts';

const BURST = 8;

export class BadLine implements BytePort {
  readonly name = 'bad line';
  isOpen = true;
  onData: BytePort['onData'] = () => {};
  onState: BytePort['onState'] = () => {};
  readonly faults: Faults = noFaults();
  requests = 0;
  /** Requests that were the same as the one before. */
  repeats = 0;
  private last: Uint8Array | undefined;
  private readonly queue: { at: number; bytes: Uint8Array }[] = [];
  readonly meter = new SimMeter(1);
  private readonly history: MeterHistory;
  private freeAt = 0;
  private readonly random: Random;
  private readonly timing: LineTiming;
  private now = 0;

  constructor(random: Random, timing: LineTiming) {
    this.random = random;
    this.timing = timing;
    this.history = new MeterHistory(random);
    this.change();
  }

  write(frame: Uint8Array): void {
    this.requests++;
    if (this.last === frame) this.repeats++;
    this.last = frame;
    const { characterMs } = this.timing;
    const end = this.now + frame.length * characterMs;
    if (this.faults.echo) this.say(frame, end);
    const request = spoil(frame, { ...this.faults, stray: 0 }, this.random);
    const out = new Uint8Array(MAX_FRAME);
    const length = this.meter.answer(request, request.length, out, 0);
    // A meter has room for one request.
    if (length === 0 || this.isBehind || this.faults.hangMs === Number.POSITIVE_INFINITY) return;
    this.freeAt = end + 15 + this.faults.hangMs;
    for (let at = 0; at < length; at += BURST) {
      const part = out.slice(at, Math.min(length, at + BURST));
      this.say(part, this.freeAt + (at + part.length) * characterMs);
    }
    this.freeAt += length * characterMs;
    if (!this.faults.steady && this.random.below(20) === 0) this.change();
  }

  close(): Promise<void> {
    this.isOpen = false;
    return Promise.resolve();
  }

  /** Whether the meter still has requests to answer. */
  get isBehind(): boolean {
    return this.freeAt > this.now;
  }

  /** Runs the loop until `requests` more have been sent or `ms` have passed; `look` sees the image after each event. */
  run(loop: PollLoop, look: (now: number) => void, requests: number, ms = Number.POSITIVE_INFINITY): void {
    const { time, master } = loop;
    const until = this.requests + requests;
    const end = this.now + ms;
    while (this.requests < until && this.now < end) {
      time[0] = this.now;
      loop.step();
      const due = time[1]!;
      const next = this.queue[0];
      if (next !== undefined && next.at <= due) {
        this.queue.shift();
        this.now = Math.max(this.now, next.at);
        master.now[0] = this.now;
        master.receive(next.bytes, next.bytes.length);
      } else this.now = Math.max(this.now, due);
      look(this.now);
    }
  }

  /** See `MeterHistory.wrong`. */
  wrong(image: MeasurementImage, now: number): string[] {
    return this.history.wrong(image, now);
  }

  private change(): void {
    for (const [address, word] of Object.entries(this.history.next(this.now)))
      this.meter.setRegister(Number(address), word);
    this.history.settle(this.now);
  }

  private say(bytes: Uint8Array, at: number): void {
    let i = this.queue.length;
    while (i > 0 && this.queue[i - 1]!.at > at) i--;
    this.queue.splice(i, 0, { at, bytes: spoil(bytes, this.faults, this.random) });
  }
}
