/**
 * The self-test at the device: opens each part of the configuration by itself and looks at it. The meter must be stopped,
 * since bus and address belong to one process. With `--sim` the parts are twins on this machine.
 */

import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError, messageOf } from '#base/errors';
import type { Verb } from '#hw/cli';
import { type Config, loadConfig } from '#hw/config';
import { nodeCrypto } from '#hw/crypto';
import { openDisplay } from '#hw/display/open';
import { writeKeyFile } from '#hw/dlms-keys';
import { readHostTopologyFile } from '#hw/files';
import { checkOwner } from '#hw/folder-lock';
import { createLog, type Log } from '#hw/log';
import { ScionEndpoint } from '#hw/scion-endpoint';
import { readRelayValue } from '#hw/sim/relay';
import { startSteadyMeter } from '#hw/sim/steady-meter';
import { formatEndpoint } from '#scion/address';
import type { FileTopology } from '#scion/host-topology';
import { formatIpPort } from '#scion/ip';
import { metersOnBus, openPollLoop } from './bus.ts';
import { FIRMWARE_CONFIG } from './config.ts';
import { tryContact } from './contact-trial.ts';
import { Quantity } from './measurement-image.ts';
import { displaySettings, openWallClock, powerReader, stateFolder } from './parts.ts';
import { scanCommand } from './scan-command.ts';
import {
  busText,
  CHECK_NAMES,
  checkKeys,
  judgeClock,
  judgeDisplay,
  judgeRegisters,
  noFolder,
  outcomeLine,
  probeStorage,
  runCheck,
  Skipped,
  type Subject,
} from './self-test.ts';
import { readState } from './state-files.ts';

const BUS_LIMIT_MS = 15_000;
const VALUES_LIMIT_MS = 5_000;
const PATH_LIMIT_MS = 5_000;
/** Ctrl-C, and the end of the session over the network. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Exit status of a self-test that did not come to its end. */
const STOPPED = 5;
const quiet = createLog('self-test', { write: () => {} });

/**
 * @param movesRelay  whether the contact may be moved
 * @param isStopped  asked while something is waited for
 */
export function deviceSubject(
  config: Config,
  movesRelay: boolean,
  isStopped = () => false,
): { subject: Subject; close(): Promise<void> } {
  const clock = () => performance.now();
  const until = async (condition: () => boolean, limitMs: number) => {
    for (const end = clock() + limitMs; !condition(); await sleep(20)) if (clock() > end || isStopped()) return false;
    return true;
  };
  const meters = metersOnBus(config);
  const { image } = meters[0]!;
  const power = powerReader(image, clock);
  const folder = stateFolder(config);
  let state: ReadonlyMap<string, Uint8Array> = new Map();
  let stateFault: unknown;
  try {
    state = readState(join(folder, 'state'));
  } catch (error) {
    stateFault = error;
  }
  // Nothing here sets a time.
  const wallClock = openWallClock(config, { get: (key) => state.get(key), set: () => false, keep: () => {} });
  let complaint: string | undefined;
  const listening: Log = {
    ...quiet,
    warn: (text) => {
      complaint ??= text.replace(/; trying again.*/, '');
    },
    child: () => quiet,
  };
  let loop: ReturnType<typeof openPollLoop> | undefined;
  let topology: FileTopology | undefined;

  async function bus(): Promise<string> {
    loop = openPollLoop(config, meters, clock, listening);
    loop.start();
    await until(() => loop!.healthy || complaint !== undefined, BUS_LIMIT_MS);
    if (!loop.healthy) throw new Error(complaint ?? `${loop.port.name} does not open`);
    return `${busText(loop.port)}, unit ${config.number('serial.unit')}`;
  }

  async function registers(): Promise<string> {
    if (!loop?.healthy) throw new Skipped('the bus does not work');
    await until(() => image.isFresh(Quantity.activePower, clock()), VALUES_LIMIT_MS);
    return judgeRegisters(image, clock());
  }

  async function relay(): Promise<string> {
    if (config.string('relay.driver') === 'none') throw new Skipped('no relay is configured');
    if (!movesRelay) throw new Skipped('moved with --relay only');
    return tryContact({ config, clock, wallClock, power, until, isStopped, busWorks: () => loop?.healthy === true });
  }

  async function display(): Promise<string> {
    const panel = openDisplay(displaySettings(config), quiet);
    panel.show(['S3MP', `self-test ${S3MP_VERSION}`]);
    await panel.settled?.();
    panel.close();
    return judgeDisplay(panel);
  }

  async function address(): Promise<string> {
    topology = readHostTopologyFile(config.string('scion.topology'));
    const place = { topology, hostIp: config.string('scion.address'), port: config.number('scion.port'), log: quiet };
    const socket = await ScionEndpoint.open(place);
    await socket.close();
    return formatEndpoint(socket.local);
  }

  async function path(): Promise<string> {
    if (!topology) throw new Skipped('no topology');
    const [service] = topology.controlServices;
    if (!service) throw new Skipped('the topology names no control service');
    return askForPaths(formatIpPort(service.host, service.port), topology);
  }

  return {
    subject: {
      bus,
      registers,
      relay,
      display,
      storage: () => {
        if (stateFault !== undefined) throw stateFault;
        if (!isThere(folder)) throw new Skipped(noFolder(folder));
        return probeStorage(folder);
      },
      clock: () => judgeClock(wallClock.read(), config.string('clock.source')),
      keys: () => checkKeys(config),
      address,
      path,
    },
    async close() {
      loop?.stop();
      await loop?.close();
    },
  };
}

