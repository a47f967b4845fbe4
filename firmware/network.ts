/**
 * The meter's sockets: SCION, and those of legacy clients where they are served. An address that this host does not have
 * yet (a cable that was out when the power came, a lease that is late) is no reason not to measure: it is tried again.
 */

import { messageOf } from '#base/errors';
import type { DlmsServer } from '#dlms/server';
import { Sap } from '#dlms/wrapper';
import type { Config } from '#hw/config';
import { serveDlmsOverScion } from '#hw/dlms-scion';
import { type DlmsTcpListener, listenDlmsTcp } from '#hw/dlms-tcp';
import { listenDlmsUdp } from '#hw/dlms-udp';
import type { Log } from '#hw/log';
import { ScionEndpoint } from '#hw/scion-endpoint';
import type { UdpSocket } from '#hw/udp';
import type { FileTopology } from '#scion/host-topology';
import type { IpPort } from '#scion/ip';

export interface NetworkOptions {
  readonly config: Config;
  readonly topology: FileTopology;
  readonly server: DlmsServer;
  /** Where legacy clients are served; undefined where they are not. */
  readonly tcpPlace: IpPort | undefined;
  readonly udpPlace: IpPort | undefined;
  readonly log: Log;
  readonly dlmsLog: Log;
  /** Told when there is SCION, behind whoever answers on it. */
  readonly onScion: (socket: ScionEndpoint) => void;
}

export class MeterNetwork {
  scion: ScionEndpoint | undefined;
  tcp: DlmsTcpListener | undefined;
  udp: UdpSocket | undefined;
  /** Why an address is not served yet; undefined when all are. */
  fault: string | undefined;
  readonly #options: NetworkOptions;
  #opening: Promise<void> | undefined;

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** Opens what is not open. @throws S3mpError for an address that is taken or cannot be one of this host */
  async open(): Promise<void> {
    const { log } = this.#options;
    let fault: string | undefined;
    for (const step of [this.#openScion, this.#openTcp, this.#openUdp]) {
      try {
        await step.call(this);
      } catch (error) {
        if (((error as Error).cause as NodeJS.ErrnoException | undefined)?.code !== 'EADDRNOTAVAIL') throw error;
        fault ??= messageOf(error);
      }
    }
    if (fault === undefined && this.fault !== undefined) log.info('the network is there');
    if (fault !== undefined && this.fault === undefined)
      log.error('no network yet: the meter measures, and tries again', { error: fault });
    this.fault = fault;
  }

  async #openScion(): Promise<void> {
    const { config, topology, server, log, dlmsLog, onScion } = this.#options;
    if (this.scion) return;
    const hostIp = config.string('scion.address');
    this.scion = await ScionEndpoint.open({ topology, hostIp, port: config.number('scion.port'), log });
    const hidden = config.boolean('dlms.public_over_scion') ? [] : [Sap.publicClient];
    serveDlmsOverScion(this.scion, server, dlmsLog, hidden);
    onScion(this.scion);
  }

  async #openTcp(): Promise<void> {
    const { server, tcpPlace, dlmsLog } = this.#options;
    if (tcpPlace) this.tcp ??= await listenDlmsTcp({ server, ...tcpPlace, log: (text) => dlmsLog.warn(text) });
  }

  async #openUdp(): Promise<void> {
    const { server, udpPlace, dlmsLog } = this.#options;
    if (udpPlace) this.udp ??= await listenDlmsUdp({ server, ...udpPlace, log: (text) => dlmsLog.warn(text) });
  }

  /** Tries again what was not there. What else is wrong then is said, and tried again as well. */
  retry(): void {
    this.#opening ??= this.open()
      .catch((error) => {
        this.fault = messageOf(error);
        this.#options.log.error('no network', { error: this.fault });
      })
      .finally(() => {
        this.#opening = undefined;
      });
  }

  async close(): Promise<void> {
    await this.#opening;
    await Promise.all([this.tcp?.close(), this.udp?.close(), this.scion?.close()]);
  }
}
