/**
 * The stored readings: they collect in memory and go to disk in one transaction a batch.
 *
 *   value(meter, code, at | value, quality)   clustered by register, so that a graph is one contiguous scan
 *   reading(meter, at | measured, delay, path)   provenance of all values of one reading
 *   last(meter, code | …)   newest value of each register, outlives retention
 */

import type { SQLInputValue } from 'node:sqlite';
import { messageOf, S3mpError } from '#base/errors';
import type { MeasuredQuality, Reading } from '../meter-connection.ts';
import type { SqliteDatabase } from './sqlite-database.ts';
import type { Point, Range, ReadingTrace, StoredValue } from './store.ts';

/** Order matters: a larger number is worse, and MAX() over an interval gives the worst. */
const QUALITIES: readonly MeasuredQuality[] = ['good', 'suspect', 'missing'];
const BATCH_VALUES = 512;
const BATCH_MS = 1000;
const NAMES_KEPT = 65_536;

export interface BatchOptions {
  /** Longest time a reading stays in memory, ms. */
  readonly batchMs?: number;
  /** Told when a batch cannot be written in the background. */
  readonly onError?: (error: S3mpError) => void;
}

export class SqliteReadings {
  private readonly db: SqliteDatabase;
  private readonly names = new Map<string, number>();
  private readonly batchMs: number;
  private readonly onError: (error: S3mpError) => void;
  private pending: { meter: string; reading: Reading }[] = [];
  private pendingValues = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(db: SqliteDatabase, options: BatchOptions) {
    this.db = db;
    this.batchMs = options.batchMs ?? BATCH_MS;
    this.onError = options.onError ?? (() => {});
  }

  append(meter: string, reading: Reading): void {
    this.pending.push({ meter, reading });
    this.pendingValues += reading.values.length;
    if (this.pendingValues >= BATCH_VALUES) this.writePending();
    else this.timer ??= setTimeout(() => this.flushInBackground(), this.batchMs).unref();
  }

  lastValues(meter: string): StoredValue[] {
    this.writePending();
    return this.db
      .all(
        `SELECT n.text AS obis, l.name, l.unit, l.value, l.quality, l.measured, l.received
       FROM last l JOIN name n ON n.id = l.code WHERE l.meter = ? ORDER BY n.text`,
        this.knownId(meter),
      )
      .map((row) => ({
        obis: String(row.obis),
        name: String(row.name),
        unit: String(row.unit),
        value: numberOrNull(row.value),
        quality: QUALITIES[Number(row.quality)]!,
        measuredAt: numberOrNull(row.measured),
        receivedAt: Number(row.received),
      }));
  }

  scan(meter: string, obis: string, range: Range): Point[] {
    this.writePending();
    const which = [this.knownId(meter), this.knownId(obis), Math.ceil(range.from), Math.ceil(range.to)] as const;
    const rows =
      range.resolutionMs <= 0
        ? this.db.all(
            `SELECT at, value, value AS low, value AS high, 1 AS count, quality FROM value
             WHERE meter = ? AND code = ? AND at >= ? AND at < ? ORDER BY at LIMIT ?`,
            ...which,
            range.limit,
          )
        : this.db.all(
            `SELECT at / CAST(? AS INTEGER) * CAST(? AS INTEGER) AS at, AVG(value) AS value, MIN(value) AS low, MAX(value) AS high, COUNT(*) AS count,
               MAX(quality) AS quality
             FROM value WHERE meter = ? AND code = ? AND at >= ? AND at < ? GROUP BY 1 ORDER BY 1 LIMIT ?`,
            range.resolutionMs,
            range.resolutionMs,
            ...which,
            range.limit,
          );
    return rows.map((row) => ({
      at: Number(row.at),
      value: numberOrNull(row.value),
      min: numberOrNull(row.low),
      max: numberOrNull(row.high),
      count: Number(row.count),
      quality: QUALITIES[Number(row.quality)]!,
    }));
  }

  codes(meter: string): string[] {
    this.writePending();
    const sql = 'SELECT n.text FROM last l JOIN name n ON n.id = l.code WHERE l.meter = ? ORDER BY n.text';
    return this.db.all(sql, this.knownId(meter)).map((row) => String(row.text));
  }

