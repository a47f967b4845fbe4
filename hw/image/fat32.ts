/**
 * FAT32 inside an image file (Microsoft FAT specification 1.03, long names included): reads, adds, replaces and removes
 * files. Only what is sound is touched: a volume that is marked dirty, has differing FATs or chains that break is refused.
 *
 * Changes are collected and written by `commit`: contents into free clusters first, then the FATs, the folders and FSInfo,
 * so that an interruption leaves the old files whole.
 */

import { ConfigError } from '#base/errors';
import { type DiskFile, unusable } from './disk-file.ts';
import {
  Attribute,
  DELETED,
  ENTRY,
  entriesOf,
  type Found,
  findIn,
  newEntries,
  setEntry,
  shortNames,
} from './fat32-entries.ts';

const END_OF_CHAIN = 0x0fff_ffff;
const LAST_CLUSTER = 0x0fff_fff8;
const CLUSTER_MASK = 0x0fff_ffff;
const BAD_CLUSTER = 0x0fff_fff7;
/** Flags in FAT[1]: shut down properly, no error met. */
const CLEAN = 0x0800_0000;
const NO_ERROR = 0x0400_0000;
/** Long entries a folder may hold at most, by the specification. */
const MAX_FOLDER = 65_536 * ENTRY;

interface Folder {
  /** First cluster. */
  readonly cluster: number;
  bytes: Uint8Array;
  isChanged: boolean;
}

export class Fat32 {
  readonly #disk: DiskFile;
  readonly #fatAt: readonly number[];
  readonly #dataAt: number;
  readonly #clusterSize: number;
  readonly #rootCluster: number;
  readonly #infoAt: number;
  readonly #fat: Uint32Array;
  readonly #folders = new Map<number, Folder>();
  /** Contents that wait for `commit`, by cluster. */
  readonly #contents: { readonly chain: readonly number[]; readonly bytes: Uint8Array }[] = [];
  /** Clusters of files that were replaced: free after the commit, not before. */
  readonly #released: number[] = [];
  #free: number;
  #nextFree = 2;
  #isChanged = false;

