/**
 * DLMS client, one association: pure, each operation a generator of request frames (see exchange.ts). The services are
 * in client-get.ts, client-set.ts and client-action.ts. Lists fall back to single reads when the server has not negotiated
 * them, long answers come in blocks, and registers are read with their scaler and unit, which are asked for once.
 *
 * Failures are `DlmsError`: a result code of the server is in `context.result`, an exception response in `context.state`
 * and `context.service`. Answers that are no valid APDU fail the request, never more than that.
 */

import { DlmsError } from '#base/errors';
import type { ActionResult } from '#dlms/action';
import { type AttributeRef, type MethodRef, refText, type Selection } from '#dlms/apdu';
import type { Data } from '#dlms/axdr';
import { type MethodCall, NO_RESULT, runMethods } from '#dlms/client-action';
import { dataOf, numberOf, refused, unexpected } from '#dlms/client-answers';
import { openAssociation, type Proposal, releaseAssociation } from '#dlms/client-association';
import { ClientFrames, type RequestSigner } from '#dlms/client-frames';
import { getAttribute, getAttributes, LIST_SIZE } from '#dlms/client-get';
import { ClientSecurity, type ClientSecurityOptions } from '#dlms/client-security';
import { type AttributeValue, setAttributes } from '#dlms/client-set';
import type { Exchange } from '#dlms/exchange';
import type { GetResult } from '#dlms/get';
import { Conformance } from '#dlms/initiate';
import { formatObis, parseObis } from '#dlms/obis';
import { scale, unitSymbol } from '#dlms/units';
import { Sap } from '#dlms/wrapper';

export interface ClientOptions {
  /** 1 with keys, 16 public, 17 with password. */
  readonly clientSap: number;
  readonly serverSap?: number;
  /** Low-level secret of at most 64 bytes; without it the association is public. */
  readonly password?: Uint8Array;
  /** Longest APDU that the client accepts. Default 1024. */
  readonly maxPdu?: number;
  /** Services that the client proposes. */
  readonly conformance?: number;
  /** High-level authentication and ciphering; in place of the password. */
  readonly security?: ClientSecurityOptions;
}

/** A register's value with its scaler applied. */
export interface RegisterReading {
  /** Canonical OBIS text. */
  readonly obis: string;
  /** null when the server has none to give now; `result` says why. */
  readonly value: number | null;
  /** Symbol such as `V`; empty for plain numbers, and when the unit is not known yet. */
  readonly unit: string;
  /** 0, or the server's result code. */
  readonly result: number;
}

interface ScalerUnit {
  readonly scaler: number;
  readonly unit: number;
}

const DEFAULT_PROPOSAL =
  Conformance.priorityManagement |
  Conformance.attribute0WithGet |
  Conformance.blockTransferWithGet |
  Conformance.blockTransferWithSet |
  Conformance.blockTransferWithAction |
  Conformance.multipleReferences |
  Conformance.get |
  Conformance.set |
  Conformance.selectiveAccess |
  Conformance.action;

const REGISTER_CLASS = 3;
const MAX_PASSWORD = 64;

export class DlmsClient {
  readonly #proposal: Proposal;
  readonly #frames: ClientFrames;
  readonly #units = new Map<string, ScalerUnit>();

  /** @throws DlmsError `encode.out-of-range` for a password that no AARQ can carry */
  constructor(options: ClientOptions) {
    const { clientSap, serverSap = Sap.managementServer, maxPdu = 1024, conformance = DEFAULT_PROPOSAL } = options;
    if ((options.password?.length ?? 0) > MAX_PASSWORD)
      throw new DlmsError('encode.out-of-range', `password longer than ${MAX_PASSWORD} bytes`);
    this.#proposal = { clientSap, password: options.password, maxPdu, conformance };
    this.#frames = new ClientFrames({ clientSap, serverSap }, options.security && new ClientSecurity(options.security));
  }

  get isAssociated(): boolean {
    return this.#frames.isAssociated;
  }

  /** Negotiated conformance block; 0 while not associated. */
  get conformance(): number {
    return this.#frames.conformance;
  }

  /** Longest APDU that the server accepts; 0 means any. */
  get serverMaxPdu(): number {
    return this.#frames.serverMaxPdu;
  }

  /** Forgets the association, as after a lost connection or a restart of the server; units stay known. */
  reset(): void {
    this.#frames.reset();
  }

  /** System title of the server, once it was met. */
  get serverTitle(): Uint8Array | undefined {
    return this.#frames.security?.serverTitle;
  }

