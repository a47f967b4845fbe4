/** The DLMS server behind a SCION socket: who is one client, and whom failed passwords count against. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, toHex } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import { serveDlmsOverScion } from '#hw/dlms-scion';
import { createLog } from '#hw/log';
import type { ScionEndpoint } from '#hw/scion-endpoint';
import type { PeerRef } from '#scion/end-host';
import { PASSWORD, testMeter } from '../interop/dlms-meter.ts';

const Scion = suite('dlms over scion');

/** What of the socket the server uses; the answers by peer. */
function served() {
  const meter = testMeter();
  let answer = '';
  const socket = {
    onDatagram: (_frame: Uint8Array, _peer: PeerRef): void => {},
    reply: (_peer: PeerRef, bytes: Uint8Array) => {
      answer = toHex(bytes, WRAPPER_SIZE);
    },
  };
  serveDlmsOverScion(socket as unknown as ScionEndpoint, meter.server, createLog('test', { level: 'error' }));
  const attempt = (text: string, port: number, password: string): string => {
    const client = new DlmsClient({ clientSap: 17, password: asciiBytes(password) });
    answer = '';
    socket.onDatagram((client.associate().next().value as Uint8Array).slice(), { text, port } as PeerRef);
    return answer;
  };
  return { meter, attempt };
}

Scion('a host that guesses is slowed down whatever port it uses, and no other host with it', () => {
  const { meter, attempt } = served();
  const granted = attempt('1-ff00:0:112,127.0.0.1', 40_000, PASSWORD);
  assert.match(granted, /^61..a109060760857405080101a203020100/);
  for (let i = 0; i < 4; i++) attempt('2-ff00:0:210,127.0.0.1', 50_000 + i, `guess ${i}`);
  assert.is.not(attempt('2-ff00:0:210,127.0.0.1', 60_000, PASSWORD), granted, 'the right one, too soon');
  assert.is(attempt('1-ff00:0:112,127.0.0.1', 40_001, PASSWORD), granted, 'the head end is not locked out');
  assert.is(attempt('2-ff00:0:210,127.0.0.2', 50_000, PASSWORD), granted, 'nor is a neighbour');
  const failures = meter.events.flatMap((event) => (event.kind === 'association-rejected' ? [event.failures] : []));
  assert.equal(failures, [1, 2, 3, 4, 0]);
});

Scion.run();
