/**
 * What a program file was built for: ELF header and the build attributes of ARM (section .ARM.attributes; "Addenda to, and
 * Errata in, the ABI for the Arm Architecture", build attributes). A Pi Zero (ARM1176, ARMv6KZ with VFPv2) runs nothing
 * that was built for ARMv7 or NEON, and dies of it with an illegal instruction.
 */

import { asciiText } from '#base/bytes';
import { DecodeError } from '#base/errors';

/** Boards' processors: what their programs may use. */
export type Processor = 'armv6' | 'armv7' | 'arm64';

export interface ProgramFile {
  readonly machine: 'arm' | 'arm64' | 'other';
  /** ARM only; as the attributes say it. */
  readonly cpu?: string;
  readonly fpu?: string;
  readonly hasNeon?: boolean;
  /** Floating-point arguments in VFP registers (armhf). */
  readonly isHardFloat?: boolean;
}

const MACHINE_ARM = 40;
const MACHINE_ARM64 = 183;
const SECTION_ATTRIBUTES = 0x7000_0003;
const FLAG_HARD_FLOAT = 0x400;
const Tag = { cpuArch: 6, fpArch: 10, simdArch: 12, vfpArguments: 28, compatibility: 32 } as const;
/** Tags below 32 whose value is a text; above, odd ones have one. */
const TEXT_TAGS = new Set([4, 5]);

/** Tag_CPU_arch, and which of them an ARM1176 runs. */
const CPU_NAMES: readonly string[] = [
  'pre-v4',
  'v4',
  'v4T',
  'v5T',
  'v5TE',
  'v5TEJ',
  'v6',
  'v6KZ',
  'v6T2',
  'v6K',
  'v7',
  'v6-M',
  'v6S-M',
  'v7E-M',
  'v8',
];
const RUNS_ON_ARMV6 = new Set([0, 1, 2, 3, 4, 5, 6, 7, 9]);
const FPU_NAMES: readonly string[] = ['none', 'VFPv1', 'VFPv2', 'VFPv3', 'VFPv3-D16', 'VFPv4', 'VFPv4-D16', 'ARMv8'];
const HIGHEST_FPU_OF_ARMV6 = 2;

/** @throws DecodeError for what is not an ELF file, or one that ends early */
export function readProgramFile(bytes: Uint8Array): ProgramFile {
  const need = (at: number, length: number, what: string) => {
    if (at < 0 || at + length > bytes.length) throw new DecodeError(what, at, `${length} bytes`, 'decode.truncated');
  };
  need(0, 52, 'ELF header');
  if (bytes[0] !== 0x7f || asciiText(bytes, 1, 4) !== 'ELF') throw new DecodeError('program file', 0, 'an ELF header');
  if (bytes[5] !== 1) return { machine: 'other' };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const machine = view.getUint16(18, true);
  if (machine === MACHINE_ARM64 && bytes[4] === 2) return { machine: 'arm64' };
  if (machine !== MACHINE_ARM || bytes[4] !== 1) return { machine: 'other' };
  const flags = view.getUint32(36, true);
  const sectionsAt = view.getUint32(32, true);
  const entrySize = view.getUint16(46, true);
  const count = view.getUint16(48, true);
  need(sectionsAt, count * entrySize, 'ELF section headers');
  if (entrySize < 40) throw new DecodeError('ELF section headers', 46, 'entries of 40 bytes');
  for (let i = 0; i < count; i++) {
    const at = sectionsAt + i * entrySize;
    if (view.getUint32(at + 4, true) !== SECTION_ATTRIBUTES) continue;
    const from = view.getUint32(at + 16, true);
    const size = view.getUint32(at + 20, true);
    need(from, size, 'ARM attributes');
    const tags = readAttributes(bytes.subarray(from, from + size));
    const cpu = tags.get(Tag.cpuArch) ?? 0;
    const fpu = tags.get(Tag.fpArch) ?? 0;
    return {
      machine: 'arm',
      cpu: CPU_NAMES[cpu] ?? `later than v8 (${cpu})`,
      fpu: FPU_NAMES[fpu] ?? `unknown (${fpu})`,
      hasNeon: (tags.get(Tag.simdArch) ?? 0) > 0,
      isHardFloat: tags.get(Tag.vfpArguments) === 1 || (flags & FLAG_HARD_FLOAT) !== 0,
    };
  }
  throw new DecodeError('program file', sectionsAt, 'a section .ARM.attributes');
}

/**
 *   'A' | { length u32 | "aeabi" 0 | { tag uleb128 | length u32 | { tag uleb128 | value uleb128 or text 0 }* }* }*
 *
 * Tag 1 of the inner level is the whole file; others, for sections and symbols, say nothing that counts here.
 */
function readAttributes(bytes: Uint8Array): Map<number, number> {
  const tags = new Map<number, number>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** End of a part that begins at `from` and whose length, counted from there, stands at `at`. */
  const partEnd = (from: number, at: number, end: number) => {
    if (at + 4 > end) throw new DecodeError('ARM attributes', at, 'a length', 'decode.truncated');
    const value = view.getUint32(at, true);
    if (value < 5 || from + value > end) throw new DecodeError('ARM attributes', at, 'a length that fits');
    return from + value;
  };
  const cursor = { at: 0 };
  const uleb = (end: number) => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      if (cursor.at >= end || shift > 28) throw new DecodeError('ARM attributes', cursor.at, 'a number of 32 bits');
      const byte = bytes[cursor.at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  };
  const text = (end: number) => {
    const from = cursor.at;
    while (cursor.at < end && bytes[cursor.at] !== 0) cursor.at++;
    return asciiText(bytes, from, cursor.at++);
  };
  if (bytes[0] !== 0x41) throw new DecodeError('ARM attributes', 0, 'version A');
  for (let at = 1; at < bytes.length; ) {
    const end = partEnd(at, at, bytes.length);
    cursor.at = at + 4;
    const isPublic = text(end) === 'aeabi';
    while (isPublic && cursor.at < end) {
      const from = cursor.at;
      const scope = uleb(end);
      const stop = partEnd(from, cursor.at, end);
      cursor.at += 4;
      while (scope === 1 && cursor.at < stop) {
        const tag = uleb(stop);
        if (tag === Tag.compatibility) {
          uleb(stop);
          text(stop);
        } else if (TEXT_TAGS.has(tag) || (tag > 32 && tag % 2 === 1)) text(stop);
        else tags.set(tag, uleb(stop));
      }
      cursor.at = stop;
    }
    at = end;
  }
  return tags;
}

/** Why a program does not run on a processor; undefined when it does. */
export function unfitReason(program: ProgramFile, processor: Processor): string | undefined {
  if (program.machine === 'other') return 'it is not built for ARM';
  if (processor === 'arm64') return program.machine === 'arm64' ? undefined : 'it is built for 32-bit ARM';
  if (program.machine === 'arm64') return 'it is built for 64-bit ARM';
  if (processor === 'armv7') return undefined;
  const cpu = CPU_NAMES.indexOf(program.cpu ?? '');
  if (!RUNS_ON_ARMV6.has(cpu)) return `it is built for ARM${program.cpu}, the Pi Zero is ARMv6`;
  if (FPU_NAMES.indexOf(program.fpu ?? '') > HIGHEST_FPU_OF_ARMV6 || !FPU_NAMES.includes(program.fpu ?? ''))
    return `it is built for ${program.fpu}, the Pi Zero has VFPv2`;
  if (program.hasNeon) return 'it uses NEON, which the Pi Zero has not';
  return undefined;
}
