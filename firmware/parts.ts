/** What the configuration says of the meter's parts, for the meter and for its self-test. */

import type { SteadyClock } from '#base/crypto';
import { invalidConfig } from '#base/errors';
import type { SettingStore } from '#dlms/cosem/setting';
import type { Config } from '#hw/config';
import { nodeCrypto } from '#hw/crypto';
import type { DisplayDriver, DisplaySettings } from '#hw/display/open';
import type { Controller } from '#hw/display/ssd1306';
import type { Log } from '#hw/log';
import type { RelayDriver, RelaySettings } from '#hw/relay/open';
import { type MeasurementImage, Quality, Quantity } from './measurement-image.ts';
import { readBootId, steadySinceBoot, WallClock } from './wall-clock.ts';

export function relaySettings(config: Config): RelaySettings {
  const driver = config.string('relay.driver') as RelayDriver;
  return {
    driver,
    path: driver === 'sim' ? config.string('relay.path') : undefined,
    pin: config.number('relay.pin'),
    chip: config.optionalString('relay.chip'),
    led: config.string('relay.led'),
    energised: config.string('relay.energised') as RelaySettings['energised'],
  };
}

export function displaySettings(config: Config): DisplaySettings {
  const driver = config.string('display.driver') as DisplayDriver;
  const height = config.number('display.height');
  if (height !== 32 && height !== 64) throw invalidConfig(`display.height ${height}: expected 64 or 32`);
  return {
    driver,
    path: driver === 'sim' ? config.string('display.path') : undefined,
    bus: config.number('display.bus'),
    address: config.number('display.address'),
    controller: config.string('display.controller') as Controller,
    height,
  };
}

/** Folder of what survives a restart. */
export function stateFolder(config: Config): string {
  return config.string('state.directory');
}

export function openWallClock(config: Config, settings: SettingStore, log?: Log): WallClock {
  return new WallClock({
    source: config.string('clock.source') as 'system' | 'bound',
    buildMs: S3MP_BUILD_S * 1000,
    settings,
    steadyClock: steadySinceBoot,
    bootId: readBootId(nodeCrypto.random),
    systemClock: Date.now,
    log,
  });
}

/** Reads the power, W; undefined while no good value is there. */
export function powerReader(image: MeasurementImage, clock: SteadyClock): () => number | undefined {
  return () =>
    image.quality(Quantity.activePower, clock()) === Quality.good ? image.value(Quantity.activePower) : undefined;
}
