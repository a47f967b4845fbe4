/**
 * Client of the official SCION daemon: paths and the host's view of its AS over gRPC.
 *
 *   const daemon = new DaemonClient({ address: '127.0.0.1:30255', log });
 *   const topology = await daemon.topology();
 *   const paths = await daemon.paths(dst);
 */

import { messageOf, ScionError } from '#base/errors';
import { GrpcClient, GrpcError } from '#hw/grpc';
import type { Log } from '#hw/log';
import type { PathQuery, PathSource } from '#hw/path-source';
import {
  DaemonMethod,
  decodeAsResponse,
  decodeInterfacesResponse,
  decodePathsResponse,
  decodePortRange,
  decodeServicesResponse,
  encodeAsRequest,
  encodeInterfaceDown,
  encodePathsRequest,
} from '#scion/daemon-messages';
import type { HostTopology } from '#scion/host-topology';
import { formatIpPort, type IpPort } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';

/** Where a daemon listens unless configured otherwise. */
export const DEFAULT_DAEMON = '127.0.0.1:30255';
/** A daemon may ask control services of other ASes before it answers. */
const PATHS_TIMEOUT_MS = 10_000;
const EMPTY = new Uint8Array(0);

export interface DaemonClientOptions {
  /** `ip:port` */
  readonly address: string;
  readonly timeoutMs?: number;
  readonly log: Log;
}

export class DaemonClient implements PathSource {
  private readonly address: string;
  private readonly log: Log;
  private readonly grpc: GrpcClient;
  private ia: bigint | undefined;

  /** @throws ScionError `scion.address` for an address that is not `ip:port` */
  constructor({ address, timeoutMs = 3000, log }: DaemonClientOptions) {
    this.address = address;
    this.log = log;
    this.grpc = new GrpcClient({ address, timeoutMs });
  }

  /**
   * What a host of the daemon's AS must know.
   * @throws ScionError `scion.daemon`
   */
  async topology(): Promise<HostTopology> {
    const [as, interfaces, ports] = await Promise.all([
      this.call(DaemonMethod.as, encodeAsRequest(0n)).then(decodeAsResponse),
      this.call(DaemonMethod.interfaces, EMPTY).then(decodeInterfacesResponse),
      this.call(DaemonMethod.portRange, EMPTY).then(decodePortRange),
    ]);
    return {
      ia: as.ia,
      isdAs: formatIsdAs(as.ia),
      core: as.core,
      mtu: as.mtu,
      dispatchedPorts: ports,
      routers: routersOf(interfaces),
    };
  }

  /**
   * Paths to an AS as the daemon orders them.
   * @throws ScionError `scion.daemon`
   */
  async paths(dst: bigint, { refresh = false }: PathQuery = {}): Promise<ScionPath[]> {
    const src = await this.localIa();
    const answer = await this.call(DaemonMethod.paths, encodePathsRequest(src, dst, refresh), PATHS_TIMEOUT_MS);
    const paths = decodePathsResponse(answer, src, dst, (error) =>
      this.log.warn('path of the daemon ignored', { error: error.message }),
    );
    return paths.map(({ path }) => path);
  }
  /** `ip:port` of the control services. @throws ScionError `scion.daemon` */
  async controlServices(): Promise<string[]> {
    return decodeServicesResponse(await this.call(DaemonMethod.services, EMPTY)).get('control') ?? [];
  }

  /** Tells the daemon that a router called an interface down, for all hosts that ask it. @throws ScionError `scion.daemon` */
  async interfaceDown(ia: bigint, id: number): Promise<void> {
    await this.call(DaemonMethod.interfaceDown, encodeInterfaceDown(ia, id));
  }

  close(): void {
    this.grpc.close();
  }

  private async localIa(): Promise<bigint> {
    if (this.ia === undefined) this.ia = decodeAsResponse(await this.call(DaemonMethod.as, encodeAsRequest(0n))).ia;
    return this.ia;
  }

  private async call(method: string, message: Uint8Array, timeoutMs?: number): Promise<Uint8Array> {
    try {
      return await this.grpc.unary(method, message, timeoutMs);
    } catch (error) {
      const why = messageOf(error);
      const refused = error instanceof GrpcError && error.answered;
      const what = refused
        ? `refused ${method.slice(method.lastIndexOf('/') + 1)}: ${why}`
        : `does not answer (${why}); is it running, and scion.daemon right?`;
      throw new ScionError(
        'scion.daemon',
        `SCION daemon ${this.address} ${what}`,
        { address: this.address, method },
        error,
      );
    }
  }
}

/** The routers of an AS: interfaces that share an inner address. Daemons tell interfaces in any order. */
function routersOf(interfaces: ReadonlyMap<number, IpPort>): HostTopology['routers'] {
  const routers = new Map<string, { internal: IpPort; interfaces: { id: number }[] }>();
  for (const [id, internal] of [...interfaces].sort(([a], [b]) => a - b)) {
    const key = formatIpPort(internal.host, internal.port);
    const router = routers.get(key) ?? { internal, interfaces: [] };
    router.interfaces.push({ id });
    routers.set(key, router);
  }
  return [...routers.values()];
}