/** Protocol Buffers, `uint64` field below 16. */
function uint64Field(field: number, value: bigint): number[] {
  const bytes = [field << 3];
  for (; value > 127n; value >>= 7n) bytes.push(Number(value & 127n) | 128);
  return [...bytes, Number(value)];
}

/** Asks the AS's control service for a way to its core (SegmentLookupService, Connect). @throws Error */
async function askForPaths(service: string, { ia, core }: FileTopology): Promise<string> {
  const { request } = process.getBuiltinModule('node:http');
  const body = Uint8Array.from([...uint64Field(1, ia), ...uint64Field(2, (ia >> 48n) << 48n)]);
  const answer = await new Promise<{ status: number; size: number }>((resolve, reject) => {
    const sent = request(`http://${service}/proto.control_plane.v1.SegmentLookupService/Segments`, {
      method: 'POST',
      headers: { 'content-type': 'application/proto', 'connect-protocol-version': '1' },
      timeout: PATH_LIMIT_MS,
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer in ${PATH_LIMIT_MS / 1000} s`)));
    sent.on('error', reject);
    sent.on('response', (response) => {
      let size = 0;
      response.on('data', (chunk: Uint8Array) => (size += chunk.length));
      response.on('end', () => resolve({ status: response.statusCode!, size }));
      response.on('error', reject);
    });
    sent.end(body);
  }).catch((error) => {
    // An older official service speaks gRPC only and drops what is none.
    if (/^HPE_|ECONNRESET/.test((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new Error(`control service ${service}: ${messageOf(error)}`);
  });
  if (!answer) throw new Skipped(`control service ${service} is up and speaks gRPC only`);
  if (core) return `core AS, control service ${service} answers`;
  if (answer.status !== 200) throw new Error(`control service ${service} answers with status ${answer.status}`);
  if (answer.size === 0) throw new Error(`control service ${service} knows no path out of this AS`);
  return `control service ${service} knows paths to the core`;
}

/** Twins of all parts, for what the command line does not name. */
async function startTwins(flags: Readonly<Record<string, unknown>>) {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-self-test-'));
  const relayFolder = (flags['relay-path'] as string | undefined) ?? join(folder, 'relay');
  const meter = await startSteadyMeter(() => readRelayValue(relayFolder) !== false);
  const keyFile = join(folder, 'keys.toml');
  mkdirSync(join(folder, 'state'));
  const key = () => nodeCrypto.random(16);
  writeKeyFile(keyFile, { unicast: key(), authentication: key(), master: key(), broadcast: undefined });
  const topology = join(folder, 'topology.json');
  writeFileSync(topology, JSON.stringify({ isd_as: '1-ff00:0:110', mtu: 1472, attributes: [], border_routers: {} }));
  const scion = { 'scion-topology': topology, 'scion-address': '127.0.0.1', 'scion-port': '0' };
  const config = loadConfig(FIRMWARE_CONFIG, {
    flags: {
      'serial-url': meter.url,
      'display-path': join(folder, 'display'),
      'state-directory': join(folder, 'state'),
      'dlms-key-file': keyFile,
      'clock-source': 'system',
      ...(flags['scion-topology'] === undefined ? scion : {}),
      ...flags,
      'relay-path': relayFolder,
      'relay-driver': 'sim',
      'display-driver': 'sim',
    },
  });
  const close = async () => {
    meter.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { config, close };
}

async function confirmed(): Promise<boolean> {
  if (!process.stdin.isTTY)
    throw new ConfigError('usage.invalid', '--relay moves the contact: say --yes too where nobody can be asked');
  const question = 'The load loses power for some seconds; one that is disconnected gets it. Move the contact? [y/N] ';
  process.stderr.write(question);
  await once(process.stdin, 'readable');
  return /^y/i.test(String(process.stdin.read()));
}

export const selfTestVerb: Verb = {
  summary: 'look at every part of the stopped meter: PASS, FAIL or SKIP and what to do',
  flags: {
    relay: { type: 'boolean', help: 'also move the contact, and back' },
    yes: { type: 'boolean', help: 'do not ask before' },
    scan: { type: 'boolean', help: 'instead, look for energy meters at every speed, framing and unit' },
    all: { type: 'boolean', help: 'with --scan, go on after the first setting at which something answers' },
    units: { type: 'string', value: 'FIRST-LAST', help: 'units that --scan asks; 1-10 by default' },
    sim: { type: 'boolean', help: 'with twins instead of hardware; flags win over them' },
  },
  async run(context) {
    const { config, flags, json, out, log } = context;
    if (flags.scan) return scanCommand(context);
    if (!flags.sim && !config.has('scion.address')) log.warn('no scion.address: was --config FILE forgotten?');
    if (!flags.sim || flags['state-directory'] !== undefined) checkOwner(stateFolder(config));
    const twins = flags.sim ? await startTwins(flags) : undefined;
    const movesRelay = flags.sim === true || (flags.relay === true && (flags.yes === true || (await confirmed())));
    let isStopped = false;
    const stop = () => {
      isStopped = true;
    };
    // Again and again: a second one must not kill a process whose contact is on its way back.
    for (const signal of SIGNALS) process.on(signal, stop);
    const { subject, close } = deviceSubject(twins?.config ?? config, movesRelay, () => isStopped);
    let failures = 0;
    try {
      for (const check of CHECK_NAMES) {
        const outcome = await runCheck(subject, check);
        out(json ? JSON.stringify(outcome) : outcomeLine(outcome));
        if (outcome.result === 'FAIL') failures++;
        if (isStopped) return STOPPED;
      }
    } finally {
      for (const signal of SIGNALS) process.off(signal, stop);
      await close();
      await twins?.close();
    }
    return failures > 0 ? 1 : 0;
  },
};

/** Whether a path leads to something; a file where a folder must be is an error in every version of Node. */
function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