  traces(meter: string, from: number, to: number, limit: number): ReadingTrace[] {
    this.writePending();
    return this.db
      .all(
        `SELECT r.at, r.measured, r.delay, p.fingerprint, p.hops, p.isds FROM reading r LEFT JOIN path p ON p.id = r.path
       WHERE r.meter = ? AND r.at >= ? AND r.at < ? ORDER BY r.at LIMIT ?`,
        this.knownId(meter),
        Math.ceil(from),
        Math.ceil(to),
        limit,
      )
      .map((row) => ({
        receivedAt: Number(row.at),
        measuredAt: numberOrNull(row.measured),
        delayMs: Number(row.delay),
        fingerprint: row.fingerprint === null ? null : String(row.fingerprint),
        hops: row.hops === null ? null : String(row.hops),
        isds: row.isds === null ? [] : (JSON.parse(String(row.isds)) as number[]),
      }));
  }

  /** Deletes the readings of a meter. @returns how many values */
  erase(meter: string): number {
    const id = this.nameId(meter);
    const { changes } = this.db.run('DELETE FROM value WHERE meter = ?', id);
    this.db.run('DELETE FROM reading WHERE meter = ?', id);
    this.db.run('DELETE FROM last WHERE meter = ?', id);
    return Number(changes);
  }

  /** Deletes values that are older than `before`, ms. @returns how many */
  prune(before: number): number {
    const { changes } = this.db.run('DELETE FROM value WHERE at < ?', Math.ceil(before));
    this.db.run('DELETE FROM reading WHERE at < ?', Math.ceil(before));
    return Number(changes);
  }

  private flushInBackground(): void {
    try {
      this.writePending();
    } catch (error) {
      this.onError(new S3mpError('internal', `readings could not be stored: ${messageOf(error)}`, {}, error));
    }
  }

  /** Writes what has collected in memory. */
  writePending(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.pending.length === 0) return;
    const batch = this.pending;
    // A batch that cannot be written is dropped: the store must not grow in memory while the disk is full.
    this.pending = [];
    this.pendingValues = 0;
    try {
      this.db.transaction(() => {
        for (const { meter, reading } of batch) this.writeReading(meter, reading);
      });
    } catch (error) {
      this.names.clear();
      throw error;
    }
  }

  private writeReading(meter: string, reading: Reading): void {
    const meterId = this.nameId(meter);
    const at = Math.round(reading.receivedAt);
    const pathId = reading.path === null ? null : this.pathId(reading.path);
    this.db.run(
      'INSERT OR REPLACE INTO reading(meter, at, measured, delay, path) VALUES(?, ?, ?, ?, ?)',
      meterId,
      at,
      reading.measuredAt,
      reading.delayMs,
      pathId,
    );
    for (const { obis, name, unit, value, quality } of reading.values) {
      const code = this.nameId(obis);
      const q = QUALITIES.indexOf(quality);
      this.db.run(
        'INSERT OR REPLACE INTO value(meter, code, at, value, quality) VALUES(?, ?, ?, ?, ?)',
        meterId,
        code,
        at,
        value,
        q,
      );
      this.db.run(
        `INSERT INTO last(meter, code, name, unit, value, quality, measured, received) VALUES(?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET name = excluded.name, unit = excluded.unit, value = excluded.value,
           quality = excluded.quality, measured = excluded.measured, received = excluded.received
         WHERE excluded.received >= last.received`,
        meterId,
        code,
        name,
        unit,
        value,
        q,
        reading.measuredAt,
        at,
      );
    }
  }

  private nameId(text: string): number {
    const known = this.knownId(text);
    if (known >= 0) return known;
    this.db.run('INSERT OR IGNORE INTO name(text) VALUES(?)', text);
    return this.knownId(text);
  }

  /** Number of a name, -1 when it has none: a question never makes one. */
  private knownId(text: string): number {
    const known = this.names.get(text);
    if (known !== undefined) return known;
    const row = this.db.get('SELECT id FROM name WHERE text = ?', text);
    if (row === undefined) return -1;
    const id = Number(row.id);
    if (this.names.size >= NAMES_KEPT) this.names.clear();
    this.names.set(text, id);
    return id;
  }

  private pathId(path: NonNullable<Reading['path']>): number {
    this.db.run(
      'INSERT OR IGNORE INTO path(fingerprint, hops, isds) VALUES(?, ?, ?)',
      path.fingerprint,
      path.hops,
      JSON.stringify(path.isds),
    );
    return Number(this.db.get('SELECT id FROM path WHERE fingerprint = ?', path.fingerprint)!.id);
  }
}

function numberOrNull(value: SQLInputValue | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}
