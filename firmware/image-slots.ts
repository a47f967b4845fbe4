/**
 * Firmware images over the line: where one arrives (`image.bin`, and what has come of it in `image.json`), who judges it,
 * and how it gets into a slot of the launcher (boot-record.ts). Nothing here touches the relay.
 */

import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { VerifyKey } from '#base/crypto';
import { messageOf } from '#base/errors';
import { type ImageProgress, type ImageSlot, ImageStatus } from '#dlms/cosem/image-transfer';
import { EventCode } from '#dlms/well-known';
import { nodeCrypto } from '#hw/crypto';
import type { Log } from '#hw/log';
import { renameDurably } from '#hw/medium';
import { decodeFirmwareImage, judgeFirmwareImage, type Version, verifyFirmwareImage } from '#session/firmware-image';
import {
  type BootRecord,
  fallBack,
  freeSlot,
  MODEL,
  onTrial,
  proven,
  readBootRecord,
  slotFile,
  writeBootRecord,
} from './boot-record.ts';

/** The state folder, as far as images need it. */
export interface ImageFiles {
  path(name: string): string;
  /** Runs a file operation. @returns its value, undefined when it failed, which is logged */
  attempt<T>(what: string, operation: () => T): T | undefined;
  /** A text that survives a restart. */
  text(name: string): { get(): string; set(text: string): void };
}

export class FileImageSlot implements ImageSlot {
  readonly capacity: number;
  readonly #files: ImageFiles;
  readonly #file: string;
  readonly #progress: { get(): string; set(text: string): void };

  constructor(files: ImageFiles, capacity: number) {
    this.capacity = capacity;
    this.#files = files;
    this.#file = files.path('image.bin');
    this.#progress = files.text('image.json');
  }

  load(): ImageProgress | undefined {
    const text = this.#progress.get();
    if (text === '' || !existsSync(this.#file)) return undefined;
    return this.#files.attempt('image.json is broken, the image comes anew', () => {
      const { id, size, blockSize, blocks } = JSON.parse(text) as Record<string, string & number>;
      const octets = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
      const progress = { id: octets(id!), size: Number(size), blockSize: Number(blockSize), blocks: octets(blocks!) };
      const isWhole = progress.blocks.length === Math.ceil(Math.ceil(progress.size / progress.blockSize) / 8);
      return isWhole && progress.size <= this.capacity ? progress : undefined;
    });
  }

  begin(progress: ImageProgress): boolean {
    const isReady = this.#files.attempt('no room for an image', () => {
      writeFileSync(this.#file, new Uint8Array(0), { mode: 0o600 });
      truncateSync(this.#file, progress.size);
      return true;
    });
    if (isReady) this.save(progress);
    return isReady === true;
  }

  write(offset: number, data: Uint8Array): boolean {
    return this.#open('r+', (descriptor) => writeSync(descriptor, data, 0, data.length, offset)) === data.length;
  }

  save({ id, size, blockSize, blocks }: ImageProgress): void {
    this.#open('r+', (descriptor) => fsyncSync(descriptor));
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    this.#progress.set(JSON.stringify({ id: hex(id), size, blockSize, blocks: hex(blocks) }));
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#open('r', (descriptor) => readSync(descriptor, bytes, 0, length, offset));
    return bytes;
  }

  digest(length: number): Uint8Array {
    const hash = createHash('sha256');
    const chunk = new Uint8Array(16_384);
    this.#open('r', (descriptor) => {
      for (let at = 0; at < length; ) {
        const count = readSync(descriptor, chunk, 0, Math.min(chunk.length, length - at), at);
        if (count === 0) break;
        hash.update(chunk.subarray(0, count));
        at += count;
      }
    });
    return Uint8Array.from(hash.digest());
  }

  #open<T>(flags: string, work: (descriptor: number) => T): T | undefined {
    return this.#files.attempt('the image slot failed', () => {
      const descriptor = openSync(this.#file, flags);
      try {
        return work(descriptor);
      } finally {
        closeSync(descriptor);
      }
    });
  }
}

/** An image on trial has this long to read the energy meter, when the one before it could. */
const TRIAL_MS = 600_000;

export interface SlotOptions {
  /** State folder. */
  readonly folder: string;
  readonly log: Log;
  readonly version: Version;
  /** Release key; without it no image is taken. */
  readonly key: VerifyKey | undefined;
  /** Whether a launcher has started this process that looks into the same folder. */
  readonly isLaunched: boolean;
  readonly record: (code: number) => void;
  /** Ends the process in order, so that the service starts again. */
  readonly restart: (status: number) => void;
}

