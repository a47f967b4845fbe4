/**
 * Class 18, Image Transfer v0: a firmware image arrives in blocks, in any order, also twice, into a slot. The last 32 bytes
 * of an image are the SHA-256 of all before them; verification compares it with what the slot really holds, then asks the
 * device whether the image is one for it. A transfer survives a lost association and, through the slot, a restart:
 * initiating the same image again goes on with it. Activation belongs to whoever starts images; without one the method is
 * refused.
 */

import { equalBytes } from '#base/bytes';
import { type Data, Tag, writeLength, writeOctetString } from '#dlms/axdr';
import type { CosemObject } from '#dlms/cosem/logical-device';
import { attribute, TableObject } from '#dlms/cosem/table-object';
import { members } from '#dlms/members';
import { Result } from '#dlms/result';

/** What must outlive a restart. */
export interface ImageProgress {
  readonly id: Uint8Array;
  readonly size: number;
  readonly blockSize: number;
  /** One bit per block, first block in the highest bit. */
  readonly blocks: Uint8Array;
}

/** Storage for one image that is not active. */
export interface ImageSlot {
  /** Largest image in bytes. */
  readonly capacity: number;
  load(): ImageProgress | undefined;
  /** Makes room for another image. @returns whether it may be written */
  begin(progress: ImageProgress): boolean;
  /** @returns whether the bytes are stored */
  write(offset: number, data: Uint8Array): boolean;
  /** Makes durable what was written, then the progress. */
  save(progress: ImageProgress): void;
  read(offset: number, length: number): Uint8Array;
  /** SHA-256 of the first `length` bytes. */
  digest(length: number): Uint8Array;
}

export const ImageStatus = {
  notInitiated: 0,
  initiated: 1,
  verificationInitiated: 2,
  verified: 3,
  verificationFailed: 4,
  activationInitiated: 5,
  activated: 6,
  activationFailed: 7,
} as const;

export interface ImageOptions {
  readonly blockSize?: number;
  /** Whether transfers are enabled as delivered. */
  readonly isEnabled?: boolean;
  /**
   * Judges an image of `size` bytes in the slot: origin, model, version; undefined for one whose digest is wrong, which is
   * refused in any case. Default: every image will do.
   */
  readonly judge?: (size: number | undefined) => boolean;
  /** Starts the image in the slot, soon after it returns. @returns false when it cannot */
  readonly activate?: (size: number) => boolean;
  /** Status of the last image while none is transferred; default: not initiated. */
  readonly status?: () => number;
  readonly onEvent: (event: 'initiated' | 'verified' | 'verification-failed' | 'activation-refused') => void;
}

export const IMAGE_TRANSFER = '0-0:44.0.0.255';
const DIGEST_SIZE = 32;
/** The progress is made durable after so many blocks. */
const SAVE_EVERY = 64;
const MAX_ID = 64;

export class ImageTransfer {
  readonly object: CosemObject;
  readonly #slot: ImageSlot;
  readonly #options: ImageOptions;
  readonly #blockSize: number;
  #progress: ImageProgress | undefined;
  /** Of the transfer since the start, undefined before one. */
  #own: number | undefined;
  #isEnabled: boolean;
  #unsaved = 0;

