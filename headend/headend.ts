/** Puts the head end together from its configuration: store, SCION end host, one connection per meter, fleet, HTTP. */

import { ConfigError, messageOf } from '#base/errors';
import type { Config } from '#hw/config';
import { type KeyFile, readCommandSigner, readCommandVerifier, readKeyFile } from '#hw/dlms-keys';
import { readOrMakeToken, readSecretFile } from '#hw/files';
import type { Log } from '#hw/log';
import { openPathSource } from '#hw/path-source';
import { ScionSocket } from '#hw/scion-socket';
import { parseEndpoint } from '#scion/address';
import { formatIsdAs } from '#scion/isd-as';
import type { PathPreference } from '#scion/path-preference';
import { parsePolicy } from '#scion/policy';
import { addressOf } from '#session/identity';
import { COMMAND_TIMES } from './fleet/commands.ts';
import { Fleet, type FleetMeter } from './fleet/fleet.ts';
import { startHttpServer } from './http/server.ts';
import { hashToken, type StoredToken } from './http/tokens.ts';
import { type CertifiedMeter, CertifiedMeters } from './meter/certified-meters.ts';
import { ChannelSwitch } from './meter/channel.ts';
import { DlmsConnection, type DlmsConnectionOptions } from './meter/dlms-connection.ts';
import { CommandSigner, meterKeys, takeHeadEndTitle } from './meter/head-end-keys.ts';
import { Inventory } from './pki/inventory.ts';
import { UtilityPki } from './pki/utility-pki.ts';
import { openSqliteStore } from './store/sqlite.ts';

export interface RunningHeadend {
  readonly url: string;
  readonly meters: number;
  close(): Promise<void>;
}

interface MeterEntry {
  readonly id: string;
  readonly address: string;
  readonly password: Uint8Array | undefined;
  readonly keys: KeyFile | undefined;
}

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/;

/**
 * Starts the head end.
 * @throws S3mpError for a configuration that cannot be used, an address that is taken, a missing runtime
 */
