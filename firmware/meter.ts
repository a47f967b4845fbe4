/** Puts the meter together from its configuration: bus and poll loop, relay, display, DLMS server, SCION end host. */

import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import { managementAssociation, passwordAssociation, publicAssociation } from '#dlms/association';
import { judgingTime } from '#dlms/cosem/clock';
import { isRefusal } from '#dlms/result';
import { DlmsServer } from '#dlms/server';
import { EventCode } from '#dlms/well-known';
import type { Config } from '#hw/config';
import { openDisplay } from '#hw/display/open';
import { readCommandVerifier } from '#hw/dlms-keys';
import { readHostTopologyFile, readSecretFile } from '#hw/files';
import { holdFolder } from '#hw/folder-lock';
import type { Log } from '#hw/log';
import { openRelay } from '#hw/relay/open';
import { openWatchdog, type WatchdogDriver } from '#hw/watchdog';
import { QUANTITY_NAMES } from '#modbus/register-map';
import { formatEndpoint, formatHost, parseHost } from '#scion/address';
import { formatIpPort, type IpPort, parseIpPort } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
import { parseVersion } from '#session/firmware-image';
import { metersOnBus, openPollLoop } from './bus.ts';
import { EnergyRecord } from './energy-record.ts';
import { FileImageSlot, ImageSlots } from './image-slots.ts';
import type { Quantity } from './measurement-image.ts';
import type { MeterCertificates } from './meter-certificates.ts';
import { buildMeter, type Meter } from './meter-model.ts';
import { openMeterSecurity, usable } from './meter-security.ts';
import { commandedPosition } from './model-control.ts';
import { logicalDeviceName } from './model-identity.ts';
import { MeterNetwork } from './network.ts';
import { displaySettings, openWallClock, powerReader, relaySettings, stateFolder } from './parts.ts';
import { Pusher } from './push.ts';
import { guardRelay, HOUR_MS } from './relay-guard.ts';
import { screenRows } from './screen.ts';
import {
  busText,
  checkKeys,
  judgeClock,
  judgeDisplay,
  judgeRegisters,
  liveSelfTest,
  probeStorage,
  Skipped,
} from './self-test.ts';
import { StateFiles } from './state-files.ts';

const SECOND_MS = 1_000;
/** Keys and counters that could not be used are looked at this often. */
const RETRY_MS = 10_000;
const MESSAGE = 'message';
/** How late the second's work and the poll loop may be before the watchdog is left hungry. */
const LAG_LIMIT_MS = 1_000;
const OVERDUE_LIMIT_MS = 5_000;
const MAX_DATAGRAM_PDU = 1024;
/** Events of the DLMS server that tell of something that should not be. */
const FAILURES = new Set(['association-rejected', 'protection-failed', 'command-refused', 'request-refused']);
/** Four times today's firmware. */
const IMAGE_CAPACITY = 1 << 20;

export interface RunningMeter {
  /** SCION address of the DLMS server. */
  readonly address: string;
  readonly tcpAddress: string | undefined;
  readonly udpAddress: string | undefined;
  readonly name: string;
  /** Settles with an exit status when another firmware image shall start, or this one with keys that are back. */
  readonly restarted: Promise<number>;
  /** Undefined where keys stand in a file. */
  readonly certificates: MeterCertificates | undefined;
  close(): Promise<void>;
}

/**
 * Starts a meter. Returns when its DLMS server answers; the energy meter may come later, and so may the network.
 * @throws S3mpError for a configuration that cannot be used or an address that is taken
 */
