/** Puts the head end together from its configuration: store, SCION end host, one connection per meter, fleet, HTTP. */

import { ConfigError, messageOf } from '#base/errors';
import type { Config } from '#hw/config';
import { type KeyFile, readCommandSigner, readKeyFile } from '#hw/dlms-keys';
import { readOrMakeToken, readSecretFile } from '#hw/files';
import type { Log } from '#hw/log';
import { openPathSource } from '#hw/path-source';
import { ScionSocket } from '#hw/scion-socket';
import { parseEndpoint } from '#scion/address';
import type { HostEndpoint } from '#scion/end-host';
import { formatIsdAs } from '#scion/isd-as';
import type { PathPreference } from '#scion/path-preference';
import { parsePolicy } from '#scion/policy';
import { Fleet } from './fleet/fleet.ts';
import { startHttpServer } from './http/server.ts';
import { hashToken, type StoredToken } from './http/tokens.ts';
import { ChannelSwitch } from './meter/channel.ts';
import { DlmsConnection } from './meter/dlms-connection.ts';
import { CommandSigner, meterKeys, takeHeadEndTitle } from './meter/head-end-keys.ts';
import { openSqliteStore } from './store/sqlite.ts';

export interface RunningHeadend {
  readonly url: string;
  readonly meters: number;
  close(): Promise<void>;
}

interface MeterEntry {
  readonly id: string;
  readonly address: string;
  readonly endpoint: HostEndpoint;
  readonly password: Uint8Array | undefined;
  readonly keys: KeyFile | undefined;
}

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
    const title = meters.some(({ keys }) => keys)
      ? takeHeadEndTitle(config.string('dlms.starts_file'), instance)
      : undefined;
    const commandKey = config.optionalString('dlms.command_key_file');
    const signer =
      commandKey === undefined
        ? undefined
        : new CommandSigner(readCommandSigner(commandKey), title ?? new Uint8Array(8));
    const fleet = new Fleet({
      store,
      keepMs: config.number('store.live_hours') * HOUR_MS,
      meters: meters.map(({ id, address, endpoint, password, keys }) => ({
        config: { id, address },
        connection: new DlmsConnection({
          socket,
          channels,
          meter: endpoint,
          password,
          security: keys && title && meterKeys(title, keys),
          signer,
          fence: policy,
          log: log.child(id),
        }),
      })),
    });
    closers.push(() => fleet.stop());
    await fleet.start();
    const server = await startHttpServer({
      fleet,
      host: config.string('http.host'),
      port: config.number('http.port'),
      labMode: config.boolean('http.lab_mode'),
      tokens: readTokens(config),
      allowedHosts: config.strings('http.allowed_hosts'),
      log: log.child('http'),
      version: S3MP_VERSION,
    });
    closers.push(() => server.close());
    return { url: server.url, meters: meters.length, close };
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
    const endpoint = parseEndpoint(address);
    const keys = table.key_file === undefined ? undefined : readKeyFile(text('key_file'));
    const password = keys ? undefined : readSecretFile(text('password_file'));
    return { id: text('id'), address, endpoint, password, keys };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError('config.invalid', `meter ${index + 1}: ${messageOf(error)}`, { address }, error);
  }
}