  constructor(slot: ImageSlot, options: ImageOptions) {
    this.#slot = slot;
    this.#options = options;
    this.#blockSize = options.blockSize ?? 512;
    this.#isEnabled = options.isEnabled ?? true;
    const kept = slot.load();
    if (kept && kept.blockSize === this.#blockSize) {
      this.#progress = kept;
      this.#own = ImageStatus.initiated;
    }
    const enabled = {
      read: attribute((w) => w.u8(Tag.boolean).u8(this.#isEnabled ? 1 : 0)).read,
      write: (value: Data) => {
        if (value.type !== 'boolean') return Result.typeUnmatched;
        this.#isEnabled = value.value;
        return Result.success;
      },
    };
    this.object = new TableObject(
      18,
      0,
      IMAGE_TRANSFER,
      [
        attribute((w) => w.u8(Tag.doubleLongUnsigned).u32(this.#blockSize)),
        attribute((w) => {
          writeLength(w.u8(Tag.bitString), this.#count).bytes(this.#progress?.blocks ?? new Uint8Array(0));
        }),
        attribute((w) => w.u8(Tag.doubleLongUnsigned).u32(this.#firstMissing)),
        enabled,
        attribute((w) => w.u8(Tag.enum).u8(this.status)),
        attribute((w) => {
          const { id, size } = this.#progress ?? { id: new Uint8Array(0), size: 0 };
          const isVerified = this.status === ImageStatus.verified;
          w.u8(Tag.array).u8(isVerified ? 1 : 0);
          if (!isVerified) return;
          w.u8(Tag.structure).u8(3).u8(Tag.doubleLongUnsigned).u32(size);
          writeOctetString(w, id);
          writeOctetString(w, this.#slot.read(size - DIGEST_SIZE, DIGEST_SIZE));
        }),
      ],
      [
        (parameter) => this.#initiate(parameter),
        (parameter) => this.#takeBlock(parameter),
        () => this.#verify(),
        () => this.#activate(),
      ],
    );
  }

  get status(): number {
    return this.#own ?? this.#options.status?.() ?? ImageStatus.notInitiated;
  }

  get #count(): number {
    return this.#progress ? Math.ceil(this.#progress.size / this.#blockSize) : 0;
  }

  /** Number of the first block that is missing; the number of blocks when none is. */
  get #firstMissing(): number {
    const count = this.#count;
    for (let block = 0; block < count; block++) if (!this.#has(block)) return block;
    return count;
  }

  #has(block: number): boolean {
    return (this.#progress!.blocks[block >>> 3]! & (0x80 >>> (block & 7))) !== 0;
  }

  #initiate(parameter: Data | null): number {
    if (!this.#isEnabled) return Result.readWriteDenied;
    const fields = members(parameter, 'octet-string', 'double-long-unsigned');
    if (!fields) return Result.typeUnmatched;
    const [id, size] = fields;
    if (id.length > MAX_ID || size <= DIGEST_SIZE || size > this.#slot.capacity) return Result.otherReason;
    const known = this.#progress;
    if (known && known.size === size && equalBytes(known.id, id)) {
      this.#own = ImageStatus.initiated;
      return Result.success;
    }
    const blockSize = this.#blockSize;
    const blocks = new Uint8Array(Math.ceil(Math.ceil(size / blockSize) / 8));
    const progress = { id: id.slice(), size, blockSize, blocks };
    if (!this.#slot.begin(progress)) return Result.hardwareFault;
    this.#progress = progress;
    this.#own = ImageStatus.initiated;
    this.#options.onEvent('initiated');
    return Result.success;
  }

  #takeBlock(parameter: Data | null): number {
    const progress = this.#progress;
    if (!this.#isEnabled || !progress || this.#own !== ImageStatus.initiated) return Result.readWriteDenied;
    const fields = members(parameter, 'double-long-unsigned', 'octet-string');
    if (!fields) return Result.typeUnmatched;
    const [block, data] = fields;
    if (block >= this.#count) return Result.otherReason;
    const offset = block * this.#blockSize;
    if (data.length !== Math.min(this.#blockSize, progress.size - offset)) return Result.otherReason;
    if (this.#has(block)) return Result.success;
    if (!this.#slot.write(offset, data)) return Result.hardwareFault;
    progress.blocks[block >>> 3]! |= 0x80 >>> (block & 7);
    if (++this.#unsaved >= SAVE_EVERY) this.#save();
    return Result.success;
  }

  #verify(): number {
    const progress = this.#progress;
    if (!progress || this.#firstMissing < this.#count) return Result.otherReason;
    this.#save();
    const content = progress.size - DIGEST_SIZE;
    const isWhole = equalBytes(this.#slot.digest(content), this.#slot.read(content, DIGEST_SIZE));
    const isGood = (this.#options.judge?.(isWhole ? progress.size : undefined) ?? true) && isWhole;
    this.#own = isGood ? ImageStatus.verified : ImageStatus.verificationFailed;
    this.#options.onEvent(isGood ? 'verified' : 'verification-failed');
    if (isGood) return Result.success;
    // Nobody knows which block is wrong: all of them come again.
    progress.blocks.fill(0);
    this.#save();
    return Result.otherReason;
  }

  /** An image that was not verified is verified first (IEC 62056-6-2, image_activate). */
  #activate(): number {
    const isReady = this.#own === ImageStatus.verified || this.#verify() === Result.success;
    if (!isReady || this.#options.activate?.(this.#progress!.size) !== true) {
      this.#options.onEvent('activation-refused');
      return Result.otherReason;
    }
    this.#own = ImageStatus.activationInitiated;
    this.#progress = undefined;
    return Result.success;
  }

  #save(): void {
    this.#unsaved = 0;
    if (this.#progress) this.#slot.save(this.#progress);
  }
}
