/** Where a firmware image arrives over the line: `image.bin`, and what has come of it in `image.json`. */

import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import type { ImageProgress, ImageSlot } from '#dlms/cosem/image-transfer';

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
