/** Ways to a panel: an SSD1306 behind some I2C transport, and the kernel's framebuffer. */

import { existsSync, readdirSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '#base/errors';
import { PAGE_HEIGHT } from '#hw/display/bitmap';
import { type Controller, encodeRun, initialTransfer, MAX_TRANSFER, PANEL_ON, PANEL_WIDTH } from '#hw/display/ssd1306';
import { readNode } from '#hw/relay/output';
import { spawn } from '#hw/spawn';

export interface Panel {
  /** For people: `SSD1306 at 0x3c of i2c-1 by i2c-bus`. */
  readonly name: string;
  /** Gets the panel ready for a whole picture. @throws Error when there is none */
  begin(): Promise<void>;
  /** Sends columns `from` to `to` (exclusive) of one page of a picture. @throws Error when the panel is gone */
  send(picture: Uint8Array, page: number, from: number, to: number): Promise<void>;
  /** Called when a picture is complete. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

/** One I2C device. */
export interface I2cDevice {
  readonly name: string;
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** @param openDevice  opens the bus; again after each loss */
export function ssd1306Panel(
  name: string,
  openDevice: () => Promise<I2cDevice>,
  controller: Controller,
  height: number,
): Panel {
  const transfer = new Uint8Array(MAX_TRANSFER);
  let device: I2cDevice | undefined;
  let isOn = false;
  const close = async () => {
    const old = device;
    device = undefined;
    await old?.close();
  };
  return {
    name,
    async begin() {
      await close();
      device = await openDevice();
      isOn = false;
      await device.write(initialTransfer(controller, height));
    },
    send: (picture, page, from, to) =>
      device!.write(transfer.subarray(0, encodeRun(controller, picture, page, from, to, transfer))),
    async finish() {
      if (!isOn) await device!.write(PANEL_ON);
      isOn = true;
    },
    close,
  };
}

interface I2cBus {
  i2cWrite(address: number, length: number, buffer: Uint8Array): Promise<unknown>;
  close(): Promise<void>;
}

/** By the optional addon i2c-bus, which writes in the thread pool. @throws Error when it cannot be loaded */
export async function openI2cBus(bus: number, address: number): Promise<I2cDevice> {
  // Neither the compiler nor the bundler may look for a package that need not be there.
  const name = 'i2c-bus';
  const { openPromisified } = (await import(name).catch((error) => {
    throw new Error(`i2c-bus cannot be loaded (${messageOf(error).split('\n')[0]}); i2ctransfer needs no addon`);
  })) as { openPromisified(bus: number): Promise<I2cBus> };
  const opened = await openPromisified(bus);
  return {
    name: 'i2c-bus',
    write: async (bytes) =>
      void (await opened.i2cWrite(address, bytes.length, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))),
    close: () => opened.close(),
  };
}

const COMMAND_LIMIT_MS = 5_000;

/** By the command of the package i2c-tools, one process a transfer. */
export async function openI2cTransfer(bus: number, address: number): Promise<I2cDevice> {
  return {
    name: 'i2ctransfer',
    write: (bytes) =>
      new Promise((resolve, reject) => {
        const words = ['-y', String(bus), `w${bytes.length}@${address}`, ...Array.from(bytes, String)];
        const child = spawn('i2ctransfer', words, { stdio: ['ignore', 'ignore', 'pipe'], timeout: COMMAND_LIMIT_MS });
        let errors = '';
        child.stderr!.on('data', (chunk) => (errors += chunk));
        child.on('error', (error) => reject(new Error(`i2ctransfer: ${messageOf(error)}; apt-get install i2c-tools`)));
        child.on('close', (status) =>
          status === 0 ? resolve() : reject(new Error(errors.trim() || `i2ctransfer ended with status ${status}`)),
        );
      }),
    close: async () => {},
  };
}

/** Framebuffer of the kernel's driver for these panels: `fb0`; undefined when there is none. @param root  /sys */
export function findFramebuffer(root: string): string | undefined {
  const folder = join(root, 'class/graphics');
  if (!existsSync(folder)) return undefined;
  return readdirSync(folder).find(
    (name) => /^fb\d+$/.test(name) && /ssd130|solomon/i.test(readNode(join(folder, name, 'name'))),
  );
}

/**
 * By the kernel's overlay (`dtoverlay=ssd1306`): rows of one bit a pixel, the lowest bit of a byte on the left.
 * @throws Error in `begin` when the framebuffer has another shape
 */
export function framebufferPanel(root: string, device: string, height: number): Panel {
  let file: FileHandle | undefined;
  const stride = PANEL_WIDTH / 8;
  const rows = new Uint8Array(stride * PAGE_HEIGHT);
  const close = async () => {
    const old = file;
    file = undefined;
    await old?.close();
  };
  return {
    name: `framebuffer ${device}`,
    async begin() {
      await close();
      const name = findFramebuffer(root);
      if (name === undefined) throw new Error('no framebuffer of an SSD1306; is dtoverlay=ssd1306 in config.txt?');
      const about = (file: string) => readNode(join(root, 'class/graphics', name, file));
      const shape = `${about('virtual_size')} ${about('bits_per_pixel')}`;
      if (shape !== `${PANEL_WIDTH},${height} 1`)
        throw new Error(`${name} is ${shape} bits a pixel, expected ${PANEL_WIDTH},${height} 1`);
      const { open } = process.getBuiltinModule('node:fs/promises');
      file = await open(join(device, name), 'r+');
    },
    async send(picture, page) {
      rows.fill(0);
      for (let x = 0; x < PANEL_WIDTH; x++) {
        const column = picture[page * PANEL_WIDTH + x]!;
        for (let y = 0; y < PAGE_HEIGHT; y++) if (column & (1 << y)) rows[y * stride + (x >> 3)]! |= 1 << (x & 7);
      }
      await file!.write(rows, 0, rows.length, page * rows.length);
    },
    finish: async () => {},
    close,
  };
}
