/**
 * A whole platform on one PC, from the same bundles that run in the field: simulated energy meters, one firmware process
 * per meter, the ASes' gateways, the head end, and the link emulator between the ASes. Used by `npm start`, by the
 * end-to-end tests and by the benches.
 */

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '#base/errors';
import { writeKeyFile } from '#hw/dlms-keys';
import { readOrMakeToken } from '#hw/files';
import { claimLab, type LabAddresses } from '#hw/lab/addresses';
import { writeAsFiles } from '#hw/lab/as-files';
import { labFolderPrefix } from '#hw/lab/control';
import { LinkEmulator } from '#hw/lab/link-emulator';
import { type DeviceLogLine, LabProcess } from '#hw/lab/process';
import { HEADEND_AS, LAB_ASES, type LabAs, type LineQuality, labTopology, METER_AS } from '#hw/lab/topology';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { seededRandom } from '#hw/random';
import { Household } from '#hw/sim/household';
import { SimMeter, type SimSlave, startSimSlave } from '#hw/sim/or-we-514';

export interface LabOptions {
  readonly meters?: number;
  readonly lines?: LineQuality;
  /** Left out: no head end is started (a bench brings its own). */
  readonly headend?: { readonly host?: string; readonly port: number };
  /** Folder of the bundles. */
  readonly bundles: string;
  /** URL of the energy meter of each meter instead of a simulated one. */
  readonly serialUrls?: readonly string[];
  /** What runs the meters' bundle instead of a Node of this machine, for example an emulator with one of another CPU. */
  readonly meterNode?: string;
  /** Further arguments of every meter. */
  readonly meterArgs?: readonly string[];
  /**
   * Public release key of firmware images: the meters are started by launcher.js and whenever they end, as the service
   * does, so that they take images.
   */
  readonly releaseKeyFile?: string;
  /** Also serve the wrapper over TCP on each meter's address, port 4059. */
  readonly dlmsTcp?: boolean;
  readonly seed?: number;
  /** Told of every log line of every process. */
  readonly onLog?: (process: string, line: DeviceLogLine) => void;
  readonly onUnexpectedExit?: (process: string, status: number | null) => void;
}

export interface LabMeter {
  readonly id: string;
  /** SCION address, `[1-ff00:0:111,127.16.111.100]:4059`. */
  readonly address: string;
  readonly host: string;
  /** Keys of client 1. */
  readonly keyFile: string;
  /** Password of client 17, for foreign clients. */
  readonly passwordFile: string;
  readonly relayFolder: string;
  readonly displayFolder: string;
  readonly stateFolder: string;
  /** The simulated energy meter and the household behind it, unless another one is read. */
  readonly slave: SimSlave | undefined;
  readonly household: Household | undefined;
}

const DLMS_PORT = 4059;
const MODBUS_PORT = 1502;
/** Pause before a meter that has ended starts again. */
const RESTART_MS = 100;
const COMMAND_KEY = 'command-key.pem';
const COMMAND_PUBLIC_KEY = 'command-key-public.pem';

export class Lab {
  readonly folder: string;
  readonly addresses: LabAddresses;
  readonly links: LinkEmulator;
  readonly meters: LabMeter[] = [];
  readonly processes = new Map<string, LabProcess>();
  private readonly options: LabOptions;
  private isStopping = false;
  private readonly asFolders: ReadonlyMap<string, string>;
  /** The page's address once the head end runs; with a token behind `#` when it needs one. */
  pageUrl: string | undefined;

  private constructor(
    options: LabOptions,
    addresses: LabAddresses,
    folder: string,
    asFolders: ReadonlyMap<string, string>,
  ) {
    this.options = options;
    this.addresses = addresses;
    this.folder = folder;
    this.asFolders = asFolders;
    this.links = new LinkEmulator(seededRandom(options.seed ?? 1));
  }