  /**
   * Opens the association.
   * @param nowMs  steady clock of a datagram transport: an AARQ that no answer has come to is then sent again as it is
   * @throws DlmsError `dlms.authentication-failed`, `dlms.association-rejected`, `dlms.unexpected-answer`
   */
  *associate(nowMs?: number): Exchange<void> {
    try {
      yield* openAssociation(this.#frames, this.#proposal, nowMs);
    } catch (error) {
      this.reset();
      const expected = error instanceof DlmsError ? error.context?.expectedCounter : undefined;
      const { counter } = this.#frames.security?.options ?? {};
      if (typeof expected !== 'number' || !counter?.skipTo(expected)) throw error;
      // The server knows a higher counter of ours, as after the loss of ours or a restart of the server.
      yield* openAssociation(this.#frames, this.#proposal, nowMs);
    }
  }

  /** Ends the association; any answer at all means that it is over. */
  *release(): Exchange<void> {
    yield* releaseAssociation(this.#frames, this.#proposal);
  }

  /**
   * Runs an operation whose requests are signed one by one: what a meter obeys only from a holder of a command key.
   * The signed form goes into the same association.
   */
  *signed<T>(sign: RequestSigner, operation: Exchange<T>): Exchange<T> {
    this.#frames.signer = sign;
    try {
      return yield* operation;
    } finally {
      this.#frames.signer = undefined;
    }
  }

  /**
   * Reads one attribute.
   * @param selection  the part that is wanted; only for attributes that take one
   * @throws DlmsError with the code of the server's result
   */
  *get(ref: AttributeRef, selection?: Selection): Exchange<Data> {
    if (selection) this.#frames.need(Conformance.selectiveAccess, 'selective access');
    return dataOf(ref, yield* getAttribute(this.#frames, ref, selection));
  }

  /**
   * Reads several attributes, in as few requests as the server allows.
   * @returns one result per reference, in their order; a refused one does not fail the others
   */
  *getList(refs: readonly AttributeRef[]): Exchange<GetResult[]> {
    return yield* getAttributes(this.#frames, refs);
  }

  /** Writes one attribute, in blocks when it is long. @throws DlmsError with the code of the server's result */
  *set(ref: AttributeRef, value: Data): Exchange<void> {
    const [result = 0] = yield* setAttributes(this.#frames, [{ ref, value }]);
    if (result !== 0) throw refused(refText(ref), result);
  }

  /**
   * Writes several attributes, in one request when the server takes lists.
   * @returns one result code per attribute, in their order
   */
  *setList(entries: readonly AttributeValue[]): Exchange<number[]> {
    const results: number[] = [];
    const size = (this.#frames.conformance & Conformance.multipleReferences) === 0 ? 1 : LIST_SIZE;
    for (let at = 0; at < entries.length; at += size) {
      results.push(...(yield* setAttributes(this.#frames, entries.slice(at, at + size))));
    }
    return results;
  }

  /** Runs a method. @returns its return value, mostly none @throws DlmsError with the code of the server's result */
  *action(ref: MethodRef, parameter: Data | null = { type: 'integer', value: 0 }): Exchange<Data | null> {
    const [{ result, data } = NO_RESULT] = yield* runMethods(this.#frames, [{ ref, parameter }]);
    if (result !== 0) throw refused(refText(ref), result);
    return data;
  }

  /**
   * Runs several methods, in one request when the server takes lists.
   * @returns one result per method, in their order; a refused one does not stop the others
   */
  *actionList(entries: readonly MethodCall[]): Exchange<readonly ActionResult[]> {
    const results: ActionResult[] = [];
    const size = (this.#frames.conformance & Conformance.multipleReferences) === 0 ? 1 : LIST_SIZE;
    for (let at = 0; at < entries.length; at += size) {
      results.push(...(yield* runMethods(this.#frames, entries.slice(at, at + size))));
    }
    return results;
  }

  /**
   * Reads class 3 registers with scaler and unit, and further attributes in the same requests.
   * @param obis  registers, any text form
   * @param others  e.g. the clock and the status, read together with the values
   */
  *readRegisters(
    obis: readonly string[],
    others: readonly AttributeRef[] = [],
  ): Exchange<{ readonly registers: RegisterReading[]; readonly others: GetResult[] }> {
    const names = obis.map((text) => ({ ln: parseObis(text), text: formatObis(parseObis(text)) }));
    yield* this.#learnUnits(names.filter(({ text }) => !this.#units.has(text)));
    const refs = names.map(({ ln }) => ({ classId: REGISTER_CLASS, ln, attribute: 2 }));
    const results = yield* this.getList([...refs, ...others]);
    const registers = names.map(({ text }, i): RegisterReading => {
      const { result, data } = results[i]!;
      const known = this.#units.get(text);
      const raw = data === null ? null : numberOf(data);
      if (data !== null && raw === null) throw unexpected(`${data.type} as value of ${text}`);
      const value = raw === null || !known ? null : scale(raw, known.scaler);
      return { obis: text, value, unit: known ? unitSymbol(known.unit) : '', result };
    });
    return { registers, others: results.slice(refs.length) };
  }

  *#learnUnits(names: readonly { ln: Uint8Array; text: string }[]): Exchange<void> {
    const answers = yield* this.getList(names.map(({ ln }) => ({ classId: REGISTER_CLASS, ln, attribute: 3 })));
    answers.forEach(({ data }, i) => {
      if (data?.type !== 'structure') return;
      const [scaler, unit] = data.value;
      if (scaler?.type === 'integer' && unit?.type === 'enum')
        this.#units.set(names[i]!.text, { scaler: scaler.value, unit: unit.value });
    });
  }

  /**
   * Whether a datagram is the answer to the request under way; a forged or repeated frame is none.
   * @param request  the frame that was sent
   * @param answer  is not changed
   */
  takes(request: Uint8Array, answer: Uint8Array): boolean {
    return this.#frames.takes(request, answer);
  }
}
