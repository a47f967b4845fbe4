/**
 * A serial line that damages what passes, in virtual time: every byte may change, stray bytes come between, the adapter
 * may echo, and the meter may hang and answer late. Behind it is the simulated meter, whose values change with every
 * answer and are remembered, so that a value that it never gave, or gave no longer at the time of its reading, is found out.
 */

import type { BytePort } from '#hw/serial/port';
import { SimMeter } from '#hw/sim/or-we-514';
import type { LineTiming } from '#modbus/master';
import { MAX_FRAME } from '#modbus/rtu';
import type { Random } from '#test/random';
import { type MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import type { PollLoop } from '../../firmware/poll-loop.ts';
import { plausibleValues, registersOf } from '../interop/pymodbus.ts';

export interface Faults {
  /** Bytes of 1000 that arrive changed. */
  damaged: number;
  /** Chunks of 1000 that have stray bytes before them. */
  stray: number;
  echo: boolean;
  /** The meter takes this much longer, ms; Infinity: it does not answer. */
  hangMs: number;
  /** The values stay as they are. */
  steady: boolean;
}

const QUANTITIES = Object.values(Quantity).slice(0, 9);
const BURST = 8;

export class BadLine implements BytePort {
  readonly name = 'bad line';
  isOpen = true;
  onData: BytePort['onData'] = () => {};
  onState: BytePort['onState'] = () => {};
  readonly faults: Faults = { damaged: 0, stray: 0, echo: false, hangMs: 0, steady: false };
  requests = 0;
  private readonly queue: { at: number; bytes: Uint8Array }[] = [];
  private readonly meter = new SimMeter(1);
  /** By quantity: when each of its values was in the registers for the last time. */
  private readonly served = QUANTITIES.map(() => new Map<number, number>());
  private present: number[] = [];
  private activeEnergy = 197_936;
  private reactiveEnergy = 102_348;
  private freeAt = 0;
  private readonly random: Random;
  private readonly timing: LineTiming;
  private now = 0;

  constructor(random: Random, timing: LineTiming) {
    this.random = random;
    this.timing = timing;
    this.change();
  }

  write(frame: Uint8Array): void {
    this.requests++;
    const { characterMs } = this.timing;
    const end = this.now + frame.length * characterMs;
    if (this.faults.echo) this.say(frame, end);
    const request = frame.map((byte) => this.spoil(byte));
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

  /** Quantities whose value is given unmarked and was never in the meter's registers, or only before its time. */
  wrong(image: MeasurementImage, now: number): string[] {
    return QUANTITIES.filter((q) => {
      if (image.quality(q, now) !== Quality.good) return false;
      const given = image.value(q);
      // Between its counts the active energy is integrated.
      const value = q === Quantity.activeEnergy ? given - (given % 10) : given;
      if (value === this.present[q]) return false;
      const lastAt = this.served[q]!.get(value);
      return lastAt === undefined || lastAt < image.updatedAt(q);
    }).map((q) => {
      const name = Object.keys(Quantity)[q];
      return `${name} ${image.value(q)} of ${image.updatedAt(q)}, there until ${this.served[q]!.get(image.value(q))}`;
    });
  }

  /** Other values in all registers, energies that grow. */
  private change(): void {
    this.activeEnergy += this.random.below(2);
    this.reactiveEnergy += this.random.below(2);
    const { activeEnergy, reactiveEnergy } = this;
    const v = { ...plausibleValues(this.random), activeEnergy, reactiveEnergy };
    for (const [address, word] of Object.entries(registersOf(v))) this.meter.setRegister(Number(address), word);
    const { voltage, current, frequency, activePower, reactivePower, apparentPower, powerFactor } = v;
    const live = [voltage, current, frequency, activePower, reactivePower, apparentPower, powerFactor];
    this.present.forEach((value, q) => {
      this.served[q]!.set(value, this.now);
    });
    this.present = [...live, 10 * activeEnergy, 10 * reactiveEnergy];
  }

  private say(bytes: Uint8Array, at: number): void {
    const stray = this.random.below(1000) < this.faults.stray ? this.random.bytes(1 + this.random.below(3)) : [];
    const spoiled = Uint8Array.from([...stray, ...bytes.map((byte) => this.spoil(byte))]);
    let i = this.queue.length;
    while (i > 0 && this.queue[i - 1]!.at > at) i--;
    this.queue.splice(i, 0, { at, bytes: spoiled });
  }

  private spoil(byte: number): number {
    return this.random.below(1000) < this.faults.damaged ? this.random.below(256) : byte;
  }
}