  /** Starts everything; on any failure stops what was started and throws. */
  static async start(options: LabOptions): Promise<Lab> {
    const addresses = await claimLab();
    const folder = mkdtempSync(labFolderPrefix(addresses.lab));
    const topology = labTopology(addresses, options.lines ?? 'field');
    const { folders } = writeAsFiles(topology.description, folder);
    const lab = new Lab(options, addresses, folder, folders);
    lab.makeCommandKey();
    try {
      for (const link of topology.links) await lab.links.add(link);
      await Promise.all(LAB_ASES.map((as) => lab.startGateway(as)));
      const meters = Array.from({ length: options.meters ?? 1 }, (_, index) => lab.startMeter(index));
      await Promise.all(meters);
      if (options.headend) await lab.startHeadend(options.headend);
    } catch (error) {
      await lab.stop();
      throw error;
    }
    return lab;
  }

  /** Directory of an AS: topology.json, keys, segments. */
  asFolder(ia: string): string {
    return this.asFolders.get(ia)!;
  }

  topologyFile(ia: string): string {
    return join(this.asFolder(ia), 'topology.json');
  }

  /** The key that signs commands: private for the head end, public for the meters. */
  private makeCommandKey(): void {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    writeFileSync(join(this.folder, COMMAND_KEY), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    writeFileSync(join(this.folder, COMMAND_PUBLIC_KEY), publicKey.export({ type: 'spki', format: 'pem' }));
  }

  private async startGateway({ ia, number }: LabAs): Promise<void> {
    await this.startProcess(`gateway-${number}`, 'gateway.js', deviceNode(), [], ['--as-directory', this.asFolder(ia)]);
  }

  private async startMeter(index: number): Promise<void> {
    const { addresses, options } = this;
    const id = `S3M${String(index + 1).padStart(13, '0')}`;
    const folder = join(this.folder, `meter-${index + 1}`);
    const relayFolder = join(folder, 'relay');
    const displayFolder = join(folder, 'display');
    const passwordFile = join(folder, 'password');
    const stateFolder = join(folder, 'state');
    mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
    writeFileSync(passwordFile, randomBytes(12).toString('base64url'), { mode: 0o600 });
    const keyFile = join(folder, 'keys.toml');
    const key = () => randomBytes(16);
    writeKeyFile(keyFile, { unicast: key(), authentication: key(), master: key() });

    const host = addresses.meter(METER_AS.number, index);
    let url = options.serialUrls?.[index];
    let slave: SimSlave | undefined;
    let household: Household | undefined;
    if (url === undefined) {
      household = new Household({ seed: (options.seed ?? 1) + index, relayFolder });
      const place = { host: addresses.energyMeter(index), port: MODBUS_PORT };
      slave = await startSimSlave(place, new SimMeter(1, household));
      url = `tcp://${addresses.energyMeter(index)}:${MODBUS_PORT}`;
    }
    this.meters[index] = {
      id,
      address: `[${METER_AS.ia},${host}]:${DLMS_PORT}`,
      host,
      keyFile,
      passwordFile,
      relayFolder,
      displayFolder,
      stateFolder,
      slave,
      household,
    };
    const args = [
      ['--meter-serial', id.slice(3)],
      ['--serial-url', url],
      ['--relay-driver', 'sim', '--relay-path', relayFolder],
      ['--display-driver', 'sim', '--display-path', displayFolder],
      ['--scion-topology', this.topologyFile(METER_AS.ia), '--scion-address', host],
      ['--dlms-password-file', passwordFile],
      ['--dlms-key-file', keyFile, '--dlms-command-key-file', join(this.folder, COMMAND_PUBLIC_KEY)],
      ['--state-directory', stateFolder, '--clock-source', 'system'],
      options.dlmsTcp ? ['--dlms-tcp-address', `${host}:${DLMS_PORT}`] : [],
      options.meterArgs ?? [],
    ].flat();
    const node = options.meterNode ?? deviceNode();
    const { releaseKeyFile } = options;
    const name = `meter-${index + 1}`;
    if (releaseKeyFile === undefined) {
      await this.startProcess(name, 'firmware.js', node, METER_NODE_FLAGS, args);
      return;
    }
    const environment = { STATE_DIRECTORY: stateFolder, S3MP_IMAGE_RELEASE_KEY_FILE: releaseKeyFile };
    await this.startProcess(name, 'launcher.js', node, METER_NODE_FLAGS, ['run', ...args], environment);
    this.keepRunning(this.process(name));
  }

  /** Starts a process again whenever it ends, as the service manager does, also before it was ready. */
  private keepRunning(child: LabProcess): void {
    const { onUnexpectedExit } = child;
    const again = () => {
      if (!this.isStopping) setTimeout(() => void (this.isStopping || child.start().catch(again)), RESTART_MS);
    };
    child.onUnexpectedExit = (status) => {
      onUnexpectedExit(status);
      again();
    };
  }

  private async startHeadend({ host = '127.0.0.1', port }: { host?: string; port: number }): Promise<void> {
    const folder = join(this.folder, 'headend');
    mkdirSync(folder, { mode: 0o700 });
    const file = join(folder, 'headend.toml');
    const meters = this.meters.map(
      (m) => `[[meters]]\nid = "${m.id}"\naddress = "${m.address}"\nkey_file = "${m.keyFile}"\n`,
    );
    const settings = [
      `[http]\nhost = "${host}"\nport = ${port}\nlab_mode = true\ntoken_file = "${join(folder, 'token')}"`,
      `[store]\nfile = "${join(folder, 'headend.db')}"`,
      `[scion]\ntopology = "${this.topologyFile(HEADEND_AS.ia)}"\naddress = "${this.addresses.headend(HEADEND_AS.number)}"`,
      `[path]\nacl = ["+ 1", "-"]`,
      `[dlms]\nstarts_file = "${join(folder, 'starts')}"\ncommand_key_file = "${join(this.folder, COMMAND_KEY)}"`,
    ];
    writeFileSync(file, `${[...settings, ...meters].join('\n\n')}\n`, { mode: 0o600 });
    const ready = await this.startProcess('headend', 'headend.js', process.execPath, [], ['serve', '--config', file]);
    this.pageUrl = withToken(String(ready.url), join(folder, 'token'));
  }

  private async startProcess(
    name: string,
    script: string,
    node: string,
    nodeFlags: readonly string[],
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<DeviceLogLine> {
    const spec = {
      name,
      node,
      nodeFlags,
      script: join(this.options.bundles, script),
      args,
      environment,
      logFile: join(this.folder, `${name}.log`),
    };
    const child = new LabProcess(spec, (line) => this.options.onLog?.(name, line));
    child.onUnexpectedExit = (status) => this.options.onUnexpectedExit?.(name, status);
    this.processes.set(name, child);
    return await child.start();
  }

  process(name: string): LabProcess {
    const found = this.processes.get(name);
    if (!found) {
      throw new ConfigError('usage.invalid', `no process ${name}; processes: ${[...this.processes.keys()].join(', ')}`);
    }
    return found;
  }

  /** Ends every process and removes the folder. @param keep  leaves the folder with its logs */
  async stop(keep = false): Promise<void> {
    this.isStopping = true;
    await Promise.all([...this.processes.values()].map((p) => p.stop()));
    for (const p of this.processes.values()) p.close();
    this.links.close();
    await Promise.all(this.meters.map((m) => m?.slave?.close()));
    this.addresses.release();
    if (!keep) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The page's address with the operator's token behind `#`, where the head end asks for one. */
function withToken(url: string, tokenFile: string): string {
  return existsSync(tokenFile) ? `${url}#token=${readOrMakeToken(tokenFile)}` : url;
}

/** The Node for the meter and the gateway: the machine's own where npm tells it, else the one that runs this. */
export function deviceNode(): string {
  return process.env.npm_node_execpath ?? process.execPath;
}
