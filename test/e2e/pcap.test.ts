/**
 * What the links carry during one reading, captured by the link emulator, read by the official SCION decoders: every
 * packet parses, every hop-field MAC verifies from the ASes' keys, and our own decoder sees the same.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { PCAP_HEADER_LENGTH } from '#hw/lab/pcap';
import { FOREIGN_LINKS, LAB_ASES, METER_AS } from '#hw/lab/topology';
import { needs } from '#test/needs';
import { compareWithGo } from '../interop/compare-packets.ts';
import { buildGoPackets, decodeWithGo } from '../interop/go-packets.ts';
import { Platform, until } from './platform.ts';

const RECORD_HEADER = 16;
const IP_AND_UDP = 28;
const DLMS_PORT = 4059;

/** UDP payloads of a capture of ours (raw IPv4, written by this machine: little or big endian by its magic number). */
function payloadsOf(file: string): Uint8Array[] {
  const bytes = new Uint8Array(readFileSync(file));
  const view = new DataView(bytes.buffer);
  const little = view.getUint32(0, true) === 0xa1b2c3d4;
  const payloads: Uint8Array[] = [];
  for (let at = PCAP_HEADER_LENGTH; at < bytes.length; ) {
    const length = view.getUint32(at + 8, little);
    payloads.push(bytes.slice(at + RECORD_HEADER + IP_AND_UDP, at + RECORD_HEADER + length));
    at += RECORD_HEADER + length;
  }
  return payloads;
}

const Pcap = suite('pcap of one reading');

Pcap('the official decoders and ours agree on every packet', async () => {
  const platform = await Platform.start();
  try {
    const { lab } = platform;
    await until('the first reading', async () => (await platform.read()).status === 200);
    const inside = lab.links.names.filter((name) => !FOREIGN_LINKS.includes(name));
    const files = inside.map((name) => [name, join(lab.folder, `${name}.pcap`)] as const);
    for (const [name, file] of files) lab.links.capture(name, file);
    assert.is((await platform.read()).status, 200);
    // Standby paths are probed meanwhile; wait until every link has carried something.
    await until('packets on every link', () => files.every(([, file]) => payloadsOf(file).length >= 2));
    for (const [name] of files) lab.links.capture(name, undefined);

    const keys = LAB_ASES.map(
      ({ ia }) => [ia, readFileSync(join(lab.asFolder(ia), 'keys', 'master0.key'), 'utf8')] as const,
    );
    let readings = 0;
    for (const [name, file] of files) {
      const ours = payloadsOf(file);
      const theirs = decodeWithGo(file, new Map(keys));
      assert.is(theirs.length, ours.length, name);
      theirs.forEach((packet, i) => {
        compareWithGo(ours[i]!, packet);
        assert.ok(packet.macs_ok, `${name}, packet ${i + 1}: MACs`);
        const ases = [...new Set(packet.hops!.map((h) => h.as))];
        assert.ok(ases.includes(METER_AS.ia) && ases.every((as) => as.startsWith('1-')), ases.join(' '));
      });
      const udp = theirs.filter((p) => p.l4 === 'udp');
      readings += udp.filter((p) => p.dst_port === DLMS_PORT && p.dst_ia === METER_AS.ia).length;
      console.log(`${name}: ${theirs.length} packets, ${udp.length} of them DLMS`);
    }
    assert.ok(readings >= 1, 'no request of the reading in the captures');
  } finally {
    await platform.stop();
  }
});

const obstacle = buildGoPackets();
if (needs('go', obstacle === undefined, obstacle ?? '')) Pcap.run();
