/**
 * DLMS server: sessions by remote address, in each the associations by client access point, and what they answer.
 * Pure and synchronous: `session(key).receive(frame, out, now)` takes one wrapper frame and writes the answer's frame.
 *
 *   DlmsServer ── ServerSession (a connection or a remote host) ── ServerAssociation (a client access point)
 *
 * Numbers of sessions, transfers and remembered failures are bounded.
 */

import type { AssociationSpec } from '#dlms/association';
import type { LogicalDevice } from '#dlms/cosem/logical-device';
import { DEFAULT_LOCKOUT, Lockout, type LockoutOptions } from '#dlms/lockout';
import type { Opening } from '#dlms/security';
import { ServerAssociation } from '#dlms/server-association';
import type { CommandAuthority } from '#dlms/signing';
import { encodeWrapperHeader, isWrapperFrame, WRAPPER_SIZE, wrapperDestination, wrapperSource } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';

/** Why a request's protection did not hold, or an answer could not be protected. */
export type ProtectionFailure = Exclude<Opening, 'open'> | 'unprotected' | 'counters-used-up';

/** Something worth a line in an event log. */
export type ServerEvent =
  | {
      readonly kind: 'protection-failed';
      readonly key: string;
      readonly clientSap: number;
      readonly reason: ProtectionFailure;
      /** Wrong guesses of a code from this address in a row; 0 for other reasons. */
      readonly failures: number;
    }
  | {
      readonly kind: 'command-refused';
      readonly key: string;
      readonly clientSap: number;
      /** `CommandRefusal`, or `format`. */
      readonly reason: string;
    }
  | {
      readonly kind: 'command-accepted';
      readonly key: string;
      readonly clientSap: number;
      readonly number: number;
      /** The reason that was signed. */
      readonly reason: string;
    }
  | { readonly kind: 'association-opened'; readonly key: string; readonly clientSap: number }
  | {
      readonly kind: 'association-closed';
      readonly key: string;
      readonly clientSap: number;
      readonly reason: 'released' | 'replaced' | 'disconnected' | 'expired';
    }
  | {
      readonly kind: 'association-rejected';
      readonly key: string;
      readonly clientSap: number;
      readonly result: number;
      readonly diagnostic: number;
      /** Failed passwords of this address in a row; 0 for other reasons. */
      readonly failures: number;
    }
  | {
      readonly kind: 'request-refused';
      readonly key: string;
      readonly clientSap: number;
      readonly reason: 'pdu-too-long';
    }
  | {
      /** Each SET and ACTION; of GET what the client may not have, or what is not there. */
      readonly kind: 'get' | 'set' | 'action';
      readonly key: string;
      readonly clientSap: number;
      readonly obis: string;
      /** Attribute or method number. */
      readonly id: number;
      readonly result: number;
    };

export interface ServerOptions {
  readonly associations: readonly AssociationSpec[];
  /** Longest APDU either way over datagrams. Default 1024. */
  readonly maxDatagramPdu?: number;
  /** Longest APDU either way over streams. Default 2048. */
  readonly maxStreamPdu?: number;
  /** Remote hosts and connections at a time. Default 32. */
  readonly maxSessions?: number;
  /** An association without a request for this long is over. Default 600 s. */
  readonly inactivityMs?: number;
  /** How long a repeated SET, ACTION or AARQ datagram is answered from the cache. Default 30 s. */
  readonly duplicateWindowMs?: number;
  readonly lockout?: LockoutOptions;
  /** Who may sign commands; without it every signed request is refused. */
  readonly commands?: CommandAuthority | undefined;
  /** Time by which a signed request is judged, s since the Unix epoch; undefined while nobody knows it: see `judgingTime`. */
  readonly epochS?: (request: Uint8Array) => number | undefined;
  readonly onEvent?: (event: ServerEvent) => void;
}

