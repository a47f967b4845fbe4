/**
 * Gurux for Python over every transport of our server: wrapper over TCP and UDP, HDLC inside TCP; and its SET and ACTION in
 * blocks, with service-specific and with general block transfer.
 */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { Conformance } from '#dlms/initiate';
import { listenDlmsTcp } from '#hw/dlms-tcp';
import { listenDlmsUdp } from '#hw/dlms-udp';
import { needs, PYTHON, pythonHas } from '#test/needs';
import { octets, type SmallMeter, smallMeter } from '../protocols/dlms/small-device.ts';

const script = join(__dirname, '..', '..', '..', 'test', 'interop', 'gurux-transport.py');
const HOST = '127.0.0.1';

interface Plan {
  readonly maxPdu: number;
  readonly maxInfo?: number;
  readonly gbt?: number;
  readonly steps: readonly (readonly (string | number)[])[];
}

type Line = { readonly associated?: { conformance: number }; readonly result?: unknown; readonly error?: string };

async function run(transport: 'tcp' | 'udp' | 'hdlc', plan: Plan, meter: SmallMeter): Promise<Line[]> {
  const { server } = meter;
  const listener =
    transport === 'udp'
      ? await listenDlmsUdp({ server, host: HOST, port: 0 })
      : await listenDlmsTcp({ server, host: HOST, port: 0 });
  try {
    const child = spawn(PYTHON, [script, transport, HOST, String(listener.port), JSON.stringify(plan)]);
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (errors += chunk));
    const status = await new Promise((resolve) => child.on('close', resolve));
    assert.is(status, 0, errors);
    return output
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Line);
  } finally {
    await listener.close();
  }
}

const hex = (size: number) => {
  const value = octets(size);
  return value.type === 'octet-string' ? toHex(value.value) : '';
};

if (
  needs('gurux', pythonHas('gurux_dlms'), 'install test/interop/requirements.txt for the Python that S3MP_PYTHON names')
) {
  const Transport = suite('dlms interop: gurux over tcp, udp and hdlc');

  for (const [transport, maxInfo] of [
    ['tcp', 0],
    ['udp', 0],
    ['hdlc', 0],
    ['hdlc', 512],
  ] as const) {
    const name = maxInfo ? `${transport} with ${maxInfo} bytes of information` : transport;
    Transport(`writes in blocks, reads in blocks, by entry and runs a method over ${name}`, async () => {
      const meter = smallMeter({ rows: 100, maxPdu: 300 });
      const steps = [
        ['write', 100],
        ['read'],
        ['write', 3000],
        ['read'],
        ['entries', 3, 4],
        ['echo', 20],
        ['echo', 1000],
      ];
      const plan = { maxPdu: 300, maxInfo, steps: [...steps, ['release']] };
      const [opened, ...lines] = await run(transport, plan, meter);
      assert.ok(opened!.associated, opened!.error);
      assert.equal(
        lines.slice(0, 6).map(({ result, error }) => error ?? result),
        ['done', hex(100), 'done', hex(3000), [2, 3, 4, 5], hex(20)],
      );
      // An answer in blocks of an ACTION is not assembled by this client; the method ran, with all of its parameter.
      assert.equal(meter.note.log.at(-1), octets(1000));
      assert.is(lines.at(-1)!.result, 'done', lines.at(-1)!.error);
      assert.equal(meter.events.at(-1)!.kind, 'association-closed');
    });
  }

  Transport('sends SET and ACTION in general block transfer, window 1 and 3', async () => {
    for (const gbt of [1, 3]) {
      const meter = smallMeter({ maxPdu: 128 });
      const steps = [['write', 300], ['read'], ['echo', 100], ['echo', 300], ['release']];
      const [opened, ...lines] = await run('tcp', { maxPdu: 128, gbt, steps }, meter);
      assert.ok((opened!.associated!.conformance & reversed(Conformance.generalBlockTransfer)) !== 0);
      assert.equal(
        lines.slice(0, 3).map(({ result, error }) => error ?? result),
        ['done', hex(300), hex(100)],
      );
      assert.equal(meter.note.log.at(-1), octets(300), 'the parameter came whole');
      // Where the answer takes several blocks this client fails by itself.
      assert.match(String(lines[3]!.error), /'GXDLMSSettings' object has no attribute 'blockNumber'/);
    }
  });

  Transport.run();
}

/** Gurux counts the bits of the conformance block from the other end. */
function reversed(conformance: number): number {
  let bits = 0;
  for (let i = 0; i < 24; i++) if (conformance & (1 << i)) bits |= 1 << (23 - i);
  return bits;
}