  /** @throws ConfigError `card.unusable` for anything that is not a sound FAT32 */
  constructor(disk: DiskFile, offset: number, size: number) {
    const refuse = (why: string) => unusable(`the boot partition of ${disk.path} ${why}`, { file: disk.path });
    const boot = disk.read(offset, 512);
    const view = new DataView(boot.buffer);
    const sectorSize = view.getUint16(11, true);
    const reserved = view.getUint16(14, true);
    const copies = boot[16]!;
    const fatSize = view.getUint32(36, true) * sectorSize;
    const sectors = view.getUint32(32, true);
    const isFat32 =
      view.getUint16(510, true) === 0xaa55 &&
      sectorSize === 512 &&
      view.getUint16(17, true) === 0 &&
      view.getUint16(22, true) === 0 &&
      fatSize > 0 &&
      view.getUint16(42, true) === 0;
    if (!isFat32) throw refuse('is not FAT32');
    if (copies < 1 || copies > 2 || (view.getUint16(40, true) & 0x80) !== 0) throw refuse('does not mirror its FAT');
    this.#disk = disk;
    this.#clusterSize = boot[13]! * sectorSize;
    this.#dataAt = offset + reserved * sectorSize + copies * fatSize;
    this.#fatAt = Array.from({ length: copies }, (_, i) => offset + reserved * sectorSize + i * fatSize);
    this.#rootCluster = view.getUint32(44, true);
    this.#infoAt = offset + view.getUint16(48, true) * sectorSize;
    const clusters = Math.floor((sectors * sectorSize - (this.#dataAt - offset)) / this.#clusterSize);
    if (
      this.#clusterSize === 0 ||
      sectors * sectorSize > size ||
      clusters < 1 ||
      (clusters + 2) * 4 > fatSize ||
      this.#rootCluster < 2 ||
      this.#rootCluster >= clusters + 2
    )
      throw refuse('has sizes that do not fit each other');
    const fats = this.#fatAt.map((at) => disk.read(at, (clusters + 2) * 4));
    if (fats[1] && Buffer.compare(fats[0]!, fats[1]) !== 0)
      throw refuse('has two FATs that differ: run fsck.vfat on it first');
    this.#fat = new Uint32Array(clusters + 2);
    const table = new DataView(fats[0]!.buffer);
    for (let i = 0; i < this.#fat.length; i++) this.#fat[i] = table.getUint32(4 * i, true);
    const isDirty = (this.#fat[1]! & CLEAN) === 0 || (this.#fat[1]! & NO_ERROR) === 0 || (boot[65]! & 3) !== 0;
    if (isDirty) throw refuse('was not unmounted cleanly: run fsck.vfat on it first');
    const info = disk.read(this.#infoAt, 512);
    const infoView = new DataView(info.buffer);
    if (infoView.getUint32(0, true) !== 0x4161_5252 || infoView.getUint32(484, true) !== 0x6141_7272)
      throw refuse('has no FSInfo sector');
    this.#free = this.#fat.subarray(2).reduce((n, entry) => n + ((entry & CLUSTER_MASK) === 0 ? 1 : 0), 0);
  }

  get freeBytes(): number {
    return this.#free * this.#clusterSize;
  }

  get isChanged(): boolean {
    return this.#isChanged;
  }

  /** @param path  `folder/file`. @returns undefined when there is no such file */
  read(path: string): Uint8Array | undefined {
    const found = this.#find(path);
    if (!found || found.isFolder) return undefined;
    return this.#readChain(found.cluster, found.size);
  }

  /** Names below a folder; '' is the root. */
  list(path: string): string[] {
    const folder = this.#folderOf(path, false);
    return folder ? [...entriesOf(folder.bytes)].map(({ name }) => name).filter((n) => n !== '.' && n !== '..') : [];
  }

  /**
   * Writes a file, with the folders that it needs.
   * @returns false when it is there with the same content
   * @throws ConfigError `card.full`, or `card.unusable` when a folder has that name
   */
  write(path: string, bytes: Uint8Array): boolean {
    const known = this.#find(path);
    if (known?.isFolder) throw unusable(`${path} on the boot partition is a folder`);
    if (known && known.size === bytes.length && Buffer.compare(this.#readChain(known.cluster, known.size), bytes) === 0)
      return false;
    const chain = this.#allocate(Math.ceil(bytes.length / this.#clusterSize), path);
    this.#contents.push({ chain, bytes });
    const slash = path.lastIndexOf('/');
    const folder = this.#folderOf(slash < 0 ? '' : path.slice(0, slash), true)!;
    let at = known?.at;
    if (known && known.cluster !== 0) this.#released.push(...this.#chainOf(known.cluster));
    at ??= this.#addEntry(folder, path.slice(slash + 1), Attribute.archive);
    setEntry(folder.bytes, at, chain[0] ?? 0, bytes.length);
    folder.isChanged = true;
    this.#isChanged = true;
    return true;
  }

  /** Removes a file. @returns whether there was one */
  remove(path: string): boolean {
    const found = this.#find(path);
    if (!found || found.isFolder) return false;
    const slash = path.lastIndexOf('/');
    const folder = this.#folderOf(slash < 0 ? '' : path.slice(0, slash), false)!;
    for (let at = found.from; at <= found.at; at += ENTRY) folder.bytes[at] = DELETED;
    folder.isChanged = true;
    if (found.cluster !== 0) this.#released.push(...this.#chainOf(found.cluster));
    this.#isChanged = true;
    return true;
  }

  /** Writes what has changed. */
  commit(): void {
    if (!this.#isChanged) return;
    for (const { chain, bytes } of this.#contents) this.#writeChain(chain, bytes);
    // The new chains first; what they replace is freed when no folder names it any more.
    this.#writeFats();
    for (const folder of this.#folders.values())
      if (folder.isChanged) this.#writeChain(this.#chainOf(folder.cluster), folder.bytes);
    this.#disk.sync();
    for (const cluster of this.#released) this.#fat[cluster]! &= ~CLUSTER_MASK;
    this.#free += this.#released.length;
    this.#released.length = 0;
    this.#contents.length = 0;
    this.#writeFats();
    const info = new Uint8Array(8);
    const view = new DataView(info.buffer);
    view.setUint32(0, this.#free, true);
    view.setUint32(4, Math.min(this.#nextFree, this.#fat.length - 1), true);
    this.#disk.write(this.#infoAt + 488, info);
    this.#disk.sync();
    this.#folders.clear();
    this.#isChanged = false;
  }

  #writeFats(): void {
    const bytes = new Uint8Array(this.#fat.length * 4);
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < this.#fat.length; i++) view.setUint32(4 * i, this.#fat[i]!, true);
    for (const at of this.#fatAt) this.#disk.write(at, bytes);
  }

  #clusterAt(cluster: number): number {
    return this.#dataAt + (cluster - 2) * this.#clusterSize;
  }

  #chainOf(first: number): number[] {
    const chain: number[] = [];
    for (let cluster = first; cluster < LAST_CLUSTER; cluster = this.#fat[cluster]! & CLUSTER_MASK) {
      const isBroken = cluster < 2 || cluster >= this.#fat.length || cluster === BAD_CLUSTER;
      if (isBroken || chain.length > this.#fat.length)
        throw unusable(`the FAT of ${this.#disk.path} has a broken chain: run fsck.vfat on it first`);
      chain.push(cluster);
    }
    return chain;
  }

  #readChain(first: number, size: number): Uint8Array {
    const waiting = this.#contents.find(({ chain }) => chain[0] === first && first !== 0);
    if (waiting) return waiting.bytes;
    const chain = first === 0 ? [] : this.#chainOf(first);
    if (chain.length * this.#clusterSize < size)
      throw unusable(`a file of ${this.#disk.path} is shorter than its entry says: run fsck.vfat on it first`);
    const bytes = new Uint8Array(chain.length * this.#clusterSize);
    for (const [i, cluster] of chain.entries())
      bytes.set(this.#disk.read(this.#clusterAt(cluster), this.#clusterSize), i * this.#clusterSize);
    return bytes.subarray(0, size);
  }

  #writeChain(chain: readonly number[], bytes: Uint8Array): void {
    const cluster = new Uint8Array(this.#clusterSize);
    for (const [i, number] of chain.entries()) {
      cluster.fill(0).set(bytes.subarray(i * this.#clusterSize, (i + 1) * this.#clusterSize));
      this.#disk.write(this.#clusterAt(number), cluster);
    }
  }

  #allocate(count: number, path: string): number[] {
    if (count > this.#free)
      throw full(`no room for ${path} on the boot partition`, count * this.#clusterSize, this.freeBytes);
    const chain: number[] = [];
    for (let cluster = this.#nextFree; chain.length < count; cluster++) {
      if (cluster >= this.#fat.length) cluster = 2;
      if ((this.#fat[cluster]! & CLUSTER_MASK) === 0) {
        chain.push(cluster);
        this.#link(cluster, END_OF_CHAIN);
        if (chain.length > 1) this.#link(chain[chain.length - 2]!, cluster);
      }
      this.#nextFree = cluster + 1;
    }
    this.#free -= count;
    return chain;
  }

  /** The highest four bits of an entry are not ours. */
  #link(cluster: number, next: number): void {
    this.#fat[cluster] = ((this.#fat[cluster]! & ~CLUSTER_MASK) | next) >>> 0;
  }

  #folder(cluster: number): Folder {
    let folder = this.#folders.get(cluster);
    if (!folder) {
      const size = this.#chainOf(cluster).length * this.#clusterSize;
      folder = { cluster, bytes: this.#readChain(cluster, size), isChanged: false };
      this.#folders.set(cluster, folder);
    }
    return folder;
  }

  #folderOf(path: string, make: boolean): Folder | undefined {
    let folder = this.#folder(this.#rootCluster);
    for (const name of path.split('/').filter(Boolean)) {
      const found = findIn(folder.bytes, name);
      if (found && !found.isFolder) throw unusable(`${name} on the boot partition is a file, not a folder`);
      if (found) folder = this.#folder(found.cluster);
      else if (make) folder = this.#makeFolder(folder, name);
      else return undefined;
    }
    return folder;
  }

  #makeFolder(parent: Folder, name: string): Folder {
    const [cluster = 0] = this.#allocate(1, name);
    const bytes = new Uint8Array(this.#clusterSize);
    const up = parent.cluster === this.#rootCluster ? 0 : parent.cluster;
    for (const [i, [text, target]] of (
      [
        ['.', cluster],
        ['..', up],
      ] as const
    ).entries()) {
      bytes.fill(0x20, i * ENTRY, i * ENTRY + 11);
      for (let k = 0; k < text.length; k++) bytes[i * ENTRY + k] = 0x2e;
      bytes[i * ENTRY + 11] = Attribute.directory;
      setEntry(bytes, i * ENTRY, target, 0);
    }
    const folder = { cluster, bytes, isChanged: true };
    this.#folders.set(cluster, folder);
    const at = this.#addEntry(parent, name, Attribute.directory);
    setEntry(parent.bytes, at, cluster, 0);
    this.#isChanged = true;
    return folder;
  }

  #find(path: string): Found | undefined {
    const slash = path.lastIndexOf('/');
    const folder = this.#folderOf(slash < 0 ? '' : path.slice(0, slash), false);
    return folder && findIn(folder.bytes, path.slice(slash + 1));
  }

  /** Writes the entries of a new name. @returns offset of its short entry */
  #addEntry(folder: Folder, name: string, attribute: number): number {
    const entries = newEntries(name, attribute, new Set(shortNames(folder.bytes)));
    const from = this.#room(folder, entries.length);
    for (const [i, entry] of entries.entries()) folder.bytes.set(entry, from + i * ENTRY);
    folder.isChanged = true;
    return from + (entries.length - 1) * ENTRY;
  }

  /** Offset of `count` free entries in a row; the folder grows when it has none. */
  #room(folder: Folder, count: number): number {
    let run = 0;
    for (let at = 0; at < folder.bytes.length; at += ENTRY) {
      run = folder.bytes[at] === 0 || folder.bytes[at] === DELETED ? run + 1 : 0;
      if (run === count) return at - (count - 1) * ENTRY;
    }
    if (folder.bytes.length + this.#clusterSize > MAX_FOLDER) throw unusable('a folder of the boot partition is full');
    const [cluster = 0] = this.#allocate(1, 'a folder');
    const chain = this.#chainOf(folder.cluster);
    this.#link(chain[chain.length - 1]!, cluster);
    const bytes = new Uint8Array(folder.bytes.length + this.#clusterSize);
    bytes.set(folder.bytes);
    folder.bytes = bytes;
    return this.#room(folder, count);
  }
}

function full(what: string, needed: number, free: number): ConfigError {
  const mb = (n: number) => `${(n / 1e6).toFixed(1)} MB`;
  return new ConfigError('card.full', `${what}: it takes ${mb(needed)}, ${mb(free)} are free`, { needed, free });
}
