/** A simulated energy meter on a bus in virtual time: answers after 30 ms with what its registers hold then. */

import type { BytePort } from '#hw/serial/port';
import type { SimMeter } from '#hw/sim/or-we-514';
import { MAX_FRAME } from '#modbus/rtu';
import type { PollLoop } from '../../firmware/poll-loop.ts';

const LATENCY_MS = 30;

export class VirtualBus implements BytePort {
  readonly name = 'virtual';
  isOpen = true;
  onData: BytePort['onData'] = () => {};
  onState: BytePort['onState'] = () => {};
  readonly #out = new Uint8Array(MAX_FRAME);
  #size = 0;
  #nowMs = 0;
  readonly #meter: SimMeter;

  constructor(meter: SimMeter) {
    this.#meter = meter;
  }

  write(frame: Uint8Array): void {
    this.#size = this.#meter.answer(frame, frame.length, this.#out, this.#nowMs);
  }

  async close(): Promise<void> {}

  /** Runs the loop up to a time of its steady clock. @param worldMs  the energy meter's time when that clock began */
  run(loop: PollLoop, untilMs: number, worldMs: number): void {
    const { time, master } = loop;
    for (;;) {
      loop.step();
      if (this.#size > 0) {
        time[0]! += LATENCY_MS;
        this.#nowMs = worldMs + time[0]!;
        master.now[0] = time[0]!;
        master.receive(this.#out, this.#size);
        this.#size = 0;
      } else if (time[1]! > untilMs) break;
      else if (time[1]! > time[0]!) time[0] = time[1]!;
    }
    time[0] = Math.max(time[0]!, untilMs);
  }
}
