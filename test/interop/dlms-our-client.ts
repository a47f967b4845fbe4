import { asciiBytes } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { type Exchange, exchange } from '#dlms/exchange';
import { inBlocks } from '#dlms/gbt-client';
import { Conformance } from '#dlms/initiate';
import { connectDlmsTcp, connectHdlcTcp } from '#hw/dlms-tcp';
import { openDlmsUdp } from '#hw/dlms-udp';
import { HOST } from './dlms-cells.ts';
import { PASSWORD } from './dlms-meter.ts';
import type { Transport } from './dlms-peers.ts';

export interface OurOptions {
  readonly security?: ConstructorParameters<typeof DlmsClient>[0]['security'];
  readonly isPublic?: boolean;
  readonly gbt?: boolean;
}

/** Our client with a channel of any kind. */
export class OurClient {
  readonly client: DlmsClient;
  readonly #send: (frame: Uint8Array) => Promise<Uint8Array>;
  readonly close: () => void;
  readonly #gbt: boolean;

  private constructor(
    client: DlmsClient,
    channel: { exchange(frame: Uint8Array): Promise<Uint8Array>; close(): unknown },
    gbt: boolean,
  ) {
    this.client = client;
    this.#send = (frame) => channel.exchange(frame);
    this.close = () => void channel.close();
    this.#gbt = gbt;
  }

  static async connect(transport: Transport, port: number, options: OurOptions): Promise<OurClient> {
    const { security, isPublic = false, gbt = false } = options;
    const clientSap = security ? 1 : isPublic ? 16 : 17;
    const services =
      Conformance.get |
      Conformance.set |
      Conformance.action |
      Conformance.selectiveAccess |
      Conformance.generalBlockTransfer;
    const client = new DlmsClient({
      clientSap,
      ...(security ? { security } : isPublic ? {} : { password: asciiBytes(PASSWORD) }),
      ...(gbt ? { conformance: services, maxPdu: 128 } : {}),
    });
    const channel =
      transport === 'tcp'
        ? await connectDlmsTcp(HOST, port)
        : transport === 'udp'
          ? await openDlmsUdp(HOST, port)
          : await connectHdlcTcp(HOST, port, { clientSap });
    const ours = new OurClient(client, channel, gbt);
    try {
      await exchange(client.associate(), ours.#send);
    } catch (error) {
      ours.close();
      throw error;
    }
    return ours;
  }

  run<T>(operation: (client: DlmsClient) => Exchange<T>): Promise<T> {
    const { client } = this;
    const whole = operation(client);
    return exchange(this.#gbt ? inBlocks(whole, client.serverMaxPdu) : whole, this.#send);
  }
}
