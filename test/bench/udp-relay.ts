/**
 * A bare UDP relay: sends every datagram on to one address. The measure beside which the router's speed stands; a process
 * of its own, like the router.
 *
 *   node udp-relay.js LISTEN_HOST LISTEN_PORT TO_HOST TO_PORT
 */

import { UdpSocket } from '#hw/udp';

const [host = '', port = '', toHost = '', toPort = ''] = process.argv.slice(2);

async function main(): Promise<void> {
  const to = Number(toPort);
  const out = await UdpSocket.open({ host, port: 0, onDatagram() {} });
  await UdpSocket.open({ host, port: Number(port), onDatagram: (datagram) => out.send(datagram, toHost, to) });
  process.stderr.write('{"message":"ready"}\n');
}

void main();
