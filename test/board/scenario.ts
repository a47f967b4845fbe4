/**
 * What an emulated Pi Zero must show: it comes up into the meter by itself, reads a foreign energy meter over its UART,
 * answers the head end over SCION and a foreign client over TCP, and opens and closes its contact when it is told to. Each
 * step says what it saw; the first that does not see it throws.
 */

import { until } from '../e2e/platform.ts';
import { type ClientPeer, runClient } from '../interop/dlms-peers.ts';
import { expect, type Medium, RELAY_PIN, Rig, type Say } from './rig.ts';
import { BOARD_ADDRESS, DLMS_PORT, type World } from './world.ts';

const BOOT_MS = 300_000;
/** Of a watchdog that waits 30 s by the board's own clock. */
const WATCHDOG_MS = 180_000;
const VOLTAGE = '1-0:32.7.0.255';
const NET_POWER = '1-0:16.7.0.255';

export interface ScenarioOptions {
  /** For everything that is written. */
  readonly folder: string;
  readonly bundles: string;
  /** Makes what the board boots from. */
  readonly makeMedium: (folder: string, world: World) => Medium;
  readonly gurux: ClientPeer | undefined;
  readonly say: Say;
  readonly bootMs?: number;
  /** Pull the plug at the end, with the contact open, and see the board come up once more. */
  readonly twice?: boolean;
}

/** @returns pictures of the display (PNG) by name, where the medium has one on a bus */
export async function runScenario(options: ScenarioOptions): Promise<Map<string, Uint8Array>> {
  const { folder, bundles, say, gurux, bootMs = BOOT_MS } = options;
  const pictures = new Map<string, Uint8Array>();
  const rig = await Rig.start(folder, bundles, say);
  try {
    say('host', 'gateways of 1-ff00:0:110 and 1-ff00:0:111 and the head end run; pymodbus is the energy meter');
    const medium = options.makeMedium(folder, rig.world);
    await rig.powerOn(medium);
    const first = await rig.firstReading(bootMs);
    expect(registerIn(first, VOLTAGE) === 231.42, 'the voltage of the foreign meter');
    if (gurux?.version !== undefined) await askGurux(gurux, rig.world.password, say);
    if (medium.hasPanel) pictures.set('connected', await rig.picture());

    await rig.command('disconnect');
    const off = await rig.read();
    rig.tell(off);
    expect(registerIn(off, NET_POWER) === 0, 'no power behind the open contact');
    if (medium.hasPanel) pictures.set('disconnected', await rig.picture(pictures.get('connected')));
    await rig.command('connect');
    expect(rig.moves.join() === 'true,false', `GPIO ${RELAY_PIN} went up and down once: ${rig.moves}`);

    await rig.command('disconnect');
    expect(rig.resets === 0, 'a board that has not reset itself while the meter fed the watchdog');
    await rig.freeze();
    if (medium.whenHung === 'reset') await until('the watchdog resets the board', () => rig.resets > 0, WATCHDOG_MS);
    else await rig.hears(/s3mp-meter\.service: Watchdog timeout/, WATCHDOG_MS);
    await rig.firstReading(bootMs, true);
    // A chip that was reset lets go of the pin until the meter opens the contact again; a new process moves nothing.
    const moves = medium.whenHung === 'reset' ? 'true,false,true,false,true' : 'true,false,true';
    expect(rig.moves.join() === moves, `the contact where it was commanded to: ${rig.moves}`);
    await rig.command('connect');

    if (options.twice) {
      await rig.command('disconnect');
      await rig.powerOff();
      say('host', 'power off');
      await rig.powerOn(medium);
      await rig.firstReading(bootMs, true);
      const before = medium.fingerprint?.();
      expect(rig.moves.join() === 'true', `the contact went to where it was, and only there: ${rig.moves}`);
      await rig.command('connect');
      await rig.powerOff();
      expect(medium.fingerprint?.() === before, 'nothing was written to the root while the meter ran');
      say('host', 'power off; while it ran not a byte of the root has changed');
    }
    return pictures;
  } catch (error) {
    await rig.explain();
    throw error;
  } finally {
    await rig.stop();
  }
}

function registerIn(reading: Awaited<ReturnType<Rig['read']>>, obis: string): number | null | undefined {
  return reading.values.find((value) => value.obis === obis)?.value;
}

async function askGurux({ client, version }: ClientPeer, password: string, say: Say): Promise<void> {
  const plan = { password, steps: [['view'], ['registers'], ['release']] };
  const [opened, view, registers] = await runClient(client, DLMS_PORT, plan, BOARD_ADDRESS);
  expect(opened?.associated !== undefined, `an association of Gurux: ${opened?.error}`);
  const volts: number = registers!.result['1.0.32.7.0.255'][0];
  say('Gurux', `${version} over TCP: ${view!.result.length} objects, voltage ${volts.toFixed(2)} V`);
  expect(Math.round(volts * 100) === 23_142, 'the same voltage');
}
