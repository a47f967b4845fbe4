import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DecodeError } from '#base/errors';
import { readProgramFile, unfitReason } from '../../../hw/image/elf.ts';
import { seeded } from '../../random.ts';
import { ROOT } from './card-image.ts';

const Elf = suite('elf');
const driver = (folder: string, part: string) => {
  const dir = join(ROOT, 'dist/prebuilds', folder);
  return readFileSync(join(dir, readdirSync(dir).find((name) => name.includes(part))!));
};
const armv6 = driver('linux-arm', 'armv6.glibc');

Elf('the build attributes of real ARM files are read as readelf reads them', () => {
  assert.equal(readProgramFile(armv6), {
    machine: 'arm',
    cpu: 'v6KZ',
    fpu: 'VFPv2',
    hasNeon: false,
    isHardFloat: true,
  });
  const armv7 = readProgramFile(driver('linux-arm', 'armv7.glibc'));
  assert.is(armv7.cpu, 'v7');
  assert.is(readProgramFile(driver('linux-arm64', 'node')).machine, 'arm64');
  assert.is(readProgramFile(driver('linux-x64', 'glibc')).machine, 'other');
});

Elf('what a processor cannot run is told why', () => {
  const file = readProgramFile(armv6);
  assert.is(unfitReason(file, 'armv6'), undefined);
  assert.is(unfitReason(file, 'armv7'), undefined);
  assert.match(unfitReason(file, 'arm64')!, /32-bit/);
  const with_ = (more: object) => unfitReason({ ...file, ...more }, 'armv6') ?? 'fits';
  assert.match(with_({ cpu: 'v7' }), /ARMv7/);
  assert.match(with_({ cpu: 'v6T2' }), /ARMv6T2/);
  assert.is(with_({ cpu: 'v6K' }), 'fits');
  assert.match(with_({ fpu: 'VFPv3' }), /VFPv3/);
  assert.match(with_({ fpu: 'unknown (9)' }), /unknown/);
  assert.match(with_({ hasNeon: true }), /NEON/);
  assert.match(unfitReason({ machine: 'other' }, 'armv7')!, /not built for ARM/);
});

Elf('damaged files are an error of their own, or read', () => {
  const { below } = seeded();
  for (let round = 0; round < 3000; round++) {
    const bytes = Uint8Array.from(armv6);
    // Header, section headers and attributes lie at both ends.
    const at = below(2) === 0 ? below(64) : bytes.length - 1 - below(2000);
    bytes[at] = below(256);
    const end = below(4) === 0 ? below(bytes.length) : bytes.length;
    try {
      readProgramFile(bytes.subarray(0, end));
    } catch (error) {
      assert.ok(error instanceof DecodeError, `round ${round}: ${error}`);
    }
  }
});

Elf.run();
