/** The meter. Wiring only. */

import { configCheckVerb, type Program, runProgram, stopRequested, type Verb } from '#hw/cli';
import type { Config } from '#hw/config';
import { metersOnBus } from './bus.ts';
import { FIRMWARE_CONFIG } from './config.ts';
import { dumpVerb } from './dump.ts';
import { enrolCommand } from './enrol-command.ts';
import { startMeter } from './meter.ts';
import { displaySettings, relaySettings } from './parts.ts';
import { selfTestVerb } from './self-test-device.ts';

const run: Verb = {
  summary: 'read the energy meter and serve it over DLMS and SCION',
  async run({ config, log }) {
    const stop = stopRequested();
    const meter = await startMeter(config, log);
    log.info('ready', {
      meter: meter.name,
      address: meter.address,
      tcp: meter.tcpAddress ?? null,
      udp: meter.udpAddress ?? null,
    });
    const status = await Promise.race([stop, meter.restarted]);
    await meter.close();
    return status ?? 0;
  },
};

const enrol: Verb = {
  summary: 'show the one-time code and wait until the head end has enrolled this meter',
  run: enrolCommand,
};

/** @throws ConfigError, as the meter's start would */
function judgeConfig(config: Config): void {
  metersOnBus(config);
  relaySettings(config);
  displaySettings(config);
}

const program: Program = {
  name: 'firmware',
  summary: 'smart meter: energy meter on Modbus, relay, display, DLMS/COSEM server over SCION',
  version: S3MP_VERSION,
  config: FIRMWARE_CONFIG,
  verbs: { run, enrol, 'self-test': selfTestVerb, dump: dumpVerb, 'config check': configCheckVerb(judgeConfig) },
  defaultVerb: 'run',
};

void runProgram(program, process.argv.slice(2)).then((status) => process.exit(status));