export async function startMeter(config: Config, log: Log): Promise<RunningMeter> {
  const steadyClock = () => performance.now();
  const passwordFile = config.optionalString('dlms.password_file');
  const password = usable(passwordFile, log.child('keys'), 'no password, its client is not offered', readSecretFile);
  const topology = readHostTopologyFile(config.string('scion.topology'));
  const serial = config.string('meter.serial');
  if (config.isDefault('meter.serial'))
    log.warn('meter.serial is not set: every meter without it has the same name and system title', { serial });
  const display = openDisplay(displaySettings(config), log.child('display'));
  const letGo = await holdFolder(stateFolder(config));
  const files = new StateFiles(stateFolder(config), log.child('state'));
  const settings = files.settings();
  const commanded = commandedPosition(settings);
  // Claiming the line supplies the load or leaves it as it is; a disconnection is restored by the guard, event first.
  const relay = await openRelay(relaySettings(config), commanded || undefined, log.child('relay'));
  let restart = (_status: number) => {};
  const restarted = new Promise<number>((resolve) => {
    restart = resolve;
  });
  const images = openImages(config, log.child('image'), (code) => model.events.record(code), restart);
  const meters = metersOnBus(config);
  const { image, map } = meters[0]!;
  const loop = openPollLoop(config, meters, steadyClock, log.child('poll'), () =>
    model.events.record(EventCode.energyMeterChanged),
  );

  const energy = new EnergyRecord(settings, loop.energies);
  files.beforeSave = () => energy.keep();

  let draw = () => {};
  let messageAt = steadyClock();
  const wallClock = openWallClock(config, settings, log.child('clock'));
  const place = {
    address: { ia: topology.ia, host: parseHost(config.string('scion.address')) },
    time: () => ({ nowS: Math.floor(wallClock.latestMs / 1000), isLowerBound: !wallClock.read().isSet }),
  };
  const keys = openMeterSecurity(config, log.child('keys'), place);
  const { security, certificates } = keys;
  certificates?.tick(steadyClock());
  const associations = [
    publicAssociation(),
    ...(password ? [passwordAssociation(password)] : []),
    ...(security ? [managementAssociation(security)] : []),
  ];
  const message = { text: decodeUtf8(settings.get(MESSAGE) ?? new Uint8Array(0)) ?? '' };
  const pushes = new Pusher(log.child('push'));
  const guard = guardRelay({
    relay,
    log: log.child('relay'),
    steadyClock,
    commanded,
    dwellMs: config.number('relay.dwell_ms'),
    perHour: config.number('relay.disconnects_per_hour'),
    power: powerReader(image, steadyClock),
    record: (code) => model.events.record(code),
    onChange: () => draw(),
  });
  const model: Meter = buildMeter({
    image,
    extras: map.registers.map(({ quantity }) => QUANTITY_NAMES.indexOf(quantity) as Quantity),
    further: meters.slice(1).map((meter) => meter.image),
    relay: guard,
    message: {
      get: () => message.text,
      set: (text) => {
        if (!settings.set(MESSAGE, encodeUtf8(text))) return false;
        message.text = text;
        messageAt = steadyClock();
        draw();
        return true;
      },
    },
    wallClock: wallClock.read,
    setTime: (epochMs) => wallClock.offer(epochMs, 'person'),
    steadyClock,
    identity: { serial, firmwareId: `s3mp-firmware ${S3MP_VERSION}` },
    settings,
    openStore: (name, rowSize, rows, layout) => files.profile(name, rowSize, rows, layout),
    isStorageFailing: () => files.isFailing,
    selfTest: liveSelfTest(
      {
        bus: () => {
          if (!loop.healthy) throw new Error('the energy meter does not answer');
          return busText(loop.port);
        },
        registers: () => judgeRegisters(image, steadyClock()),
        relay: () => {
          if (guard.fault !== undefined) throw new Error(guard.fault);
          throw new Skipped('moved at the device only');
        },
        display: () => judgeDisplay(display),
        storage: () => probeStorage(stateFolder(config)),
        clock: () => judgeClock(wallClock.read(), config.string('clock.source')),
        keys: () => checkKeys(config),
        address: () => {
          if (network.fault !== undefined) throw new Error(network.fault);
          return address();
        },
        path: () => {
          const received = network.scion?.counters.received;
          if (!received) throw new Skipped('nothing has come over SCION');
          return `${received} packets have come`;
        },
      },
      steadyClock,
    ),
    imageSlot: new FileImageSlot(files, IMAGE_CAPACITY),
    images: {
      judge: (size) => images.judge(size),
      activate: (size) => images.activate(size),
      status: () => images.status,
      refusal: () => images.refusal,
      isEnabled: images.isOffered,
    },
    sendPush: (destination, frame) => pushes.send(destination, frame),
    random: Math.random,
    associations,
    security,
    certificates,
    commands: keys.commands,
    network: {
      ipv4: ipv4Number(config.string('scion.address')),
      port: config.number('scion.port'),
      maxPdu: MAX_DATAGRAM_PDU,
    },
  });
  const reportStorage = () => files.isFailing && model.events.record(EventCode.memoryError);
  files.onFault = reportStorage;
  reportStorage();
  images.report();
  guard.resume(model.events.recent('disconnector', HOUR_MS));
  model.control.restore();
  const events = log.child('dlms');
  const server = new DlmsServer(model.device, {
    associations,
    maxDatagramPdu: MAX_DATAGRAM_PDU,
    commands: keys.authority,
    epochS: judgingTime(wallClock.read),
    onEvent: (event) => {
      model.onServerEvent(event);
      const { kind, ...fields } = event;
      const isRestart = kind === 'protection-failed' && event.reason === 'behind-restart';
      const isFailure = FAILURES.has(kind) || ('id' in event && isRefusal(event.result));
      if (isFailure && !isRestart) events.warn(kind, fields);
      else events.info(kind, fields);
    },
  });

  const network = new MeterNetwork({
    config,
    topology,
    server,
    tcpPlace: legacyPlace(config, 'dlms.tcp_address'),
    udpPlace: legacyPlace(config, 'dlms.udp_address'),
    log: log.child('scion'),
    dlmsLog: events,
    onScion: (socket) => pushes.open(socket),
  });
  const address = () => formatEndpoint(network.scion?.local ?? { ...place.address, port: config.number('scion.port') });
  await network.open().catch(async (error) => {
    await network.close();
    throw error;
  });

  const faults = () => [
    ...(guard.fault === undefined ? [] : [guard.fault]),
    ...(files.isFailing ? ['storage fails'] : []),
    ...(loop.healthy ? [] : ['no meter on the bus']),
    ...(wallClock.read().isSet ? [] : ['clock is not set']),
    ...(security ? [] : ['no keys']),
    ...(network.fault === undefined ? [] : ['no network']),
  ];
  draw = () =>
    display.show(
      screenRows({
        ia: formatIsdAs(topology.ia),
        host: formatHost(place.address.host),
        image,
        connected: relay.isConnected(),
        state: model.control.state,
        faults: faults(),
        message: message.text,
        messageAt,
        enrolmentCode: certificates?.code ?? '',
        now: steadyClock(),
        columns: display.columns,
        rows: display.rows,
      }),
    );
  draw();
  loop.start();
  const watchdog = openWatchdog(
    { driver: config.string('watchdog.driver') as WatchdogDriver, device: config.string('watchdog.device') },
    log.child('watchdog'),
  );
  let tickedAt = steadyClock();
  let retriedAt = tickedAt;
  let said: string | undefined;
  const second = setInterval(() => {
    const now = steadyClock();
    const lateMs = now - tickedAt - SECOND_MS;
    tickedAt = now;
    model.tick();
    wallClock.tick();
    files.tick(now);
    certificates?.tick(now);
    guard.tick();
    images.tick(loop.healthy, now);
    if (now - retriedAt >= RETRY_MS) {
      retriedAt = now;
      if (network.fault !== undefined) network.retry();
      if (keys.retry && !files.isFailing && keys.retry()) {
        log.warn('keys and counters can be used again: the meter ends, to be started with them');
        restart(0);
      }
    }
    draw();
    // The meter works when its poll loop does and nothing holds up the process; a silent energy meter is no hang.
    if (lateMs < LAG_LIMIT_MS && loop.overdueMs(now) < OVERDUE_LIMIT_MS) watchdog.feed(now);
    const text = faults().join(', ') || `serving ${address()}`;
    if (text !== said) watchdog.status(text);
    said = text;
  }, SECOND_MS);
  watchdog.ready();

  return {
    address: address(),
    tcpAddress: network.tcp && `${network.tcp.address}:${network.tcp.port}`,
    udpAddress: network.udp && formatIpPort(network.udp.host, network.udp.port),
    name: Buffer.from(logicalDeviceName(serial)).toString('latin1'),
    restarted,
    certificates,
    async close() {
      clearInterval(second);
      watchdog.close();
      loop.stop();
      files.beforeSave = () => energy.keep(true);
      energy.keep(true);
      await Promise.all([loop.close(), network.close()]);
      display.close();
      relay.close();
      keys.close();
      files.close();
      letGo();
    },
  };
}

/** An answer on its way leaves before the process ends. */
const RESTART_MS = 1_000;

function openImages(config: Config, log: Log, record: (code: number) => void, restart: (status: number) => void) {
  const folder = stateFolder(config);
  const keyFile = config.optionalString('image.release_key_file');
  const options = {
    folder,
    log,
    version: parseVersion(S3MP_VERSION)!,
    key: usable(keyFile, log, 'no release key, images are refused', (file) => readCommandVerifier(file)),
    isLaunched: /^(factory|a|b):(.*)$/.exec(process.env.S3MP_LAUNCHED ?? '')?.[2] === folder,
    record,
    restart: (status: number) => void setTimeout(restart, RESTART_MS, status),
  };
  return new ImageSlots(options, performance.now());
}

/** Where legacy clients are served; undefined when they are not. */
function legacyPlace(config: Config, key: string): IpPort | undefined {
  const address = config.string(key);
  return address === '' ? undefined : parseIpPort(address);
}

/** 0 for an address that is not IPv4. */
function ipv4Number(address: string): number {
  const bytes = address.split('.').map(Number);
  return bytes.length === 4 ? bytes.reduce((sum, byte) => sum * 256 + byte, 0) : 0;
}
