/** A simulated DS3231 clock: its registers as bytes on I²C (data sheet, "Timekeeping registers"). Alarms are memory only. */

import type { I2cTarget } from './usb-i2c.ts';

const REGISTERS = 0x13;
/** Seconds, minutes, hours, day of the week, date, month, year; BCD each. */
const TIME = 7;
const CONTROL = 0x0e;
/** Square wave off, both alarms by interrupt: what the chip has after power on. */
const CONTROL_AT_START = 0x1c;
const TEMPERATURE = 0x11;
const CENTURY = 0x80;

const bcd = (value: number) => (Math.floor(value / 10) << 4) | (value % 10);
const decimal = (byte: number) => (byte >> 4) * 10 + (byte & 15);

export class SimDs3231 implements I2cTarget {
  private readonly now: () => number;
  private readonly registers = new Uint8Array(REGISTERS);
  private pointer = 0;
  private offsetMs = 0;

  /** @param now  ms since the epoch; the battery has kept it */
  constructor(now: () => number = Date.now) {
    this.now = now;
    this.registers[CONTROL] = CONTROL_AT_START;
    this.registers[TEMPERATURE] = 25;
  }

  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.pointer = bytes[0]! % REGISTERS;
    if (bytes.length === 1) return;
    this.keepTime();
    const first = this.pointer;
    for (const byte of bytes.subarray(1)) this.put(byte);
    if (first < TIME) this.offsetMs = this.time() - this.now();
  }

  read(length: number): readonly number[] {
    this.keepTime();
    return Array.from({ length }, () => {
      const byte = this.registers[this.pointer]!;
      this.pointer = (this.pointer + 1) % REGISTERS;
      return byte;
    });
  }

  private put(byte: number): void {
    this.registers[this.pointer] = byte;
    this.pointer = (this.pointer + 1) % REGISTERS;
  }

  private keepTime(): void {
    const date = new Date(this.now() + this.offsetMs);
    const [seconds, minutes, hours] = [date.getUTCSeconds(), date.getUTCMinutes(), date.getUTCHours()];
    const [day, month, year] = [date.getUTCDate(), date.getUTCMonth() + 1, date.getUTCFullYear() % 100];
    this.registers.set([seconds, minutes, hours, 0, day, month, year].map(bcd));
    this.registers[3] = date.getUTCDay() + 1;
  }

  /** What the registers say, ms since the epoch. */
  private time(): number {
    const [seconds, minutes, hours, , day, month, year] = this.registers;
    const monthOf = decimal(month! & ~CENTURY) - 1;
    return Date.UTC(
      2000 + decimal(year!),
      monthOf,
      decimal(day!),
      decimal(hours!),
      decimal(minutes!),
      decimal(seconds!),
    );
  }
}
