/**
 * DLMS client, one association: pure, each operation a generator of request frames (see exchange.ts). Lists fall back to
 * single reads when the server has not negotiated them, long answers come in blocks, and registers are read with their
 * scaler and unit, which are asked for once.
 *
 * Failures are `DlmsError`: a result code of the server is in `context.result`, an exception response in `context.state`
 * and `context.service`. Answers that are no valid APDU fail the request, never more than that.
 */

import { DlmsError } from '#base/errors';
import { AssociationResult, Context, Diagnostic, decodeAare, encodeAarq, encodeRelease, Mechanism } from '#dlms/acse';
import {
  ActionAnswer,
  ActionChoice,
  type ActionResult,
  decodeActionBlocks,
  decodeActionResponse,
  encodeActionNext,
  writeActionReferences,
} from '#dlms/action';
import { ApduTag, type AttributeRef, type MethodRef, refText, type Selection } from '#dlms/apdu';
import { type Data, encodeData, NULL_DATA, octetsThatFit, writeOctets } from '#dlms/axdr';
import { CIPHER_HEADROOM } from '#dlms/cipher';
import {
  assemble,
  checkedSize,
  dataOf,
  decodeAnswer,
  joined,
  numberOf,
  refused,
  unexpected,
} from '#dlms/client-answers';
import { ClientFrames, type RequestSigner } from '#dlms/client-frames';
import { ClientSecurity, type ClientSecurityOptions } from '#dlms/client-security';
import type { Exchange } from '#dlms/exchange';
import {
  decodeGetResponse,
  encodeGetListRequest,
  encodeGetNext,
  encodeGetRequest,
  GetChoice,
  type GetResponse,
  type GetResult,
} from '#dlms/get';
import { Conformance, decodeInitiateResponse, encodeInitiateRequest } from '#dlms/initiate';
import { formatObis, parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import { decodeSetResponse, SetAnswer, SetChoice, writeSetReferences, writeValues } from '#dlms/set';
import { scale, unitSymbol } from '#dlms/units';
import { Sap } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';

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

/** References asked for in one request; servers of ours take 32. */
const LIST_SIZE = 32;
/** A reference with its access selection takes 10 bytes of a request that begins with 4. */
const REFERENCE_SIZE = 10;
const REGISTER_CLASS = 3;
const MAX_PASSWORD = 64;
const NO_BYTES = new Uint8Array(0);
const REPLY_TO_HLS: MethodRef = { classId: 15, ln: parseObis('0-0:40.0.0.255'), method: 1 };
const NO_RESULT: ActionResult = { result: 0, data: null };

export class DlmsClient {
  readonly #options: Required<Pick<ClientOptions, 'maxPdu' | 'conformance'>>;
  readonly #clientSap: number;
  readonly #password: Uint8Array | undefined;
  readonly #frames: ClientFrames;
  readonly #units = new Map<string, ScalerUnit>();

  /** @throws DlmsError `encode.out-of-range` for a password that no AARQ can carry */
  constructor(options: ClientOptions) {
    const { clientSap, serverSap = Sap.managementServer, maxPdu = 1024, conformance = DEFAULT_PROPOSAL } = options;
    if ((options.password?.length ?? 0) > MAX_PASSWORD)
      throw new DlmsError('encode.out-of-range', `password longer than ${MAX_PASSWORD} bytes`);
    this.#options = { maxPdu, conformance };
    this.#clientSap = clientSap;
    this.#password = options.password;
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
      yield* this.#associate(nowMs);
    } catch (error) {
      this.reset();
      const expected = error instanceof DlmsError ? error.context?.expectedCounter : undefined;
      const { counter } = this.#frames.security?.options ?? {};
      if (typeof expected !== 'number' || !counter?.skipTo(expected)) throw error;
      // The server knows a higher counter of ours, as after the loss of ours or a restart of the server.
      yield* this.#associate(nowMs);
    }
  }

  *#associate(nowMs: number | undefined): Exchange<void> {
    this.reset();
    const security = this.#frames.security;
    const mechanism = security ? security.options.mechanism : this.#password ? Mechanism.password : Mechanism.none;
    const write = (w: ByteWriter) => {
      const fields = {
        context: security?.isCiphered ? Context.logicalNameCiphered : Context.logicalName,
        mechanism,
        authentication: security?.isHighLevel ? security.challenge : this.#password,
        callingTitle: security?.options.title,
      };
      encodeAarq(w, fields, (inner) => this.#initiate(inner));
    };
    const answer = yield* this.#frames.open(nowMs, () => security?.begin(), write);
    const aare = decodeAnswer(answer, decodeAare);
    if (aare.result !== AssociationResult.accepted) {
      const { result, diagnostic, isProviderDiagnostic } = aare;
      const isCredential =
        !isProviderDiagnostic &&
        (diagnostic === Diagnostic.authenticationFailure || diagnostic === Diagnostic.mechanismRequired);
      throw new DlmsError(
        isCredential ? 'dlms.authentication-failed' : 'dlms.association-rejected',
        `the server rejected client ${this.#clientSap} with diagnostic ${diagnostic}`,
        { result, diagnostic, isProviderDiagnostic },
      );
    }
    if (!aare.userInformation) throw unexpected('an AARE without initiate response');
    security?.meet(aare.respondingTitle);
    let response: ByteReader | null = new ByteReader(aare.userInformation);
    if (security?.isCiphered) response = security.open(response);
    if (!response) throw unexpected('an initiate response that does not open');
    const initiate = decodeAnswer(response, decodeInitiateResponse);
    this.#frames.conformance = initiate.conformance & this.#options.conformance;
    this.#frames.serverMaxPdu = initiate.maxPdu;
    security?.useDedicated();
    // Some servers want the handshake and do not say so in the diagnostic.
    if (security?.isHighLevel) yield* this.#authenticate(security, aare.authentication);
    this.#frames.isAssociated = true;
  }

  *#authenticate(security: ClientSecurity, challenge: Uint8Array | null): Exchange<void> {
    if (!challenge) throw unexpected('an AARE without a challenge');
    this.#frames.isAuthenticating = true;
    const value = security.prove(challenge);
    const [{ result, data } = NO_RESULT] = yield* this.#runAll([
      { ref: REPLY_TO_HLS, parameter: { type: 'octet-string', value } },
    ]);
    this.#frames.isAuthenticating = false;
    if (result !== 0 || data?.type !== 'octet-string')
      throw new DlmsError('dlms.authentication-failed', 'the server did not accept the answer to its challenge', {
        result,
      });
    security.check(challenge, data.value);
  }

  /** Writes the initiate request, ciphered where the association is. */
  #initiate(w: ByteWriter): void {
    const { conformance, maxPdu } = this.#options;
    const security = this.#frames.security?.isCiphered ? this.#frames.security : undefined;
    const { at } = w;
    if (security) w.at += CIPHER_HEADROOM;
    encodeInitiateRequest(w, conformance, maxPdu, security?.dedicatedKey);
    security?.seal(w, at);
  }

  /** Ends the association; any answer at all means that it is over. */
  *release(): Exchange<void> {
    this.reset();
    this.#frames.answerTag = ApduTag.releaseResponse;
    const isCiphered = this.#frames.security?.isCiphered ?? false;
    this.#frames.begin((w) =>
      encodeRelease(w, ApduTag.releaseRequest, 0, isCiphered ? (inner) => this.#initiate(inner) : undefined),
    );
    yield this.#frames.written();
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
    return dataOf(ref, yield* this.#getResult(ref, selection));
  }

  /**
   * Reads several attributes, in as few requests as the server allows.
   * @returns one result per reference, in their order; a refused one does not fail the others
   */
  *getList(refs: readonly AttributeRef[]): Exchange<GetResult[]> {
    const results: GetResult[] = [];
    if ((this.#frames.conformance & Conformance.multipleReferences) === 0) {
      for (const ref of refs) results.push(yield* this.#getResult(ref));
      return results;
    }
    const room =
      this.#frames.serverMaxPdu === 0 ? LIST_SIZE : Math.floor((this.#frames.serverMaxPdu - 4) / REFERENCE_SIZE);
    const size = Math.max(1, Math.min(LIST_SIZE, room));
    for (let at = 0; at < refs.length; at += size) {
      const part = refs.slice(at, at + size);
      this.#frames.nextInvokeId();
      const answer = yield* this.#getAnswer((w) => encodeGetListRequest(w, this.#frames.invoke, part));
      const values =
        answer.choice === GetChoice.list ? answer.values : answer.choice === GetChoice.normal ? [answer.value] : null;
      if (values?.length !== part.length) {
        const result = values?.[0]?.result ?? 0;
        if (result !== 0) throw refused('list', result);
        throw unexpected(`${values?.length} results for ${part.length} references`);
      }
      results.push(...values);
    }
    return results;
  }

  /** Writes one attribute, in blocks when it is long. @throws DlmsError with the code of the server's result */
  *set(ref: AttributeRef, value: Data): Exchange<void> {
    const [result = 0] = yield* this.#setAll([{ ref, value }]);
    if (result !== 0) throw refused(refText(ref), result);
  }

  /**
   * Writes several attributes, in one request when the server takes lists.
   * @returns one result code per attribute, in their order
   */
  *setList(entries: readonly { readonly ref: AttributeRef; readonly value: Data }[]): Exchange<number[]> {
    const results: number[] = [];
    const size = (this.#frames.conformance & Conformance.multipleReferences) === 0 ? 1 : LIST_SIZE;
    for (let at = 0; at < entries.length; at += size) {
      results.push(...(yield* this.#setAll(entries.slice(at, at + size))));
    }
    return results;
  }

  *#setAll(entries: readonly { readonly ref: AttributeRef; readonly value: Data }[]): Exchange<Uint8Array> {
    this.#frames.nextInvokeId();
    const refs = entries.map(({ ref }) => ref);
    const answer = yield* this.#requestInBlocks(
      ApduTag.setResponse,
      SetChoice.block,
      (w, inBlocks) => writeSetReferences(w, this.#frames.invoke, refs, inBlocks),
      (w) =>
        writeValues(
          w,
          entries.map(({ value }) => value),
        ),
    );
    const { invoke, results } = decodeAnswer(answer, decodeSetResponse);
    this.#frames.checkInvoke(invoke);
    // A list may be refused as a whole, by one code for all of it.
    if (results?.length === 1 && entries.length > 1 && results[0] !== 0)
      return new Uint8Array(entries.length).fill(results[0]!);
    if (results?.length !== entries.length)
      throw unexpected(`${results?.length} results for ${entries.length} attributes`);
    return results;
  }

  /** Runs a method. @returns its return value, mostly none @throws DlmsError with the code of the server's result */
  *action(ref: MethodRef, parameter: Data | null = { type: 'integer', value: 0 }): Exchange<Data | null> {
    const [{ result, data } = NO_RESULT] = yield* this.#runAll([{ ref, parameter }]);
    if (result !== 0) throw refused(refText(ref), result);
    return data;
  }

  /**
   * Runs several methods, in one request when the server takes lists.
   * @returns one result per method, in their order; a refused one does not stop the others
   */
  *actionList(
    entries: readonly { readonly ref: MethodRef; readonly parameter: Data | null }[],
  ): Exchange<readonly ActionResult[]> {
    const results: ActionResult[] = [];
    const size = (this.#frames.conformance & Conformance.multipleReferences) === 0 ? 1 : LIST_SIZE;
    for (let at = 0; at < entries.length; at += size) {
      results.push(...(yield* this.#runAll(entries.slice(at, at + size))));
    }
    return results;
  }

  *#runAll(
    entries: readonly { readonly ref: MethodRef; readonly parameter: Data | null }[],
  ): Exchange<readonly ActionResult[]> {
    this.#frames.nextInvokeId();
    const refs = entries.map(({ ref }) => ref);
    const isList = refs.length > 1;
    const [{ parameter = null } = {}] = entries;
    let apdu = yield* this.#requestInBlocks(
      ApduTag.actionResponse,
      ActionChoice.block,
      (w, inBlocks) => {
        writeActionReferences(w, this.#frames.invoke, refs, inBlocks);
        if (!isList && !inBlocks) w.u8(parameter ? 1 : 0);
      },
      (w) => {
        if (isList)
          writeValues(
            w,
            entries.map((entry) => entry.parameter ?? NULL_DATA),
          );
        else if (parameter) encodeData(w, parameter);
      },
    );
    const parts: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const response = decodeAnswer(apdu, decodeActionResponse);
      this.#frames.checkInvoke(response.invoke);
      if (response.kind === 'results') {
        if (response.results.length !== refs.length) throw unexpected(`${response.results.length} results`);
        return response.results;
      }
      if (response.kind === 'more' || response.block !== parts.length + 1) throw unexpected(`block ${response.block}`);
      parts.push(response.raw);
      size = checkedSize(size, response.raw, response.isLast);
      if (response.isLast)
        return decodeAnswer(new ByteReader(joined(parts, size)), (r) => decodeActionBlocks(r.buf, isList));
      const { block } = response;
      apdu = yield* this.#frames.request(ApduTag.actionResponse, (w) =>
        encodeActionNext(w, this.#frames.invoke, block),
      );
    }
  }

  /**
   * Sends a request whole or, when it is too long, in blocks.
   * @param blockChoice  of the request's further blocks
   * @param writeHead  writes tag to references, in the form for blocks or not
   * @param writeValue  writes what follows
   * @returns the answer that ends it
   */
  *#requestInBlocks(
    answerTag: number,
    blockChoice: number,
    writeHead: (w: ByteWriter, inBlocks: boolean) => void,
    writeValue: (w: ByteWriter) => void,
  ): Exchange<ByteReader> {
    const limit = this.#frames.plainLimit();
    const measured = new ByteWriter(NO_BYTES);
    writeHead(measured, false);
    writeValue(measured);
    if (measured.length <= limit)
      return yield* this.#frames.request(answerTag, (w) => {
        writeHead(w, false);
        writeValue(w);
      });
    const isSet = answerTag === ApduTag.setResponse;
    const { blockTransferWithSet, blockTransferWithAction } = Conformance;
    this.#frames.need(isSet ? blockTransferWithSet : blockTransferWithAction, `a request of ${measured.length} bytes`);
    const value = new ByteWriter(new Uint8Array(measured.length));
    writeValue(value);
    const raw = value.written();
    let at = 0;
    for (let block = 1; ; block++) {
      let isLast = false;
      const answer = yield* this.#frames.request(answerTag, (w) => {
        if (block === 1) writeHead(w, true);
        else
          w.u8(isSet ? ApduTag.setRequest : ApduTag.actionRequest)
            .u8(blockChoice)
            .u8(this.#frames.invoke);
        const part = raw.subarray(at, at + octetsThatFit(limit - w.length - 5));
        at += part.length;
        isLast = at === raw.length;
        writeOctets(w.u8(isLast ? 1 : 0).u32(block), part);
      });
      // Any other answer than "go on" is the end, also before the last block.
      const isMore = answer.buf[answer.at + 1] === (isSet ? SetAnswer.more : ActionAnswer.more);
      if (isLast || !isMore) return answer;
    }
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

  *#getResult(ref: AttributeRef, selection?: Selection): Exchange<GetResult> {
    this.#frames.nextInvokeId();
    const answer = yield* this.#getAnswer((w) => encodeGetRequest(w, this.#frames.invoke, ref, selection));
    if (answer.choice === GetChoice.normal) return answer.value;
    throw unexpected('a list answer to a single reference');
  }

  /** Sends a GET and collects blocks until the answer is whole: a block answer never comes out of here. */
  *#getAnswer(write: (w: ByteWriter) => void): Exchange<Exclude<GetResponse, { choice: typeof GetChoice.next }>> {
    let expectedBlock = 1;
    let isList = false;
    let apdu = yield* this.#frames.request(ApduTag.getResponse, (w) => {
      write(w);
      isList = w.buf[w.start + 1] === GetChoice.list;
    });
    const parts: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const response = decodeAnswer(apdu, decodeGetResponse);
      this.#frames.checkInvoke(response.invoke);
      if (response.choice !== GetChoice.next) return response;
      if (response.result !== 0)
        return { choice: GetChoice.normal, invoke: response.invoke, value: { data: null, result: response.result } };
      if (response.block !== expectedBlock) throw unexpected(`block ${response.block} instead of ${expectedBlock}`);
      parts.push(response.raw);
      size = checkedSize(size, response.raw, response.isLast);
      if (response.isLast) return assemble(parts, size, response.invoke, isList);
      expectedBlock++;
      const { block } = response;
      apdu = yield* this.#frames.request(ApduTag.getResponse, (w) => encodeGetNext(w, this.#frames.invoke, block));
    }
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
