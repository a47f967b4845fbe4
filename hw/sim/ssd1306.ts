/** A simulated SSD1306 or SH1106 in page mode: takes the bytes of I2C transfers and holds what the panel would show. */

import { Bitmap } from '#hw/display/bitmap';
import { type Controller, PANEL_WIDTH } from '#hw/display/ssd1306';

/** Commands that are followed by one byte. */
const WITH_PARAMETER = [0x20, 0x81, 0x8d, 0xa8, 0xad, 0xd3, 0xd5, 0xd9, 0xda, 0xdb];

export class SimSsd1306 {
  readonly #bitmap: Bitmap;
  readonly #offset: number;
  #page = 0;
  #column = 0;
  #parameterOf = 0;
  isOn = false;
  /** Bytes of all transfers. */
  received = 0;

  constructor(controller: Controller, height: number) {
    this.#bitmap = new Bitmap(PANEL_WIDTH, height);
    this.#offset = controller === 'sh1106' ? 2 : 0;
  }

  /** What the panel shows; dark while it is off. */
  get picture(): Bitmap {
    return this.isOn ? this.#bitmap : new Bitmap(PANEL_WIDTH, this.#bitmap.height);
  }

  /** One transfer: control bytes 00 and 40 rule the rest, 80 and C0 the next byte. */
  write(transfer: Uint8Array): void {
    this.received += transfer.length;
    for (let at = 0; at < transfer.length; ) {
      const control = transfer[at++]!;
      const end = control & 0x80 ? at + 1 : transfer.length;
      for (; at < end; at++) {
        if (control & 0x40) this.#data(transfer[at]!);
        else this.#command(transfer[at]!);
      }
    }
  }

  #data(byte: number): void {
    const x = this.#column++ - this.#offset;
    const { bytes } = this.#bitmap;
    if (x >= 0 && x < PANEL_WIDTH && this.#page * PANEL_WIDTH < bytes.length)
      bytes[this.#page * PANEL_WIDTH + x] = byte;
  }

  #command(byte: number): void {
    if (this.#parameterOf !== 0) this.#parameterOf = 0;
    else if (WITH_PARAMETER.includes(byte)) this.#parameterOf = byte;
    else if (byte >> 4 === 0x0) this.#column = (this.#column & 0xf0) | byte;
    else if (byte >> 4 === 0x1) this.#column = (this.#column & 0x0f) | ((byte & 15) << 4);
    else if (byte >> 4 === 0xb) this.#page = byte & 15;
    else if (byte >> 1 === 0xae >> 1) this.isOn = byte === 0xaf;
  }
}
