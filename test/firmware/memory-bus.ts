/**
 * A bus in memory and in virtual time: answers the poll loop's requests with replies that were built beforehand, so
 * that nothing but the loop under test allocates.
 */

import type { BytePort } from '#hw/serial/port';
import type { SimMeter } from '#hw/sim/or-we-514';
import { MAX_FRAME } from '#modbus/rtu';
import type { PollLoop } from '../../firmware/poll-loop.ts';

export class MemoryBus implements BytePort {
  readonly name = 'memory';
  isOpen = true;
  onData: BytePort['onData'] = () => {};
  onState: BytePort['onState'] = () => {};
  /** Start addresses of the requests, for those who want them. */
  readonly asked: number[] = [];
  requests = 0;
  /** How long every answer takes, ms. */
  readonly latencyMs: number;
  mute = false;
  private readonly meter: SimMeter;
  private readonly recording: boolean;
  private readonly replies: (Uint8Array | undefined)[] = new Array(0x10000).fill(undefined);
  private reply: Uint8Array | undefined;

  constructor(meter: SimMeter, latencyMs: number, recording: boolean) {
    this.meter = meter;
    this.latencyMs = latencyMs;
    this.recording = recording;
  }

  write(frame: Uint8Array): void {
    const start = (frame[2]! << 8) | frame[3]!;
    if (this.recording) this.asked.push(start);
    this.requests++;
    const reply = this.replies[start] ?? this.build(frame);
    this.replies[start] = reply;
    this.reply = this.mute ? undefined : reply;
  }

  /** Runs `loop` in virtual time from `loop.time[0]` on until `requests` more have been sent. */
  run(loop: PollLoop, requests: number): void {
    const { time, master } = loop;
    const until = this.requests + requests;
    while (this.requests < until || this.reply !== undefined) {
      loop.step();
      if (this.reply !== undefined) {
        const { reply } = this;
        this.reply = undefined;
        time[0]! += this.latencyMs;
        master.now[0] = time[0]!;
        master.receive(reply, reply.length);
      } else if (time[1]! > time[0]!) time[0] = time[1]!;
    }
  }

  close(): Promise<void> {
    this.isOpen = false;
    return Promise.resolve();
  }

  private build(frame: Uint8Array): Uint8Array {
    const out = new Uint8Array(MAX_FRAME);
    return out.slice(0, this.meter.answer(frame, frame.length, out, 0));
  }
}