export interface SessionOptions {
  /** `datagram` (default) keeps the duplicate cache and drops what it cannot attribute; `stream` answers instead. */
  readonly transport?: 'datagram' | 'stream';
  /** One answer a request, as on HDLC. */
  readonly isPolled?: boolean;
  /** Whom failed passwords count against; the key by default. A TCP server gives the address without the port. */
  readonly source?: string;
  /** Clients that do not exist on this transport. */
  readonly hiddenClients?: readonly number[] | undefined;
  /** Whether the transport vouches for the sender of each frame. Default false. */
  readonly isAuthentic?: boolean;
}

/** Shared by all sessions and associations of one server. */
export interface ServerCore {
  readonly device: LogicalDevice;
  readonly lockout: Lockout;
  readonly inactivityMs: number;
  readonly duplicateWindowMs: number;
  readonly commands: CommandAuthority | undefined;
  readonly epochS: (request: Uint8Array) => number | undefined;
  readonly emit: (event: ServerEvent) => void;
}

const DEFAULT_INACTIVITY_MS = 600_000;
const DEFAULT_DUPLICATE_WINDOW_MS = 30_000;

export class DlmsServer {
  readonly core: ServerCore;
  readonly specs: ReadonlyMap<number, AssociationSpec>;
  readonly #options: ServerOptions;
  readonly #maxSessions: number;
  readonly #sessions = new Map<string, ServerSession>();
  #turns = 0;

