/** Opens the display that a configuration names. */

import { invalidConfig } from '#base/errors';
import { type Display, noDisplay } from '#hw/display';
import { openOled } from '#hw/display/oled';
import {
  findFramebuffer,
  framebufferPanel,
  type I2cDevice,
  openI2cBus,
  openI2cTransfer,
  type Panel,
  ssd1306Panel,
} from '#hw/display/panel';
import type { Controller } from '#hw/display/ssd1306';
import type { Log } from '#hw/log';
import { openSimDisplay } from '#hw/sim/display';

export const DISPLAY_DRIVERS = ['none', 'sim', 'auto', 'i2c', 'i2ctransfer', 'framebuffer'] as const;
export type DisplayDriver = (typeof DISPLAY_DRIVERS)[number];

export interface DisplaySettings {
  readonly driver: DisplayDriver;
  /** Folder of the twin, for `sim`. */
  readonly path?: string | undefined;
  readonly bus: number;
  readonly address: number;
  readonly controller: Controller;
  /** Rows of pixels. */
  readonly height: number;
  /** Where sysfs is mounted, and the devices: /sys and /dev. */
  readonly root?: string;
  readonly devices?: string;
}

/** @throws ConfigError `config.invalid` for a height that no panel has */
export function openDisplay(settings: DisplaySettings, log: Log): Display {
  const { driver, path, bus, address, controller, height, root = '/sys', devices = '/dev' } = settings;
  if (height !== 64 && height !== 32) throw invalidConfig(`display.height ${height}: expected 64 or 32`, { height });
  if (driver === 'none') return noDisplay;
  if (driver === 'sim') return openSimDisplay(path!, { controller, height, log });
  const place = `0x${address.toString(16)} of i2c-${bus}`;
  const panel = (): Panel => {
    if (driver === 'framebuffer' || (driver === 'auto' && findFramebuffer(root) !== undefined))
      return framebufferPanel(root, devices, height);
    const way = driver === 'auto' ? 'I2C' : driver === 'i2c' ? 'i2c-bus' : driver;
    return ssd1306Panel(
      `${controller} at ${place} by ${way}`,
      () => openDevice(driver, bus, address),
      controller,
      height,
    );
  };
  return openOled({ panel: panel(), height, log });
}

async function openDevice(driver: DisplayDriver, bus: number, address: number): Promise<I2cDevice> {
  if (driver === 'i2ctransfer') return openI2cTransfer(bus, address);
  try {
    return await openI2cBus(bus, address);
  } catch (error) {
    if (driver === 'auto') return openI2cTransfer(bus, address);
    throw error;
  }
}
