/**
 * The embedded store: SQLite through node:sqlite, one file, one writer. Readings go to disk a batch at a time
 * (sqlite-readings.ts); commands and audit lines are synced to the disk before they count, because a command must be on
 * record before it leaves.
 */

import type { SQLInputValue } from 'node:sqlite';
import type { Reading } from '../meter-connection.ts';
import { AUDIT_GENESIS, auditText, chainHash } from './audit-chain.ts';
import { IS_OPEN, openDatabase, type Row, type SqliteDatabase } from './sqlite-database.ts';
import { type BatchOptions, SqliteReadings } from './sqlite-readings.ts';
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

export interface SqliteOptions extends BatchOptions {
  /** File name, or `:memory:`. */
  readonly file: string;
}

/**
 * Opens or creates the store.
 * @throws S3mpError `runtime.missing` when this Node has no SQLite, `config.unreadable` when the file cannot be used
 */
export function openSqliteStore(options: SqliteOptions): Store {
  return new SqliteStore(openDatabase(options.file), options);
}

class SqliteStore implements Store {
  private readonly db: SqliteDatabase;
  private readonly readings: SqliteReadings;
  private closed = false;

  constructor(db: SqliteDatabase, options: BatchOptions) {
    this.db = db;
    this.readings = new SqliteReadings(db, options);
  }

  async appendReading(meter: string, reading: Reading): Promise<void> {
    this.readings.append(meter, reading);
  }

  async lastValues(meter: string): Promise<readonly StoredValue[]> {
    return this.readings.lastValues(meter);
  }

  async scan(meter: string, obis: string, range: Range): Promise<readonly Point[]> {
    return this.readings.scan(meter, obis, range);
  }

  async codes(meter: string): Promise<readonly string[]> {
    return this.readings.codes(meter);
  }

  async traces(meter: string, from: number, to: number, limit: number): Promise<readonly ReadingTrace[]> {
    return this.readings.traces(meter, from, to, limit);
  }

  async createCommand(record: CommandRecord, image?: Uint8Array): Promise<{ record: CommandRecord; created: boolean }> {
    const known = this.db.get('SELECT body FROM command WHERE key = ?', record.idempotencyKey);
    if (known) return { record: JSON.parse(String(known.body)) as CommandRecord, created: false };
    this.db.durably(() => {
      if (image && record.image)
        this.db.run('INSERT OR IGNORE INTO image(digest, content) VALUES(?, ?)', record.image.sha256, image);
      this.db.run(
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
    return this.db.get('SELECT content FROM image WHERE digest = ?', sha256)?.content as Uint8Array | undefined;
  }

  async updateCommand(record: CommandRecord): Promise<void> {
    this.db.durably(() =>
      this.db.run(
        'UPDATE command SET state = ?, body = ? WHERE id = ?',
        record.state,
        JSON.stringify(record),
        record.id,
      ),
    );
  }

  async command(id: string): Promise<CommandRecord | undefined> {
    return commandsOf(this.db.all('SELECT body FROM command WHERE id = ?', id))[0];
  }

  async commands(meter: string, limit: number): Promise<readonly CommandRecord[]> {
    return commandsOf(
      this.db.all('SELECT body FROM command WHERE meter = ? ORDER BY created DESC, id DESC LIMIT ?', meter, limit),
    );
  }

  async openCommands(): Promise<readonly CommandRecord[]> {
    return commandsOf(this.db.all(`SELECT body FROM command WHERE ${IS_OPEN} ORDER BY created, id`));
  }

  async appendEvent(event: Omit<EventRecord, 'seq'>): Promise<EventRecord> {
    const { lastInsertRowid } = this.db.run(
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
    const rows = this.db.all(
      `SELECT seq, at, kind, severity, meter, message FROM event WHERE ${conditions.join(' AND ')}
       ORDER BY seq ${newest ? 'DESC' : 'ASC'} LIMIT ?`,
      ...values,
      query.limit,
    );
    const events = rows.map((row) => ({ ...row }) as unknown as EventRecord);
    return newest ? events.reverse() : events;
  }

  async appendAudit(entry: AuditEntry): Promise<AuditLine> {
    return this.db.durably(() => {
      // Commands of the same bundle write to the chain beside the server: its end is looked up under the lock.
      return this.db.transaction(() => {
        const head = this.db.get('SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1');
        const seq = Number(head?.seq ?? 0) + 1;
        const line = auditText(seq, entry);
        const hash = chainHash(String(head?.hash ?? AUDIT_GENESIS), line);
        this.db.run('INSERT INTO audit(seq, line, hash) VALUES(?, ?, ?)', seq, line, hash);
        return { seq, line, hash };
      }, 'BEGIN IMMEDIATE');
    });
  }

  async audit(from: number, limit: number): Promise<readonly AuditLine[]> {
    const rows = this.db.all('SELECT seq, line, hash FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?', from, limit);
    return rows.map((row) => ({ ...row }) as unknown as AuditLine);
  }

  async setting(meter: string, name: string): Promise<string | undefined> {
    const row = this.db.get('SELECT body FROM setting WHERE meter = ? AND name = ?', meter, name);
    return row === undefined ? undefined : String(row.body);
  }

  async putSetting(meter: string, name: string, text: string | undefined): Promise<void> {
    this.db.durably(() =>
      text === undefined
        ? this.db.run('DELETE FROM setting WHERE meter = ? AND name = ?', meter, name)
        : this.db.run('INSERT OR REPLACE INTO setting(meter, name, body) VALUES(?, ?, ?)', meter, name, text),
    );
  }

  async erase(meter: string): Promise<number> {
    this.readings.writePending();
    return this.db.durably(() => {
      const erased = this.readings.erase(meter);
      this.db.run('DELETE FROM setting WHERE meter = ?', meter);
      this.db.run('DELETE FROM event WHERE meter = ?', meter);
      return erased;
    });
  }

  async prune(before: number): Promise<number> {
    this.readings.writePending();
    const pruned = this.readings.prune(before);
    this.db.run(
      `DELETE FROM image WHERE digest NOT IN
         (SELECT json_extract(body, '$.image.sha256') FROM command
          WHERE ${IS_OPEN} AND json_extract(body, '$.image.sha256') IS NOT NULL)`,
    );
    return pruned;
  }

  async flush(): Promise<void> {
    this.readings.writePending();
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.readings.writePending();
    this.closed = true;
    this.db.close();
  }
}

function commandsOf(rows: readonly Row[]): CommandRecord[] {
  return rows.map((row) => JSON.parse(String(row.body)) as CommandRecord);
}