export async function startHeadend(config: Config, log: Log): Promise<RunningHeadend> {
  const meters = config.tables('meters').map(readMeter);
  const policy = parsePolicy(config.strings('path.acl'), config.optionalString('path.sequence') ?? '');
  const rules = { policy, preference: config.string('path.preference') as PathPreference, pin: undefined };
  const store = openSqliteStore({
    file: config.string('store.file'),
    onError: (error) => log.error('a batch of readings is not stored', { error: error.message }),
  });
  const closers: (() => Promise<void> | void)[] = [() => store.close()];
  const close = async () => {
    for (const closer of closers.reverse()) await closer();
  };
  try {
    const { topology, source } = await openPathSource(config, config.string('scion.topology'), log.child('paths'));
    closers.push(() => source.close?.());
    const socket = await ScionSocket.open({
      topology,
      hostIp: config.string('scion.address'),
      rules,
      log: log.child('scion'),
      pathSource: source,
    });
    closers.push(() => socket.close());
    socket.onSwitch = (dst, { from, to, why }) =>
      log.info('traffic takes another path', {
        to: formatIsdAs(dst),
        path: to.slice(0, 12),
        from: from?.slice(0, 12),
        why,
      });

    const channels = new ChannelSwitch(socket);
    const instance = config.number('dlms.instance');
    let taken: Uint8Array | undefined;
    const title = () => {
      taken ??= takeHeadEndTitle(config.string('dlms.starts_file'), instance);
      return taken;
    };
    const certified = new CertifiedMeters(
      new UtilityPki(config.string('pki.directory')),
      new Inventory(config.string('fleet.directory')),
      title,
      log.child('pki'),
    );
    const releaseKey = config.optionalString('image.release_key_file');
    const commandKey = config.optionalString('dlms.command_key_file');
    const signer = commandKey === undefined ? undefined : new CommandSigner(readCommandSigner(commandKey), title());
    const connect = (id: string, address: string, security: Partial<DlmsConnectionOptions>): FleetMeter => ({
      config: { id, address },
      connection: new DlmsConnection({
        socket,
        channels,
        meter: parseEndpoint(address),
        signer,
        fence: policy,
        log: log.child(id),
        ...security,
      }),
    });
    const connectCertified = ({ meter, options }: CertifiedMeter) => connect(meter.id, meter.address, options);
    const enrolled = certified.load();
    const named = certified.certificate && addressOf(certified.certificate);
    if (named && named.ia !== topology.ia)
      log.error('enrolled meters refuse this head end: its certificate names another AS', {
        certificate: formatIsdAs(named.ia),
        own: formatIsdAs(topology.ia),
      });
    const fleet = new Fleet({
      store,
      keepMs: config.number('store.live_hours') * HOUR_MS,
      commandTimes: { ...COMMAND_TIMES, settleMs: config.number('fleet.settle_s') * SECOND_MS },
      meters: [
        ...meters.map(({ id, address, password, keys }) =>
          connect(id, address, { password, security: keys && meterKeys(title(), keys) }),
        ),
        ...enrolled.map(connectCertified),
      ],
    });
    const known = new Map(enrolled.map(({ meter }) => [meter.id, meter]));
    /** Follows the inventory: meters that were enrolled anew, and those that are gone. */
    const reload = async () => {
      const now = certified.load();
      const isKnown = ({ meter }: CertifiedMeter) => known.get(meter.id)?.enrolledAt === meter.enrolledAt;
      const kept = new Set(now.filter(isKnown).map(({ meter }) => meter.id));
      const removed = [...known.keys()].filter((id) => !kept.has(id));
      const added = now.filter((each) => !kept.has(each.meter.id) && !meters.some(({ id }) => id === each.meter.id));
      for (const id of removed) {
        known.delete(id);
        await fleet.remove(id);
      }
      for (const each of added) {
        known.set(each.meter.id, each.meter);
        await fleet.add(connectCertified(each));
      }
      return { added: added.map(({ meter }) => meter.id), removed };
    };
    closers.push(() => fleet.stop());
    await fleet.start();
    const server = await startHttpServer({
      fleet,
      reload,
      host: config.string('http.host'),
      port: config.number('http.port'),
      labMode: config.boolean('http.lab_mode'),
      releaseKey: releaseKey === undefined ? undefined : readCommandVerifier(releaseKey),
      tokens: readTokens(config),
      allowedHosts: config.strings('http.allowed_hosts'),
      log: log.child('http'),
      version: S3MP_VERSION,
    });
    closers.push(() => server.close());
    return { url: server.url, meters: meters.length + enrolled.length, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The operator's token; a loopback address in the lab works without one. */
function readTokens(config: Config): StoredToken[] {
  if (LOOPBACK.test(config.string('http.host')) && config.boolean('http.lab_mode')) return [];
  const token = readOrMakeToken(config.string('http.token_file'));
  return [{ name: 'operator', role: 'admin', hash: hashToken(token) }];
}

function readMeter(table: Readonly<Record<string, unknown>>, index: number): MeterEntry {
  const text = (key: string): string => {
    const value = table[key];
    if (typeof value === 'string' && value !== '') return value;
    throw new ConfigError('config.invalid', `meter ${index + 1}: ${key} is missing`, { key });
  };
  const unknown = Object.keys(table).find((key) => !['id', 'address', 'password_file', 'key_file'].includes(key));
  if (unknown !== undefined) throw new ConfigError('config.invalid', `meter ${index + 1}: unknown key ${unknown}`);
  const address = text('address');
  try {
    parseEndpoint(address);
    const keys = table.key_file === undefined ? undefined : readKeyFile(text('key_file'));
    const password = keys ? undefined : readSecretFile(text('password_file'));
    return { id: text('id'), address, password, keys };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError('config.invalid', `meter ${index + 1}: ${messageOf(error)}`, { address }, error);
  }
}
