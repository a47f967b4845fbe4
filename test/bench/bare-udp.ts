/**
 * A bare UDP process for baselines: with one argument it echoes, with two it relays between whoever sends and a target.
 *   node bare-udp.js HOST:PORT [TARGET_HOST:PORT]
 */

import { createSocket } from 'node:dgram';

const [own = '', target] = process.argv.slice(2);
const split = (text: string) => ({ host: text.split(':')[0]!, port: Number(text.split(':')[1]) });
const socket = createSocket('udp4');
let source = { address: '', port: 0 };

socket.on('message', (packet, from) => {
  if (target === undefined) {
    socket.send(packet, from.port, from.address);
    return;
  }
  const { host, port } = split(target);
  if (from.port === port && from.address === host) socket.send(packet, source.port, source.address);
  else {
    source = from;
    socket.send(packet, port, host);
  }
});
socket.bind(split(own).port, split(own).host, () => console.log('ready'));
