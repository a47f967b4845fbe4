/**
 * The embedded store: SQLite through node:sqlite, one file, one writer. Readings collect in memory and go to disk in one
 * transaction a batch; commands and audit lines are synced to the disk before they count, because a command must be on
 * record before it leaves.
 *
 *   value(meter, code, at | value, quality)   clustered by register, so that a graph is one contiguous scan
 *   reading(meter, at | measured, delay, path)   provenance of all values of one reading
 *   last(meter, code | …)   newest value of each register, outlives retention
 */

import { chmodSync, closeSync, openSync } from 'node:fs';
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { messageOf, S3mpError } from '#base/errors';
import type { MeasuredQuality, Reading } from '../meter-connection.ts';
import { AUDIT_GENESIS, auditText, chainHash } from './audit-chain.ts';
import type {
  AuditEntry,
  AuditLine,
  CommandRecord,
  EventQuery,
  EventRecord,
  Point,
  Range,
  ReadingTrace,
  Store,
  StoredValue,
} from './store.ts';

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE name(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
  CREATE TABLE value(meter INTEGER, code INTEGER, at INTEGER, value REAL, quality INTEGER NOT NULL,
    PRIMARY KEY(meter, code, at)) WITHOUT ROWID;
  CREATE TABLE reading(meter INTEGER, at INTEGER, measured INTEGER, delay REAL NOT NULL, path INTEGER,
    PRIMARY KEY(meter, at)) WITHOUT ROWID;
  CREATE TABLE path(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, hops TEXT NOT NULL, isds TEXT NOT NULL);
  CREATE TABLE last(meter INTEGER, code INTEGER, name TEXT NOT NULL, unit TEXT NOT NULL, value REAL,
    quality INTEGER NOT NULL, measured INTEGER, received INTEGER NOT NULL, PRIMARY KEY(meter, code)) WITHOUT ROWID;
  CREATE TABLE command(id TEXT PRIMARY KEY, meter TEXT NOT NULL, key TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,
    state TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE INDEX command_meter ON command(meter, created);
  CREATE INDEX command_open ON command(created) WHERE state IN ('queued', 'sent', 'acknowledged', 'unknown');
  CREATE TABLE event(seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL,
    severity TEXT NOT NULL, meter TEXT, message TEXT NOT NULL);
  CREATE INDEX event_meter ON event(meter, seq);
  CREATE TABLE audit(seq INTEGER PRIMARY KEY, line TEXT NOT NULL, hash TEXT NOT NULL);
`;

const IS_OPEN = `state IN ('queued', 'sent', 'acknowledged', 'unknown')`;

/** Added to a store of any age. */
const LATER_TABLES = `
  CREATE TABLE IF NOT EXISTS image(digest TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS setting(meter TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY(meter, name)) WITHOUT ROWID;
`;

/** Order matters: a larger number is worse, and MAX() over an interval gives the worst. */
const QUALITIES: readonly MeasuredQuality[] = ['good', 'suspect', 'missing'];
const BATCH_VALUES = 512;
const BATCH_MS = 1000;
const NAMES_KEPT = 65_536;

type Row = Record<string, SQLInputValue>;

export interface SqliteOptions {
  /** File name, or `:memory:`. */
  readonly file: string;
  /** Longest time a reading stays in memory, ms. */
  readonly batchMs?: number;
  /** Told when a batch cannot be written in the background. */
  readonly onError?: (error: S3mpError) => void;
}

/**
 * Opens or creates the store.
 * @throws S3mpError `runtime.missing` when this Node has no SQLite, `config.unreadable` when the file cannot be used
 */
export function openSqliteStore(options: SqliteOptions): Store {
  const sqlite = process.getBuiltinModule?.('node:sqlite') as typeof import('node:sqlite') | undefined;
  if (sqlite === undefined) {
    throw new S3mpError(
      'runtime.missing',
      `Node ${process.version} has no node:sqlite; run the head end with Node 24: npm ci installs one, npm start and node_modules/.bin/node use it`,
    );
  }
  try {
    // The mode is set on an empty file, before a byte of household data is in it; SQLite's -wal and -shm files inherit it.
    if (options.file !== ':memory:') {
      closeSync(openSync(options.file, 'a', 0o600));
      chmodSync(options.file, 0o600);
    }
    const db = new sqlite.DatabaseSync(options.file);
    prepareDatabase(db, options.file);
    return new SqliteStore(db, options);
  } catch (error) {
    if (error instanceof S3mpError) throw error;
    throw new S3mpError(
      'config.unreadable',
      `the store ${options.file} cannot be opened: ${messageOf(error)}`,
      {},
      error,
    );
  }
}

function prepareDatabase(db: DatabaseSync, file: string): void {
  db.exec('PRAGMA busy_timeout=3000; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY;');
  const version = Number((db.prepare('PRAGMA user_version').get() as Row).user_version);
  if (version === 0) db.exec(`BEGIN; ${SCHEMA} PRAGMA user_version=${SCHEMA_VERSION}; COMMIT;`);
  else if (version !== SCHEMA_VERSION) {
    throw new S3mpError('config.unreadable', `the store ${file} has version ${version}, expected ${SCHEMA_VERSION}`);
  }
  db.exec(LATER_TABLES);
}

class SqliteStore implements Store {
  private readonly db: DatabaseSync;
  private readonly statements = new Map<string, StatementSync>();
  private readonly names = new Map<string, number>();
  private readonly batchMs: number;
  private readonly onError: (error: S3mpError) => void;
  private pending: { meter: string; reading: Reading }[] = [];
  private pendingValues = 0;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(db: DatabaseSync, options: SqliteOptions) {
    this.db = db;
    this.batchMs = options.batchMs ?? BATCH_MS;
    this.onError = options.onError ?? (() => {});
  }

  async appendReading(meter: string, reading: Reading): Promise<void> {
    this.pending.push({ meter, reading });
    this.pendingValues += reading.values.length;
    if (this.pendingValues >= BATCH_VALUES) this.writePending();
    else this.timer ??= setTimeout(() => this.flushInBackground(), this.batchMs).unref();
  }

  async lastValues(meter: string): Promise<readonly StoredValue[]> {
    this.writePending();
    return this.all(
      `SELECT n.text AS obis, l.name, l.unit, l.value, l.quality, l.measured, l.received
       FROM last l JOIN name n ON n.id = l.code WHERE l.meter = ? ORDER BY n.text`,
      this.knownId(meter),
    ).map((row) => ({
      obis: String(row.obis),
      name: String(row.name),
      unit: String(row.unit),
      value: numberOrNull(row.value),
      quality: QUALITIES[Number(row.quality)]!,
      measuredAt: numberOrNull(row.measured),
      receivedAt: Number(row.received),
    }));
  }

  async scan(meter: string, obis: string, range: Range): Promise<readonly Point[]> {
    this.writePending();
    const which = [this.knownId(meter), this.knownId(obis), Math.ceil(range.from), Math.ceil(range.to)] as const;
    const rows =
      range.resolutionMs <= 0
        ? this.all(
            `SELECT at, value, value AS low, value AS high, 1 AS count, quality FROM value
             WHERE meter = ? AND code = ? AND at >= ? AND at < ? ORDER BY at LIMIT ?`,
            ...which,
            range.limit,
          )
        : this.all(
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

  async codes(meter: string): Promise<readonly string[]> {
    this.writePending();
    const sql = 'SELECT n.text FROM last l JOIN name n ON n.id = l.code WHERE l.meter = ? ORDER BY n.text';
    return this.all(sql, this.knownId(meter)).map((row) => String(row.text));
  }

  async traces(meter: string, from: number, to: number, limit: number): Promise<readonly ReadingTrace[]> {
    this.writePending();
    return this.all(
      `SELECT r.at, r.measured, r.delay, p.fingerprint, p.hops, p.isds FROM reading r LEFT JOIN path p ON p.id = r.path
       WHERE r.meter = ? AND r.at >= ? AND r.at < ? ORDER BY r.at LIMIT ?`,
      this.knownId(meter),
      Math.ceil(from),
      Math.ceil(to),
      limit,
    ).map((row) => ({
      receivedAt: Number(row.at),
      measuredAt: numberOrNull(row.measured),
      delayMs: Number(row.delay),
      fingerprint: row.fingerprint === null ? null : String(row.fingerprint),
      hops: row.hops === null ? null : String(row.hops),
      isds: row.isds === null ? [] : (JSON.parse(String(row.isds)) as number[]),
    }));
  }

  async createCommand(record: CommandRecord, image?: Uint8Array): Promise<{ record: CommandRecord; created: boolean }> {
    const known = this.get('SELECT body FROM command WHERE key = ?', record.idempotencyKey);
    if (known) return { record: JSON.parse(String(known.body)) as CommandRecord, created: false };
    this.durably(() => {
      if (image && record.image)
        this.run('INSERT OR IGNORE INTO image(digest, content) VALUES(?, ?)', record.image.sha256, image);
      this.run(
        'INSERT INTO command(id, meter, key, created, state, body) VALUES(?, ?, ?, ?, ?, ?)',
        record.id,
        record.meter,
        record.idempotencyKey,
        record.createdAt,
        record.state,
        JSON.stringify(record),
      );
    });
    return { record, created: true };
  }

  async image(sha256: string): Promise<Uint8Array | undefined> {
    return this.get('SELECT content FROM image WHERE digest = ?', sha256)?.content as Uint8Array | undefined;
  }

  async updateCommand(record: CommandRecord): Promise<void> {
    this.durably(() =>
      this.run('UPDATE command SET state = ?, body = ? WHERE id = ?', record.state, JSON.stringify(record), record.id),
    );
  }

  async command(id: string): Promise<CommandRecord | undefined> {
    return commandsOf(this.all('SELECT body FROM command WHERE id = ?', id))[0];
  }

  async commands(meter: string, limit: number): Promise<readonly CommandRecord[]> {
    return commandsOf(
      this.all('SELECT body FROM command WHERE meter = ? ORDER BY created DESC, id DESC LIMIT ?', meter, limit),
    );
  }

  async openCommands(): Promise<readonly CommandRecord[]> {
    return commandsOf(this.all(`SELECT body FROM command WHERE ${IS_OPEN} ORDER BY created, id`));
  }

  async appendEvent(event: Omit<EventRecord, 'seq'>): Promise<EventRecord> {
    const { lastInsertRowid } = this.run(
      'INSERT INTO event(at, kind, severity, meter, message) VALUES(?, ?, ?, ?, ?)',
      event.at,
      event.kind,
      event.severity,
      event.meter,
      event.message,
    );
    return { seq: Number(lastInsertRowid), ...event };
  }

  async events(query: EventQuery): Promise<readonly EventRecord[]> {
    const conditions: string[] = ['seq > ?'];
    const values: SQLInputValue[] = [query.since ?? 0];
    for (const column of ['meter', 'kind'] as const) {
      const wanted = query[column];
      if (wanted === undefined) continue;
      conditions.push(`${column} = ?`);
      values.push(wanted);
    }
    const newest = query.since === undefined;
    const rows = this.all(
      `SELECT seq, at, kind, severity, meter, message FROM event WHERE ${conditions.join(' AND ')}
       ORDER BY seq ${newest ? 'DESC' : 'ASC'} LIMIT ?`,
      ...values,
      query.limit,
    );
    const events = rows.map((row) => ({ ...row }) as unknown as EventRecord);
    return newest ? events.reverse() : events;
  }

  async appendAudit(entry: AuditEntry): Promise<AuditLine> {
    return this.durably(() => {
      // Commands of the same bundle write to the chain beside the server: its end is looked up under the lock.
      this.db.exec('BEGIN IMMEDIATE');
      try {
        const head = this.get('SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1');
        const seq = Number(head?.seq ?? 0) + 1;
        const line = auditText(seq, entry);
        const hash = chainHash(String(head?.hash ?? AUDIT_GENESIS), line);
        this.run('INSERT INTO audit(seq, line, hash) VALUES(?, ?, ?)', seq, line, hash);
        this.db.exec('COMMIT');
        return { seq, line, hash };
      } catch (error) {
        this.db.exec('ROLLBACK');
        throw error;
      }
    });
  }

  async audit(from: number, limit: number): Promise<readonly AuditLine[]> {
    const rows = this.all('SELECT seq, line, hash FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?', from, limit);
    return rows.map((row) => ({ ...row }) as unknown as AuditLine);
  }

  async setting(meter: string, name: string): Promise<string | undefined> {
    const row = this.get('SELECT body FROM setting WHERE meter = ? AND name = ?', meter, name);
    return row === undefined ? undefined : String(row.body);
  }

  async putSetting(meter: string, name: string, text: string | undefined): Promise<void> {
    this.durably(() =>
      text === undefined
        ? this.run('DELETE FROM setting WHERE meter = ? AND name = ?', meter, name)
        : this.run('INSERT OR REPLACE INTO setting(meter, name, body) VALUES(?, ?, ?)', meter, name, text),
    );
  }

  async erase(meter: string): Promise<number> {
    this.writePending();
    let erased = 0;
    this.durably(() => {
      const id = this.nameId(meter);
      erased = Number(this.run('DELETE FROM value WHERE meter = ?', id).changes);
      this.run('DELETE FROM reading WHERE meter = ?', id);
      this.run('DELETE FROM last WHERE meter = ?', id);
      this.run('DELETE FROM setting WHERE meter = ?', meter);
      this.run('DELETE FROM event WHERE meter = ?', meter);
    });
    return erased;
  }

  async prune(before: number): Promise<number> {
    this.writePending();
    const { changes } = this.run('DELETE FROM value WHERE at < ?', Math.ceil(before));
    this.run('DELETE FROM reading WHERE at < ?', Math.ceil(before));
    this.run(
      `DELETE FROM image WHERE digest NOT IN
         (SELECT json_extract(body, '$.image.sha256') FROM command
          WHERE ${IS_OPEN} AND json_extract(body, '$.image.sha256') IS NOT NULL)`,
    );
    return Number(changes);
  }

  async flush(): Promise<void> {
    this.writePending();
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.writePending();
    this.closed = true;
    this.db.close();
  }

  private flushInBackground(): void {
    try {
      this.writePending();
    } catch (error) {
      this.onError(new S3mpError('internal', `readings could not be stored: ${messageOf(error)}`, {}, error));
    }
  }

  private writePending(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.pending.length === 0) return;
    const batch = this.pending;
    // A batch that cannot be written is dropped: the store must not grow in memory while the disk is full.
    this.pending = [];
    this.pendingValues = 0;
    this.db.exec('BEGIN');
    try {
      for (const { meter, reading } of batch) this.writeReading(meter, reading);
      this.db.exec('COMMIT');
    } catch (error) {
      this.db.exec('ROLLBACK');
      this.names.clear();
      throw error;
    }
  }

  private writeReading(meter: string, reading: Reading): void {
    const meterId = this.nameId(meter);
    const at = Math.round(reading.receivedAt);
    const pathId = reading.path === null ? null : this.pathId(reading.path);
    this.run(
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
      this.run(
        'INSERT OR REPLACE INTO value(meter, code, at, value, quality) VALUES(?, ?, ?, ?, ?)',
        meterId,
        code,
        at,
        value,
        q,
      );
      this.run(
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
    this.run('INSERT OR IGNORE INTO name(text) VALUES(?)', text);
    return this.knownId(text);
  }

  /** Number of a name, -1 when it has none: a question never makes one. */
  private knownId(text: string): number {
    const known = this.names.get(text);
    if (known !== undefined) return known;
    const row = this.get('SELECT id FROM name WHERE text = ?', text);
    if (row === undefined) return -1;
    const id = Number(row.id);
    if (this.names.size >= NAMES_KEPT) this.names.clear();
    this.names.set(text, id);
    return id;
  }

  private pathId(path: NonNullable<Reading['path']>): number {
    this.run(
      'INSERT OR IGNORE INTO path(fingerprint, hops, isds) VALUES(?, ?, ?)',
      path.fingerprint,
      path.hops,
      JSON.stringify(path.isds),
    );
    return Number(this.get('SELECT id FROM path WHERE fingerprint = ?', path.fingerprint)!.id);
  }

  /** Runs a write that is synced to the disk before this returns. In WAL mode NORMAL would sync at checkpoints only. */
  private durably<T>(write: () => T): T {
    this.db.exec('PRAGMA synchronous=FULL');
    try {
      return write();
    } finally {
      this.db.exec('PRAGMA synchronous=NORMAL');
    }
  }

  private statement(sql: string): StatementSync {
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      statement = this.db.prepare(sql);
      this.statements.set(sql, statement);
    }
    return statement;
  }

  private run(sql: string, ...values: SQLInputValue[]) {
    return this.statement(sql).run(...values);
  }

  private get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.statement(sql).get(...values) as Row | undefined;
  }

  private all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.statement(sql).all(...values) as Row[];
  }
}

function numberOrNull(value: SQLInputValue | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}

function commandsOf(rows: readonly Row[]): CommandRecord[] {
  return rows.map((row) => JSON.parse(String(row.body)) as CommandRecord);
}
