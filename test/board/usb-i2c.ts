/**
 * An I²C adapter for USB (the open i2c-tiny-usb) with devices of ours, plugged into an emulated board, whose chip has no I²C
 * controller: QEMU forwards the USB device over a socket (usbredir protocol 0.7), Linux's driver i2c-tiny-usb makes a bus of
 * it. Only control transfers are needed, all answered at once.
 */

import { createServer, type Server, type Socket } from 'node:net';

/** Packets of usbredir: type, length of what follows, id; little-endian u32 each. */
const HEADER = 12;
const Packet = {
  hello: 0,
  deviceConnect: 1,
  interfaceInfo: 4,
  endpointInfo: 5,
  setConfiguration: 6,
  getConfiguration: 7,
  configurationStatus: 8,
  setAlternate: 9,
  getAlternate: 10,
  alternateStatus: 11,
  control: 100,
} as const;
/** Endpoint, request, request type, status, then value, index and length as u16. */
const CONTROL = 10;
const SUCCESS = 0;
const STALL = 4;
const FULL_SPEED = 1;
/** Endpoints 0 to 15 out, then in. */
const ENDPOINTS = 32;
const NO_ENDPOINT = 255;
const VERSION_SIZE = 64;

const VENDOR = 0x0403;
const PRODUCT = 0xc631;
const CLASS_VENDOR = 0xff;
const le16 = (value: number) => [value & 0xff, value >> 8];
/** USB 2.0, 9.6.1, 9.6.3 and 9.6.5: one configuration, one interface, no endpoint beside the control pipe. */
const DESCRIPTORS: Readonly<Record<number, readonly number[]>> = {
  1: [18, 1, ...le16(0x0110), 0, 0, 0, 8, ...le16(VENDOR), ...le16(PRODUCT), ...le16(0x0205), 0, 0, 0, 1],
  2: [9, 2, ...le16(18), 1, 1, 0, 0x80, 5, 9, 4, 0, 0, 0, CLASS_VENDOR, 0, 0, 0],
};
const GET_STATUS = 0;
const GET_DESCRIPTOR = 6;
const DIRECTION_IN = 0x80;
const TYPE_VENDOR = 0x40;

/** Requests of the adapter; a transfer has two flags, for its begin and its end, on top. */
const Command = { functions: 1, delay: 2, status: 3, transfer: 4, last: 7 } as const;
/** Plain I²C transfers and what the kernel makes of them for SMBus. */
const FUNCTIONS = [0x01, 0x00, 0xff, 0x8e];
const ACKNOWLEDGED = 1;
const NOT_ACKNOWLEDGED = 2;
const MESSAGE_READ = 1;

/** A device on the bus. */
export interface I2cTarget {
  /** Takes what a transfer writes. */
  write(bytes: Uint8Array): void;
  read(length: number): readonly number[];
}

export class UsbI2c {
  /** Path that QEMU's socket connects to. */
  readonly path: string;
  private readonly server: Server;
  private readonly targets: ReadonlyMap<number, I2cTarget>;
  private acknowledged = true;
  private configuration = 0;

  private constructor(path: string, targets: ReadonlyMap<number, I2cTarget>) {
    this.path = path;
    this.targets = targets;
    this.server = createServer((socket) => this.serve(socket));
  }

  /** @param targets  the devices by their addresses */
  static async start(path: string, targets: ReadonlyMap<number, I2cTarget>): Promise<UsbI2c> {
    const adapter = new UsbI2c(path, targets);
    await new Promise<void>((resolve, reject) => adapter.server.once('error', reject).listen(path, resolve));
    return adapter;
  }

  async stop(): Promise<void> {
    await new Promise((resolve) => this.server.close(resolve));
  }

  private serve(socket: Socket): void {
    let pending: Buffer = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= HEADER) {
        const end = HEADER + pending.readUInt32LE(4);
        if (pending.length < end) return;
        this.answer(socket, pending.readUInt32LE(0), pending.readUInt32LE(8), pending.subarray(HEADER, end));
        pending = pending.subarray(end);
      }
    });
    const version = Buffer.alloc(VERSION_SIZE);
    version.write('i2c-tiny-usb');
    send(socket, Packet.hello, 0, version);
    // One interface, and of the endpoints the control pipe only, which has type 0.
    const interfaces = Buffer.alloc(4 + 4 * ENDPOINTS);
    interfaces.writeUInt32LE(1, 0);
    interfaces[4 + ENDPOINTS] = CLASS_VENDOR;
    send(socket, Packet.interfaceInfo, 0, interfaces);
    const endpoints = Buffer.alloc(3 * ENDPOINTS);
    endpoints.fill(NO_ENDPOINT, 0, ENDPOINTS);
    endpoints[0] = endpoints[ENDPOINTS / 2] = 0;
    send(socket, Packet.endpointInfo, 0, endpoints);
    send(socket, Packet.deviceConnect, 0, [FULL_SPEED, 0, 0, 0, ...le16(VENDOR), ...le16(PRODUCT)]);
  }

  private answer(socket: Socket, type: number, id: number, body: Buffer): void {
    if (type === Packet.setConfiguration || type === Packet.getConfiguration) {
      if (type === Packet.setConfiguration) this.configuration = body[0]!;
      send(socket, Packet.configurationStatus, id, [SUCCESS, this.configuration]);
    } else if (type === Packet.setAlternate || type === Packet.getAlternate)
      send(socket, Packet.alternateStatus, id, [SUCCESS, body[0]!, 0]);
    else if (type === Packet.control) this.control(socket, id, body);
  }

  private control(socket: Socket, id: number, body: Buffer): void {
    const [, request, requestType] = body as unknown as [number, number, number];
    const [value, index, length] = [body.readUInt16LE(4), body.readUInt16LE(6), body.readUInt16LE(8)];
    const isIn = (requestType & DIRECTION_IN) !== 0;
    const data =
      (requestType & TYPE_VENDOR) !== 0
        ? this.adapter(request, value, index, length, body.subarray(CONTROL))
        : request === GET_DESCRIPTOR
          ? DESCRIPTORS[value >> 8]
          : request === GET_STATUS && isIn
            ? [0, 0]
            : undefined;
    const content = isIn ? (data ?? []).slice(0, length) : [];
    const head = Buffer.from(body.subarray(0, CONTROL));
    head[3] = data ? SUCCESS : STALL;
    if (isIn || !data) head.writeUInt16LE(content.length, 8);
    send(socket, Packet.control, id, [...head, ...content]);
  }

  /** A request of the adapter. @returns what the host reads; undefined for a request that it does not know */
  private adapter(
    request: number,
    value: number,
    index: number,
    length: number,
    data: Uint8Array,
  ): readonly number[] | undefined {
    if (request === Command.functions) return FUNCTIONS;
    if (request === Command.delay) return [];
    if (request === Command.status) return [this.acknowledged ? ACKNOWLEDGED : NOT_ACKNOWLEDGED];
    if (request < Command.transfer || request > Command.last) return undefined;
    const target = this.targets.get(index);
    this.acknowledged = target !== undefined;
    if ((value & MESSAGE_READ) !== 0) return target?.read(length) ?? new Array<number>(length).fill(0);
    target?.write(data);
    return [];
  }
}

function send(socket: Socket, type: number, id: number, body: Uint8Array | readonly number[]): void {
  const packet = Buffer.alloc(HEADER + body.length);
  packet.writeUInt32LE(type, 0);
  packet.writeUInt32LE(body.length, 4);
  packet.writeUInt32LE(id, 8);
  packet.set(body, HEADER);
  socket.write(packet);
}