/** The slots as the running firmware sees them. */
export class ImageSlots {
  /** Status of the last image (class 18, attribute 6). */
  status: number;
  /** Why the last image was refused; empty when it was not. */
  refusal = '';
  readonly #options: SlotOptions;
  readonly #isOnTrial: boolean;
  readonly #startedAt: number;
  #isSettled: boolean;
  #hasPolled = false;

  constructor(options: SlotOptions, now: number) {
    this.#options = options;
    this.#startedAt = now;
    const record = readBootRecord(options.folder);
    this.#isOnTrial = options.isLaunched && !record.isProven;
    this.#isSettled = !options.isLaunched || record.slot === 'factory';
    const { activationInitiated, activationFailed, activated, notInitiated } = ImageStatus;
    const { slot, news } = record;
    if (this.#isOnTrial) this.status = activationInitiated;
    else this.status = news === 'fell-back' ? activationFailed : slot === 'factory' ? notInitiated : activated;
  }

  /** Whether images can be taken at all: without a launcher none could start, without the release key none is believed. */
  get isOffered(): boolean {
    return this.#options.isLaunched && this.#options.key !== undefined;
  }

  /** Tells about a return to an older firmware, once. */
  report(): void {
    const record = readBootRecord(this.#options.folder);
    if (!this.#options.isLaunched || record.news !== 'fell-back') return;
    this.#options.record(EventCode.firmwareFellBack);
    this.#options.log.warn('the last image failed, an older firmware runs', { slot: record.slot });
    this.#keep({ ...record, news: 'none' });
  }

  /** Whether the image in `image.bin` may take over. @param size  undefined when it has arrived damaged */
  judge(size: number | undefined): boolean {
    const { key, version, folder } = this.#options;
    if (size === undefined) return this.#refuse('damaged');
    try {
      if (!key) throw new Error('no release key (image.release_key_file)');
      const image = decodeFirmwareImage(readFileSync(`${folder}/image.bin`).subarray(0, size));
      const { highest } = readBootRecord(folder);
      const refusal =
        verifyFirmwareImage(image, key, nodeCrypto) ??
        judgeFirmwareImage(image, { model: MODEL, running: version, highest });
      if (refusal !== null) throw new Error(refusal);
      this.refusal = '';
      return true;
    } catch (error) {
      return this.#refuse(messageOf(error));
    }
  }

  #refuse(why: string): false {
    this.refusal = why;
    // The reason is in the message, since lines that repeat are only counted.
    this.#options.log.warn(`the image is refused: ${why}`);
    return false;
  }

  /**
   * Puts the image into the slot that is not needed and on trial. A power cut between any two steps leaves the firmware
   * that runs, or the image.
   */
  activate(size: number): boolean {
    const { folder, log, isLaunched, restart } = this.#options;
    const record = readBootRecord(folder);
    if (!isLaunched) return this.#refuse('this process was not started by launcher.js');
    if (!record.isProven) return this.#refuse('the firmware that runs is on trial itself');
    if (!this.judge(size)) return false;
    const slot = freeSlot(record);
    // What is overwritten is nobody's way back.
    if (record.previous === slot && !this.#keep({ ...record, previous: 'factory' })) return false;
    try {
      renameDurably(`${folder}/image.bin`, slotFile(folder, slot));
    } catch (error) {
      return this.#refuse(`it cannot be placed: ${messageOf(error)}`);
    }
    if (!this.#keep(onTrial(record, slot, this.#hasPolled))) return false;
    log.info('an image goes on trial', { slot });
    restart(0);
    return true;
  }

  /** About once a second. @param hasPolled  whether the energy meter answers */
  tick(hasPolled: boolean, now: number): void {
    this.#hasPolled = hasPolled;
    const isLate = now - this.#startedAt > TRIAL_MS;
    if (this.#isSettled || !(hasPolled || isLate)) return;
    const { folder, version, record: report, log, restart } = this.#options;
    const record = readBootRecord(folder);
    this.#isSettled = true;
    if (this.#isOnTrial && !hasPolled && record.wasPolled) {
      log.error('the energy meter does not answer this firmware, the one before returns');
      if (this.#keep(fallBack(record))) restart(1);
    } else if (this.#keep(proven(record, version)) && this.#isOnTrial) {
      this.status = ImageStatus.activated;
      report(EventCode.firmwareActivated);
      log.info('the image has proved itself', { slot: record.slot });
    }
  }

  #keep(record: BootRecord): boolean {
    try {
      writeBootRecord(this.#options.folder, record);
      return true;
    } catch (error) {
      this.#options.log.warn('the boot record is not stored', { error: messageOf(error) });
      return false;
    }
  }
}
