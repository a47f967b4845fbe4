/**
 * What the head end keeps, as an interface: readings with their path, last values, commands, events and the audit chain.
 * Every backend passes the same contract test. Times are ms since the epoch; methods are asynchronous because a backend
 * may be another machine. Readings may be buffered for a moment; every read sees what was appended before it. Commands and
 * audit lines are on disk when their promise resolves.
 */

import type { CommandState, CommandType, EvidenceBody, Severity } from '../http/wire.ts';
import type { MeasuredQuality, Reading } from '../meter-connection.ts';

export interface StoredValue {
  readonly obis: string;
  readonly name: string;
  readonly unit: string;
  readonly value: number | null;
  readonly quality: MeasuredQuality;
  readonly measuredAt: number | null;
  readonly receivedAt: number;
}

/** One point of a range scan; an interval when a resolution is given, then `at` is its start. */
export interface Point {
  readonly at: number;
  /** Mean over the interval, null when all its values are missing. */
  readonly value: number | null;
  readonly min: number | null;
  readonly max: number | null;
  readonly count: number;
  /** Worst quality in the interval. */
  readonly quality: MeasuredQuality;
}

export interface Range {
  /** Inclusive, ms. */
  readonly from: number;
  /** Exclusive, ms. */
  readonly to: number;
  /** 0 gives every stored value. */
  readonly resolutionMs: number;
  /** At most so many points, the oldest first. */
  readonly limit: number;
}

/** One stored reading's provenance. */
export interface ReadingTrace {
  readonly receivedAt: number;
  readonly measuredAt: number | null;
  readonly delayMs: number;
  readonly fingerprint: string | null;
  readonly hops: string | null;
  readonly isds: readonly number[];
}

/** What a firmware image says of itself. */
export interface ImageInfo {
  readonly model: string;
  readonly version: string;
  /** Size of the file. */
  readonly bytes: number;
  /** Of the file, hex; its name in the store. */
  readonly sha256: string;
}

export interface CommandRecord {
  readonly id: string;
  readonly meter: string;
  readonly type: CommandType;
  readonly reason: string | null;
  readonly text: string | null;
  /** Of a firmware command. */
  readonly image?: ImageInfo;
  /** Of a command that sets the clock: also by more than a day. */
  readonly jump?: boolean;
  readonly actor: string;
  readonly idempotencyKey: string;
  /** Hash of meter and body: tells a repeat from another command under the same key. */
  readonly bodyHash: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly state: CommandState;
  readonly stages: readonly { readonly state: CommandState; readonly at: number }[];
  readonly evidence: EvidenceBody | null;
  readonly error: { readonly code: string; readonly detail: string } | null;
}

export interface EventRecord {
  readonly seq: number;
  readonly at: number;
  readonly kind: string;
  readonly severity: Severity;
  readonly meter: string | null;
  readonly message: string;
}

/** Who did what, when, why. */
export interface AuditEntry {
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly meter: string | null;
  readonly detail: Readonly<Record<string, string | number | boolean | null>>;
}

export interface AuditLine {
  readonly seq: number;
  /** The entry as JSON text: the very bytes that were hashed. */
  readonly line: string;
  /** SHA-256 over the previous hash and the line, hex. */
  readonly hash: string;
}

export interface EventQuery {
  /** Only events with a larger sequence number. */
  readonly since?: number;
  readonly meter?: string;
  readonly kind?: string;
  readonly limit: number;
}

export interface Store {
  appendReading(meter: string, reading: Reading): Promise<void>;
  lastValues(meter: string): Promise<readonly StoredValue[]>;
  scan(meter: string, obis: string, range: Range): Promise<readonly Point[]>;
  /** The OBIS codes that a meter has values of. */
  codes(meter: string): Promise<readonly string[]>;
  traces(meter: string, from: number, to: number, limit: number): Promise<readonly ReadingTrace[]>;

  /**
   * Inserts a command, or gives the one that already has its idempotency key.
   * @param image  content of `record.image`, kept until no open command needs it
   */
  createCommand(
    record: CommandRecord,
    image?: Uint8Array,
  ): Promise<{ readonly record: CommandRecord; readonly created: boolean }>;
  /** A firmware image by its SHA-256, hex. */
  image(sha256: string): Promise<Uint8Array | undefined>;
  /** Replaces state, stages, evidence and error. */
  updateCommand(record: CommandRecord): Promise<void>;
  command(id: string): Promise<CommandRecord | undefined>;
  /** Newest first. */
  commands(meter: string, limit: number): Promise<readonly CommandRecord[]>;
  /** Commands that have no outcome, oldest first: what a restart must take up again. */
  openCommands(): Promise<readonly CommandRecord[]>;

  appendEvent(event: Omit<EventRecord, 'seq'>): Promise<EventRecord>;
  /** Oldest first after `since`, else the newest `limit`, oldest first. */
  events(query: EventQuery): Promise<readonly EventRecord[]>;

  appendAudit(entry: AuditEntry): Promise<AuditLine>;
  /** In order of the chain, from sequence number `from` (first is 1). */
  audit(from: number, limit: number): Promise<readonly AuditLine[]>;

  /** What an operator set for a meter under a name, as JSON text; undefined when nothing is. */
  setting(meter: string, name: string): Promise<string | undefined>;
  /** Stores or, with undefined, forgets a setting. On disk when it resolves. */
  putSetting(meter: string, name: string, text: string | undefined): Promise<void>;

  /** Deletes readings, last values, settings and events of a meter; commands and audit stay. @returns values deleted */
  erase(meter: string): Promise<number>;
  /** Deletes readings received before `before` and images that no open command needs; last values stay. @returns values deleted */
  prune(before: number): Promise<number>;
  flush(): Promise<void>;
  close(): Promise<void>;
}
