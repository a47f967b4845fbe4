/**
 * A bare TCP server for baselines: answers each segment with an answer of a GET's length, without reading it. With the
 * argument `in-place` it receives into one buffer, as the meter does; without, as node:net does by itself. Prints its port;
 * the end of stdin ends it.
 */

import { type AddressInfo, createServer, type Socket } from 'node:net';
import { receiveInPlace } from '#hw/accepted-socket';

/** The answer of every DLMS server in this bench: a wrapper header, four bytes of GET and a double-long-unsigned. */
const ANSWER = Buffer.from('0001000100110009c401c100060012d680', 'hex');
const isInPlace = process.argv[2] === 'in-place';

const server = createServer({ pauseOnConnect: isInPlace }, (accepted) => {
  const answer = () => socket.write(ANSWER);
  const socket: Socket = isInPlace ? receiveInPlace(accepted, 4096, answer) : accepted.on('data', answer);
  socket.setNoDelay(true).on('error', () => socket.destroy());
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
process.stdin.on('end', () => process.exit(0)).resume();
