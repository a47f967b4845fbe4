/**
 * Invocation counters of one device (IEC 62056-5-3 §5.3.3.2): its own, which is never used twice, and the last one taken
 * from each peer. Both are persisted ahead: the stored record holds limits that the running values have not reached, so
 * a restart goes on behind them and nothing in between is used, or accepted, again. No key change resets any of them.
 *
 *   record, 512 bytes:
 *   | "S3CN" | sequence u32 | own limit u32 | command number u48 | peers u16 | peers × { title 8, limit u32 } | … | CRC u32 |
 *
 * Where the record is kept is the storage's matter; it must write a record as a whole or not at all.
 */

import { equalBytes, readU16, readU32, readU48, writeU16, writeU32, writeU48 } from '#base/bytes';
import { crc32 } from '#base/crc32';
import { TITLE_SIZE } from '#dlms/cipher';

export const COUNTER_RECORD_SIZE = 512;
export const MAX_COUNTER = 0xffff_ffff;
const MAGIC = 0x5333_434e;
const PEERS_AT = 20;
const PEER_SIZE = TITLE_SIZE + 4;
/** Peers remembered. Behind them the one that was silent longest is forgotten: its challenge protects against replay. */
const MAX_PEERS = 40;
const CRC_AT = COUNTER_RECORD_SIZE - 4;
/** Own values reserved by one write. */
const OWN_BLOCK = 1000;
/** Peers' values reserved by one write. */
const PEER_BLOCK = 256;

/** Keeps the newest record. */
export interface CounterStorage {
  /** The newest whole record, undefined when there never was one. */
  load(): Uint8Array | undefined;
  /** Returns when the record is on the medium. @throws whatever went wrong; the record then counts as not written */
  store(record: Uint8Array): void;
}

interface Peer {
  readonly title: Uint8Array;
  last: number;
  limit: number;
  /** Known from the storage only: the peer's own last value may be up to a block below the limit. */
  isResumed: boolean;
}

/** Sequence number of a stored record, -1 when it is not whole. */
export function recordSequence(record: Uint8Array): number {
  if (record.length !== COUNTER_RECORD_SIZE || readU32(record, 0) !== MAGIC) return -1;
  return readU32(record, CRC_AT) === crc32(record, 0, CRC_AT) ? readU32(record, 4) : -1;
}

export class CounterBook {
  readonly #storage: CounterStorage;
  readonly #record = new Uint8Array(COUNTER_RECORD_SIZE);
  /** In order of last use. */
  readonly #peers: Peer[] = [];
  #sequence = 0;
  #own = 0;
  #ownLimit = 0;
  #command = 0;

  /** @throws what the storage throws */
  constructor(storage: CounterStorage) {
    this.#storage = storage;
    const record = storage.load();
    if (!record || recordSequence(record) < 0) return;
    this.#sequence = readU32(record, 4);
    this.#own = this.#ownLimit = readU32(record, 8);
    this.#command = readU48(record, 12);
    const count = Math.min(readU16(record, 18), MAX_PEERS);
    for (let i = 0; i < count; i++) {
      const at = PEERS_AT + i * PEER_SIZE;
      const limit = readU32(record, at + TITLE_SIZE);
      this.#peers.push({ title: record.slice(at, at + TITLE_SIZE), last: limit, limit, isResumed: true });
    }
  }

  /** The next own value, 1…FFFFFFFF; 0 when there is none: all are used up, or the storage fails. */
  next(): number {
    if (this.#own >= MAX_COUNTER) return 0;
    if (this.#own >= this.#ownLimit) {
      const before = this.#ownLimit;
      this.#ownLimit = Math.min(MAX_COUNTER, this.#own + OWN_BLOCK);
      if (!this.#store()) {
        this.#ownLimit = before;
        return 0;
      }
    }
    return ++this.#own;
  }

  /** Last value taken from a peer, -1 when none was. */
  last(title: Uint8Array): number {
    return this.#find(title)?.last ?? -1;
  }

  /**
   * Whether a refused value is one that a restart alone may have put behind: nothing was taken from the peer since, and
   * the value lies in the block that was reserved before.
   */
  isBehindRestart(title: Uint8Array, counter: number): boolean {
    const peer = this.#find(title);
    return !!peer?.isResumed && counter <= peer.limit && counter > peer.limit - PEER_BLOCK;
  }

  /** Highest value taken from any peer, 0 when none was: a client that starts behind it is behind its own, too. */
  highest(): number {
    return this.#peers.reduce((highest, { last }) => Math.max(highest, last), 0);
  }

  /**
   * Takes a peer's value that was authenticated.
   * @returns false when it is not above the last one, or could not be stored
   */
  accept(title: Uint8Array, counter: number): boolean {
    let peer = this.#find(title);
    if (peer && counter <= peer.last) return false;
    if (!peer) {
      peer = { title: title.slice(), last: -1, limit: -1, isResumed: false };
      if (this.#peers.length >= MAX_PEERS) this.#peers.shift();
      this.#peers.push(peer);
    } else if (this.#peers.at(-1) !== peer) {
      this.#peers.splice(this.#peers.indexOf(peer), 1);
      this.#peers.push(peer);
    }
    if (counter > peer.limit) {
      const before = peer.limit;
      peer.limit = Math.min(MAX_COUNTER, counter + PEER_BLOCK - 1);
      if (!this.#store()) {
        peer.limit = before;
        return false;
      }
    }
    peer.last = counter;
    peer.isResumed = false;
    return true;
  }

  /** Number of the last signed command. */
  get command(): number {
    return this.#command;
  }

  /** Takes a signed command's number, on the medium before this returns. @returns false when not above the last one */
  acceptCommand(number: number): boolean {
    const before = this.#command;
    if (number <= before) return false;
    this.#command = number;
    if (this.#store()) return true;
    this.#command = before;
    return false;
  }

  #find(title: Uint8Array): Peer | undefined {
    for (const peer of this.#peers) if (equalBytes(peer.title, title)) return peer;
    return undefined;
  }

  #store(): boolean {
    const record = this.#record;
    record.fill(0);
    writeU32(record, 0, MAGIC);
    writeU32(record, 4, this.#sequence + 1);
    writeU32(record, 8, this.#ownLimit);
    writeU48(record, 12, this.#command);
    writeU16(record, 18, this.#peers.length);
    this.#peers.forEach(({ title, limit }, i) => {
      const at = PEERS_AT + i * PEER_SIZE;
      record.set(title, at);
      writeU32(record, at + TITLE_SIZE, Math.max(0, limit));
    });
    writeU32(record, CRC_AT, crc32(record, 0, CRC_AT));
    try {
      this.#storage.store(record);
    } catch {
      return false;
    }
    this.#sequence++;
    return true;
  }
}
