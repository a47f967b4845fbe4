/** The I²C adapter and the clock that an emulated board is given, asked as QEMU and the kernel's drivers ask them. */

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { SimDs3231 } from './ds3231.ts';
import { UsbI2c } from './usb-i2c.ts';

const ADDRESS = 0x68;
const SECOND_BEFORE_MIDNIGHT = Date.UTC(2027, 11, 31, 23, 59, 59);
const CONTROL_PACKET = 100;
const IN = 0xc1;
const OUT = 0x41;
const TRANSFER = 7;
const STATUS = 3;
const READ = 1;
const STALLED = 4;

interface Answer {
  readonly type: number;
  readonly id: number;
  readonly body: Buffer;
}

/** The emulator's end of the wire. */
class Host {
  private readonly socket: Socket;
  private pending = Buffer.alloc(0);
  private wake: () => void = () => {};

  constructor(path: string) {
    this.socket = connect(path);
    this.socket.on('data', (bytes) => {
      this.pending = Buffer.concat([this.pending, bytes]);
      this.wake();
    });
  }

  async next(): Promise<Answer> {
    for (;;) {
      const end = this.pending.length < 12 ? Number.POSITIVE_INFINITY : 12 + this.pending.readUInt32LE(4);
      if (this.pending.length >= end) {
        const packet = this.pending.subarray(0, end);
        this.pending = this.pending.subarray(end);
        return { type: packet.readUInt32LE(0), id: packet.readUInt32LE(8), body: packet.subarray(12) };
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Byte by byte, as a stream may bring it. */
  async control(
    id: number,
    requestType: number,
    request: number,
    value: number,
    index: number,
    data: number[] | number,
  ) {
    const [length, sent] = typeof data === 'number' ? [data, []] : [data.length, data];
    const packet = Buffer.alloc(22 + sent.length);
    packet.set([0, request, requestType, 0], 12);
    for (const [i, field] of [CONTROL_PACKET, 10 + sent.length, id].entries()) packet.writeUInt32LE(field, 4 * i);
    for (const [i, field] of [value, index, length].entries()) packet.writeUInt16LE(field, 16 + 2 * i);
    packet.set(sent, 22);
    for (const byte of packet) this.socket.write(Uint8Array.of(byte));
    const answer = await this.next();
    assert.is(answer.type, CONTROL_PACKET);
    assert.is(answer.id, id);
    return { status: answer.body[3]!, length: answer.body.readUInt16LE(8), data: [...answer.body.subarray(10)] };
  }

  close(): void {
    this.socket.destroy();
  }
}

async function onBus(test: (host: Host) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-usb-'));
  const clock = new SimDs3231(() => SECOND_BEFORE_MIDNIGHT);
  const adapter = await UsbI2c.start(join(folder, 'usb'), new Map([[ADDRESS, clock]]));
  const host = new Host(adapter.path);
  try {
    const types: number[] = [];
    for (let i = 0; i < 4; i++) types.push((await host.next()).type);
    assert.equal(types, [0, 4, 5, 1], 'hello, interfaces, endpoints, then the device');
    await test(host);
  } finally {
    host.close();
    await adapter.stop();
    rmSync(folder, { recursive: true });
  }
}

const Adapter = suite('I²C adapter of the emulated board');

Adapter('describes itself, a descriptor cut to the length that is asked for', () =>
  onBus(async (host) => {
    const device = await host.control(1, 0x80, 6, 0x0100, 0, 18);
    assert.is(device.data.length, 18);
    assert.equal(device.data.slice(8, 12), [0x03, 0x04, 0x31, 0xc6], 'the ids that the driver looks for');
    assert.is((await host.control(2, 0x80, 6, 0x0200, 0, 9)).data.length, 9);
    assert.is(
      (await host.control(3, 0x80, 6, 0x0600, 0, 10)).status,
      STALLED,
      'a device of one speed has no qualifier',
    );
  }),
);

Adapter('reads and sets a clock', () =>
  onBus(async (host) => {
    assert.is((await host.control(1, OUT, TRANSFER, 0, ADDRESS, [0])).length, 1);
    const time = await host.control(2, IN, TRANSFER, READ, ADDRESS, 7);
    assert.equal(time.data, [0x59, 0x59, 0x23, 6, 0x31, 0x12, 0x27]);
    await host.control(3, OUT, TRANSFER, 0, ADDRESS, [0, 0x05, 0x04, 0x03, 2, 0x29, 0x02, 0x28]);
    await host.control(4, OUT, TRANSFER, 0, ADDRESS, [0]);
    const set = await host.control(5, IN, TRANSFER, READ, ADDRESS, 7);
    assert.equal(set.data, [0x05, 0x04, 0x03, 3, 0x29, 0x02, 0x28], 'and the day of the week by the date');
    assert.equal((await host.control(6, IN, STATUS, 0, 0, 1)).data, [1]);
  }),
);

Adapter('says that nothing answers at another address', () =>
  onBus(async (host) => {
    await host.control(1, OUT, TRANSFER, 0, 0x3c, [0, 0xaf]);
    assert.equal((await host.control(2, IN, STATUS, 0, 0, 1)).data, [2]);
  }),
);

Adapter.run();
