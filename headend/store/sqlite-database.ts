/**
 * The SQLite file behind the store: opening it, its schema, statements that are compiled once, and writes that are on the
 * disk before they count.
 */

import { chmodSync, closeSync, openSync } from 'node:fs';
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { messageOf, S3mpError } from '#base/errors';

const SCHEMA_VERSION = 1;
/** Condition of a command whose outcome is not known yet. */
export const IS_OPEN = `state IN ('queued', 'sent', 'acknowledged', 'unknown')`;
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
  CREATE INDEX command_open ON command(created) WHERE ${IS_OPEN};
  CREATE TABLE event(seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL,
    severity TEXT NOT NULL, meter TEXT, message TEXT NOT NULL);
  CREATE INDEX event_meter ON event(meter, seq);
  CREATE TABLE audit(seq INTEGER PRIMARY KEY, line TEXT NOT NULL, hash TEXT NOT NULL);
`;

/** Added to a store of any age. */
const LATER_TABLES = `
  CREATE TABLE IF NOT EXISTS image(digest TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS setting(meter TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY(meter, name)) WITHOUT ROWID;
`;

export type Row = Record<string, SQLInputValue>;

/**
 * Opens or creates the file.
 * @param file  its name, or `:memory:`
 * @throws S3mpError `runtime.missing` when this Node has no SQLite, `config.unreadable` when the file cannot be used
 */
export function openDatabase(file: string): SqliteDatabase {
  const sqlite = process.getBuiltinModule?.('node:sqlite') as typeof import('node:sqlite') | undefined;
  if (sqlite === undefined) {
    throw new S3mpError(
      'runtime.missing',
      `Node ${process.version} has no node:sqlite; run the head end with Node 24: npm ci installs one, npm start and node_modules/.bin/node use it`,
    );
  }
  try {
    // The mode is set on an empty file, before a byte of household data is in it; SQLite's -wal and -shm files inherit it.
    if (file !== ':memory:') {
      closeSync(openSync(file, 'a', 0o600));
      chmodSync(file, 0o600);
    }
    const db = new sqlite.DatabaseSync(file);
    prepareDatabase(db, file);
    return new SqliteDatabase(db);
  } catch (error) {
    if (error instanceof S3mpError) throw error;
    throw new S3mpError('config.unreadable', `the store ${file} cannot be opened: ${messageOf(error)}`, {}, error);
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

export class SqliteDatabase {
  private readonly db: DatabaseSync;
  private readonly statements = new Map<string, StatementSync>();

  constructor(db: DatabaseSync) {
    this.db = db;
  }

  close(): void {
    this.db.close();
  }

  /** Runs writes that happen all or not at all. @param begin  IMMEDIATE when what is read decides on what is written */
  transaction<T>(write: () => T, begin: 'BEGIN' | 'BEGIN IMMEDIATE' = 'BEGIN'): T {
    this.db.exec(begin);
    try {
      const result = write();
      this.db.exec('COMMIT');
      return result;
    } catch (error) {
      this.db.exec('ROLLBACK');
      throw error;
    }
  }

  /** Runs a write that is synced to the disk before this returns. In WAL mode NORMAL would sync at checkpoints only. */
  durably<T>(write: () => T): T {
    this.db.exec('PRAGMA synchronous=FULL');
    try {
      return write();
    } finally {
      this.db.exec('PRAGMA synchronous=NORMAL');
    }
  }

  run(sql: string, ...values: SQLInputValue[]) {
    return this.statement(sql).run(...values);
  }

  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.statement(sql).get(...values) as Row | undefined;
  }

  all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.statement(sql).all(...values) as Row[];
  }

  private statement(sql: string): StatementSync {
    let statement = this.statements.get(sql);
    if (statement === undefined) {
      statement = this.db.prepare(sql);
      this.statements.set(sql, statement);
    }
    return statement;
  }
}