  constructor(device: LogicalDevice, options: ServerOptions) {
    this.#options = options;
    this.#maxSessions = options.maxSessions ?? 32;
    this.specs = new Map(options.associations.map((spec) => [spec.clientSap, spec]));
    this.core = {
      device,
      lockout: new Lockout(options.lockout ?? DEFAULT_LOCKOUT),
      inactivityMs: options.inactivityMs ?? DEFAULT_INACTIVITY_MS,
      duplicateWindowMs: options.duplicateWindowMs ?? DEFAULT_DUPLICATE_WINDOW_MS,
      commands: options.commands,
      epochS: options.epochS ?? (() => undefined),
      emit: (event) => options.onEvent?.(event),
    };
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Longest APDU either way on this transport. */
  maxPdu(transport: 'datagram' | 'stream'): number {
    return transport === 'stream' ? (this.#options.maxStreamPdu ?? 2048) : (this.#options.maxDatagramPdu ?? 1024);
  }

  /**
   * The session of a remote host or connection, made when there is none.
   * @param key  who it is: `1-ff00:0:110,[127.5.0.1]:4059`, or a number per TCP connection
   * @param nowMs  steady clock: with it associations that have been idle too long make room
   * @returns undefined when every place is taken by a client that has proved itself and is not idle
   */
  session(key: string, options: SessionOptions = {}, nowMs = 0): ServerSession | undefined {
    let session = this.#sessions.get(key);
    if (session === undefined) {
      if (this.#sessions.size >= this.#maxSessions && !this.#evict(nowMs)) return undefined;
      session = new ServerSession(this, key, options, () => this.#sessions.delete(key));
      this.#sessions.set(key, session);
    }
    // A number instead of the map's order: taking an entry out and in again may copy the whole map, at each request.
    session.turn = ++this.#turns;
    return session;
  }

  /**
   * Makes room: the session unused for longest among those without an association, open or opened by a key, else among those
   * that anyone can open.
   * A public association keeps nothing that its client cannot ask for again.
   */
  #evict(nowMs: number): boolean {
    const sessions = [...this.#sessions.values()].sort((a, b) => a.turn - b.turn);
    const latest = sessions.reduce((ms, session) => Math.max(ms, session.lastUsedMs), nowMs);
    const session = sessions.find((each) => each.expire(latest)) ?? sessions.find(({ isAnonymous }) => isAnonymous);
    session?.close();
    return session !== undefined;
  }
}

/** Puts the wrapper in front of an answer. @returns bytes of the frame, 0 for none */
function finish(w: ByteWriter, source: number, destination: number): number {
  if (w.length === 0 || w.overflowed) return 0;
  encodeWrapperHeader(w.buf, 0, source, destination, w.length);
  return w.at;
}

export class ServerSession {
  readonly key: string;
  /** Of two sessions, the one used later has the larger. */
  turn = 0;
  /** Time of the last frame. */
  lastUsedMs = 0;
  readonly #server: DlmsServer;
  readonly #transport: 'datagram' | 'stream';
  readonly #source: string;
  readonly #hiddenClients: readonly number[];
  readonly #isAuthentic: boolean;
  readonly #isPolled: boolean;
  readonly #forget: () => void;
  readonly #associations = new Map<number, ServerAssociation>();
  readonly #writer = new ByteWriter(new Uint8Array(0));
  /** The association of the last frame. */
  #last: ServerAssociation | null = null;

  constructor(server: DlmsServer, key: string, options: SessionOptions, forget: () => void) {
    this.key = key;
    this.#server = server;
    this.#transport = options.transport ?? 'datagram';
    this.#source = options.source ?? key;
    this.#hiddenClients = options.hiddenClients ?? [];
    this.#isAuthentic = options.isAuthentic ?? false;
    this.#isPolled = options.isPolled ?? false;
    this.#forget = forget;
  }

  /**
   * Handles one wrapper frame.
   * @param frame  one whole frame; not kept
   * @param out  gets the answer's frame; 8 bytes longer than the longest APDU of this transport
   * @param nowMs  steady clock
   * @returns bytes of the answer in `out`, 0 when there is nothing to send
   */
  receive(frame: Uint8Array, out: Uint8Array, nowMs: number): number {
    if (!isWrapperFrame(frame)) return 0;
    this.lastUsedMs = nowMs;
    const clientSap = wrapperSource(frame);
    const serverSap = wrapperDestination(frame);
    if (serverSap !== this.#server.core.device.sap) return 0;
    const association = this.#association(clientSap);
    if (!association) return 0;
    const limit = this.#server.maxPdu(this.#transport);
    const w = this.#writer.reset(out, WRAPPER_SIZE, Math.min(out.length, WRAPPER_SIZE + limit));
    association.receive(frame, WRAPPER_SIZE, w, nowMs);
    this.#last = association;
    return finish(w, serverSap, clientSap);
  }

  /**
   * Writes a further frame of the last answer: general block transfer sends several in a row. To be called after each frame
   * that was sent, until it returns 0.
   * @param out  as for `receive`
   */
  next(out: Uint8Array): number {
    const association = this.#last;
    if (!association) return 0;
    const limit = this.#server.maxPdu(this.#transport);
    const w = this.#writer.reset(out, WRAPPER_SIZE, Math.min(out.length, WRAPPER_SIZE + limit));
    return association.next(w) ? finish(w, this.#server.core.device.sap, association.clientSap) : 0;
  }

  #association(clientSap: number): ServerAssociation | undefined {
    const known = this.#associations.get(clientSap);
    if (known) return known;
    const spec = this.#hiddenClients.includes(clientSap) ? undefined : this.#server.specs.get(clientSap);
    // A datagram from an access point that nobody configured is dropped; on a connection it is refused in words.
    if (!spec && this.#transport === 'datagram') return undefined;
    const association = new ServerAssociation(this.#server.core, {
      key: this.key,
      source: this.#source,
      clientSap,
      spec: spec ?? null,
      isStream: this.#transport === 'stream',
      maxPdu: this.#server.maxPdu(this.#transport),
      isAuthentic: this.#isAuthentic,
      isPolled: this.#isPolled,
    });
    // Not kept for unknown access points: they have no state, and a client could name 65535 of them.
    if (spec) this.#associations.set(clientSap, association);
    return association;
  }

  /** Ends associations that were idle too long. @returns whether none is left */
  expire(nowMs: number): boolean {
    let isIdle = true;
    for (const association of this.#associations.values()) {
      association.expire(nowMs);
      if (association.isAssociated || association.isAuthenticated) isIdle = false;
    }
    return isIdle;
  }

  /** Whether none of its associations has asked for a proof of who the client is. */
  get isAnonymous(): boolean {
    return [...this.#associations.values()].every((association) => !association.isAuthenticated);
  }

  /** Ends every association: the connection is gone. */
  close(): void {
    for (const association of this.#associations.values()) association.end('disconnected');
    this.#forget();
  }
}
