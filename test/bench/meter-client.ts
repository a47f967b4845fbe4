/** A DLMS client of a lab's meter, in the head end's AS or beside the meter, as the head end itself connects. */

import { join } from 'node:path';
import { readKeyFile } from '#hw/dlms-keys';
import { readSecretFile, readTopologyFile } from '#hw/files';
import type { Lab, LabMeter } from '#hw/lab/lab';
import { HEADEND_AS, METER_AS } from '#hw/lab/topology';
import { createLog } from '#hw/log';
import { pathClient } from '#hw/path-client';
import { combiningSource } from '#hw/path-source';
import { ScionSocket } from '#hw/scion-socket';
import { parseEndpoint } from '#scion/address';
import { formatIpPort } from '#scion/ip';
import { parsePolicy } from '#scion/policy';
import { ChannelSwitch } from '../../headend/meter/channel.ts';
import { DlmsConnection } from '../../headend/meter/dlms-connection.ts';
import { meterKeys, takeHeadEndTitle } from '../../headend/meter/head-end-keys.ts';

export interface BenchClient {
  readonly connection: DlmsConnection;
  readonly socket: ScionSocket;
  close(): Promise<void>;
}

/**
 * @param place  `headend`: across the gateways; `beside`: in the meter's own AS, without a router between
 * @param acl  path policy; the lab's head end has this one
 * @param credential  client 1, ciphered, or client 17 in the clear
 */
export async function connectMeter(
  lab: Lab,
  meter: LabMeter,
  place: 'headend' | 'beside',
  acl: readonly string[] = ['+ 1', '-'],
  credential: 'keys' | 'password' = 'keys',
): Promise<BenchClient> {
  const as = place === 'headend' ? HEADEND_AS : METER_AS;
  const hostIp = place === 'headend' ? lab.addresses.headend(as.number) : lab.addresses.meter(as.number, 120);
  const topology = readTopologyFile(lab.topologyFile(as.ia));
  const log = createLog('bench', { level: 'error' });
  const services = topology.controlServices.map(({ host, port }) => formatIpPort(host, port));
  const segments = pathClient({ ia: topology.ia, isCore: topology.core, services, log });
  const pathSource = combiningSource(topology, segments);
  const policy = parsePolicy(acl);
  const socket = await ScionSocket.open({ topology, hostIp, log, pathSource, policy, shim: false });
  const connection = new DlmsConnection({
    socket,
    channels: new ChannelSwitch(socket),
    meter: parseEndpoint(meter.address),
    ...(credential === 'keys'
      ? { security: meterKeys(takeHeadEndTitle(join(lab.folder, 'client-starts'), 255), readKeyFile(meter.keyFile)) }
      : { password: readSecretFile(meter.passwordFile) }),
    log,
  });
  return {
    connection,
    socket,
    async close() {
      await connection.close();
      await socket.close();
    },
  };
}
