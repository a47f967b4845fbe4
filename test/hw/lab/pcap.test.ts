import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readU16, readU32, toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { PCAP_HEADER_LENGTH, pcapHeader, pcapRecord, pcapRecordLength } from '#hw/lab/pcap';

const Pcap = suite('packet captures');
const a = { host: '127.16.1.1', port: 51001 };
const b = { host: '127.16.110.1', port: 50001 };

Pcap('the file header names microseconds, version 2.4 and link type RAW', () => {
  const out = new Uint8Array(PCAP_HEADER_LENGTH);
  assert.is(pcapHeader(out), PCAP_HEADER_LENGTH);
  assert.is(toHex(out), 'a1b2c3d40002000400000000000000000000ffff00000065');
});

Pcap('a record holds the time, the lengths, and an IPv4 packet with a right checksum', () => {
  const payload = Uint8Array.of(1, 2, 3, 4, 5);
  const out = new Uint8Array(pcapRecordLength(payload.length) + 4);
  const end = pcapRecord(out, 4, 1_700_000_000_123_456, a, b, payload);
  assert.is(end, out.length);
  assert.equal([readU32(out, 4), readU32(out, 8)], [1_700_000_000, 123_456]);
  assert.equal([readU32(out, 12), readU32(out, 16)], [33, 33]);
  const ip = 20;
  assert.is(toHex(out, ip, ip + 4), '45000021');
  assert.is(toHex(out, ip + 12, ip + 20), '7f1001017f106e01');
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += readU16(out, ip + i);
  assert.is((sum & 0xffff) + (sum >>> 16), 0xffff);
  assert.is(toHex(out, ip + 20, end), `c739c351000d0000${toHex(payload)}`);
});

Pcap('ends that are not IPv4 and payloads beyond a datagram are refused', () => {
  const out = new Uint8Array(70_000);
  const refused = (run: () => unknown) =>
    assert.throws(run, (e: unknown) => e instanceof S3mpError && e.code === 'encode.out-of-range');
  refused(() => pcapRecord(out, 0, 0, { host: '::1', port: 1 }, b, new Uint8Array(1)));
  refused(() => pcapRecord(out, 0, 0, a, b, new Uint8Array(65_508)));
  assert.is(pcapRecord(out, 0, 0, a, b, new Uint8Array(65_507)), pcapRecordLength(65_507));
});

Pcap.run();
