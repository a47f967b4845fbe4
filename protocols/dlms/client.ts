/**
 * DLMS client, one association: pure, each operation a generator of request frames (see exchange.ts). Lists fall back to
 * single reads when the server has not negotiated them, long answers come in blocks, and registers are read with their
 * scaler and unit, which are asked for once.
 *
 * Failures are `DlmsError`: a result code of the server is in `context.result`, an exception response in `context.state`
 * and `context.service`. Answers that are no valid APDU fail the request, never more than that.
 */

import { DecodeError, DlmsError } from '#base/errors';
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
import {
  ApduTag,
  type AttributeRef,
  INVOKE_CONFIRMED,
  INVOKE_HIGH_PRIORITY,
  type MethodRef,
  refText,
  type Selection,
} from '#dlms/apdu';
import { type Data, decodeData, encodeData, NULL_DATA, octetsThatFit, writeOctets } from '#dlms/axdr';
import { CIPHER_HEADROOM } from '#dlms/cipher';
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
  readGetResults,
} from '#dlms/get';
import {
  Conformance,
  decodeConfirmedServiceError,
  decodeInitiateResponse,
  encodeInitiateRequest,
} from '#dlms/initiate';
import { isAnswerTo } from '#dlms/match';
import { formatObis, parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import { decodeException, ExceptionService, errorCodeOf, resultText } from '#dlms/result';
import { decodeSetResponse, SetAnswer, SetChoice, writeSetReferences, writeValues } from '#dlms/set';
import { scale, unitSymbol } from '#dlms/units';
import {
  encodeWrapperHeader,
  isWrapperFrame,
  Sap,
  WRAPPER_SIZE,
  wrapperDestination,
  wrapperSource,
} from '#dlms/wrapper';
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

/** Turns a plain service request into its signed form, for a meter of this title. */
export type RequestSigner = (request: Uint8Array, meterTitle: Uint8Array) => Uint8Array;

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
/** Longest value that is put together from blocks. */
const MAX_VALUE = 1 << 20;
const REGISTER_CLASS = 3;
const MAX_PASSWORD = 64;
const NO_BYTES = new Uint8Array(0);
const REPLY_TO_HLS: MethodRef = { classId: 15, ln: parseObis('0-0:40.0.0.255'), method: 1 };
const NO_RESULT: ActionResult = { result: 0, data: null };

export class DlmsClient {
  readonly #options: Required<Pick<ClientOptions, 'clientSap' | 'serverSap' | 'maxPdu' | 'conformance'>>;
  readonly #password: Uint8Array | undefined;
  readonly #security: ClientSecurity | undefined;
  readonly #frame: Uint8Array;
  readonly #writer = new ByteWriter(new Uint8Array(0));
  readonly #units = new Map<string, ScalerUnit>();
  #isAssociated = false;
  /** Between the AARE and the answer to the server's challenge. */
  #isAuthenticating = false;
  #conformance = 0;
  #serverMaxPdu = 0;
  #invokeId = 0;
  #signer: RequestSigner | undefined;
  /** The tag of the answer that the request under way expects. */
  #answerTag = 0;
  /** An answer that `takes` has opened. */
  #opened: ByteReader | null = null;

  /** @throws DlmsError `encode.out-of-range` for a password that no AARQ can carry */
  constructor(options: ClientOptions) {
    const { clientSap, serverSap = Sap.managementServer, maxPdu = 1024, conformance = DEFAULT_PROPOSAL } = options;
    if ((options.password?.length ?? 0) > MAX_PASSWORD)
      throw new DlmsError('encode.out-of-range', `password longer than ${MAX_PASSWORD} bytes`);
    this.#options = { clientSap, serverSap, maxPdu, conformance };
    this.#password = options.password;
    this.#security = options.security && new ClientSecurity(options.security);
    this.#frame = new Uint8Array(WRAPPER_SIZE + 2048);
  }

  get isAssociated(): boolean {
    return this.#isAssociated;
  }

  /** Negotiated conformance block; 0 while not associated. */
  get conformance(): number {
    return this.#conformance;
  }

  /** Longest APDU that the server accepts; 0 means any. */
  get serverMaxPdu(): number {
    return this.#serverMaxPdu;
  }

  /** Forgets the association, as after a lost connection or a restart of the server; units stay known. */
  reset(): void {
    this.#isAssociated = false;
    this.#isAuthenticating = false;
    this.#conformance = 0;
  }

  /** System title of the server, once it was met. */
  get serverTitle(): Uint8Array | undefined {
    return this.#security?.serverTitle;
  }

  /**
   * Opens the association.
   * @throws DlmsError `dlms.authentication-failed`, `dlms.association-rejected`, `dlms.unexpected-answer`
   */
  *associate(): Exchange<void> {
    try {
      yield* this.#associate();
    } catch (error) {
      this.reset();
      const expected = error instanceof DlmsError ? error.context?.expectedCounter : undefined;
      const { counter } = this.#security?.options ?? {};
      if (typeof expected !== 'number' || !counter?.skipTo(expected)) throw error;
      // The server knows a higher counter of ours, as after the loss of ours or a restart of the server.
      yield* this.#associate();
    }
  }

  *#associate(): Exchange<void> {
    this.reset();
    const security = this.#security;
    security?.begin();
    const mechanism = security ? security.options.mechanism : this.#password ? Mechanism.password : Mechanism.none;
    const fields = {
      context: security?.isCiphered ? Context.logicalNameCiphered : Context.logicalName,
      mechanism,
      authentication: security?.isHighLevel ? security.challenge : this.#password,
      callingTitle: security?.options.title,
    };
    const answer = yield* this.#request(ApduTag.aare, (w) => encodeAarq(w, fields, (inner) => this.#initiate(inner)));
    const aare = decodeAnswer(answer, decodeAare);
    if (aare.result !== AssociationResult.accepted) {
      const { result, diagnostic, isProviderDiagnostic } = aare;
      const isCredential =
        !isProviderDiagnostic &&
        (diagnostic === Diagnostic.authenticationFailure || diagnostic === Diagnostic.mechanismRequired);
      throw new DlmsError(
        isCredential ? 'dlms.authentication-failed' : 'dlms.association-rejected',
        `the server rejected client ${this.#options.clientSap} with diagnostic ${diagnostic}`,
        { result, diagnostic, isProviderDiagnostic },
      );
    }
    if (!aare.userInformation) throw unexpected('an AARE without initiate response');
    security?.meet(aare.respondingTitle);
    let response: ByteReader | null = new ByteReader(aare.userInformation);
    if (security?.isCiphered) response = security.open(response);
    if (!response) throw unexpected('an initiate response that does not open');
    const initiate = decodeAnswer(response, decodeInitiateResponse);
    this.#conformance = initiate.conformance & this.#options.conformance;
    this.#serverMaxPdu = initiate.maxPdu;
    security?.useDedicated();
    // Some servers want the handshake and do not say so in the diagnostic.
    if (security?.isHighLevel) yield* this.#authenticate(security, aare.authentication);
    this.#isAssociated = true;
  }

  *#authenticate(security: ClientSecurity, challenge: Uint8Array | null): Exchange<void> {
    if (!challenge) throw unexpected('an AARE without a challenge');
    this.#isAuthenticating = true;
    const value = security.prove(challenge);
    const [{ result, data } = NO_RESULT] = yield* this.#runAll([
      { ref: REPLY_TO_HLS, parameter: { type: 'octet-string', value } },
    ]);
    this.#isAuthenticating = false;
    if (result !== 0 || data?.type !== 'octet-string')
      throw new DlmsError('dlms.authentication-failed', 'the server did not accept the answer to its challenge', {
        result,
      });
    security.check(challenge, data.value);
  }

  /** Writes the initiate request, ciphered where the association is. */
  #initiate(w: ByteWriter): void {
    const { conformance, maxPdu } = this.#options;
    const security = this.#security?.isCiphered ? this.#security : undefined;
    const { at } = w;
    if (security) w.at += CIPHER_HEADROOM;
    encodeInitiateRequest(w, conformance, maxPdu, security?.dedicatedKey);
    security?.seal(w, at);
  }

  /** Ends the association; any answer at all means that it is over. */
  *release(): Exchange<void> {
    this.reset();
    this.#answerTag = ApduTag.releaseResponse;
    const isCiphered = this.#security?.isCiphered ?? false;
    this.#begin((w) =>
      encodeRelease(w, ApduTag.releaseRequest, 0, isCiphered ? (inner) => this.#initiate(inner) : undefined),
    );
    yield this.#written();
  }

  /**
   * Runs an operation whose requests are signed one by one: what a meter obeys only from a holder of a command key.
   * The signed form goes into the same association.
   */
  *signed<T>(sign: RequestSigner, operation: Exchange<T>): Exchange<T> {
    this.#signer = sign;
    try {
      return yield* operation;
    } finally {
      this.#signer = undefined;
    }
  }

  /**
   * Reads one attribute.
   * @param selection  the part that is wanted; only for attributes that take one
   * @throws DlmsError with the code of the server's result
   */
  *get(ref: AttributeRef, selection?: Selection): Exchange<Data> {
    if (selection) this.#need(Conformance.selectiveAccess, 'selective access');
    return dataOf(ref, yield* this.#getResult(ref, selection));
  }

  /**
   * Reads several attributes, in as few requests as the server allows.
   * @returns one result per reference, in their order; a refused one does not fail the others
   */
  *getList(refs: readonly AttributeRef[]): Exchange<GetResult[]> {
    const results: GetResult[] = [];
    if ((this.#conformance & Conformance.multipleReferences) === 0) {
      for (const ref of refs) results.push(yield* this.#getResult(ref));
      return results;
    }
    const room = this.#serverMaxPdu === 0 ? LIST_SIZE : Math.floor((this.#serverMaxPdu - 4) / REFERENCE_SIZE);
    const size = Math.max(1, Math.min(LIST_SIZE, room));
    for (let at = 0; at < refs.length; at += size) {
      const part = refs.slice(at, at + size);
      this.#nextInvokeId();
      const answer = yield* this.#getAnswer((w) => encodeGetListRequest(w, this.#invoke, part));
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
    const size = (this.#conformance & Conformance.multipleReferences) === 0 ? 1 : LIST_SIZE;
    for (let at = 0; at < entries.length; at += size) {
      results.push(...(yield* this.#setAll(entries.slice(at, at + size))));
    }
    return results;
  }

  *#setAll(entries: readonly { readonly ref: AttributeRef; readonly value: Data }[]): Exchange<Uint8Array> {
    this.#nextInvokeId();
    const refs = entries.map(({ ref }) => ref);
    const answer = yield* this.#requestInBlocks(
      ApduTag.setResponse,
      SetChoice.block,
      (w, inBlocks) => writeSetReferences(w, this.#invoke, refs, inBlocks),
      (w) =>
        writeValues(
          w,
          entries.map(({ value }) => value),
        ),
    );
    const { invoke, results } = decodeAnswer(answer, decodeSetResponse);
    this.#checkInvoke(invoke);
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
    const size = (this.#conformance & Conformance.multipleReferences) === 0 ? 1 : LIST_SIZE;
    for (let at = 0; at < entries.length; at += size) {
      results.push(...(yield* this.#runAll(entries.slice(at, at + size))));
    }
    return results;
  }

  *#runAll(
    entries: readonly { readonly ref: MethodRef; readonly parameter: Data | null }[],
  ): Exchange<readonly ActionResult[]> {
    this.#nextInvokeId();
    const refs = entries.map(({ ref }) => ref);
    const isList = refs.length > 1;
    const [{ parameter = null } = {}] = entries;
    let apdu = yield* this.#requestInBlocks(
      ApduTag.actionResponse,
      ActionChoice.block,
      (w, inBlocks) => {
        writeActionReferences(w, this.#invoke, refs, inBlocks);
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
      this.#checkInvoke(response.invoke);
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
      apdu = yield* this.#request(ApduTag.actionResponse, (w) => encodeActionNext(w, this.#invoke, block));
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
    const limit = this.#plainLimit();
    const measured = new ByteWriter(NO_BYTES);
    writeHead(measured, false);
    writeValue(measured);
    if (measured.length <= limit)
      return yield* this.#request(answerTag, (w) => {
        writeHead(w, false);
        writeValue(w);
      });
    const isSet = answerTag === ApduTag.setResponse;
    const { blockTransferWithSet, blockTransferWithAction } = Conformance;
    this.#need(isSet ? blockTransferWithSet : blockTransferWithAction, `a request of ${measured.length} bytes`);
    const value = new ByteWriter(new Uint8Array(measured.length));
    writeValue(value);
    const raw = value.written();
    let at = 0;
    for (let block = 1; ; block++) {
      let isLast = false;
      const answer = yield* this.#request(answerTag, (w) => {
        if (block === 1) writeHead(w, true);
        else
          w.u8(isSet ? ApduTag.setRequest : ApduTag.actionRequest)
            .u8(blockChoice)
            .u8(this.#invoke);
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
    this.#nextInvokeId();
    const answer = yield* this.#getAnswer((w) => encodeGetRequest(w, this.#invoke, ref, selection));
    if (answer.choice === GetChoice.normal) return answer.value;
    throw unexpected('a list answer to a single reference');
  }

  /** Sends a GET and collects blocks until the answer is whole: a block answer never comes out of here. */
  *#getAnswer(write: (w: ByteWriter) => void): Exchange<Exclude<GetResponse, { choice: typeof GetChoice.next }>> {
    let expectedBlock = 1;
    let isList = false;
    let apdu = yield* this.#request(ApduTag.getResponse, (w) => {
      write(w);
      isList = w.buf[w.start + 1] === GetChoice.list;
    });
    const parts: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const response = decodeAnswer(apdu, decodeGetResponse);
      this.#checkInvoke(response.invoke);
      if (response.choice !== GetChoice.next) return response;
      if (response.result !== 0)
        return { choice: GetChoice.normal, invoke: response.invoke, value: { data: null, result: response.result } };
      if (response.block !== expectedBlock) throw unexpected(`block ${response.block} instead of ${expectedBlock}`);
      parts.push(response.raw);
      size = checkedSize(size, response.raw, response.isLast);
      if (response.isLast) return assemble(parts, size, response.invoke, isList);
      expectedBlock++;
      const { block } = response;
      apdu = yield* this.#request(ApduTag.getResponse, (w) => encodeGetNext(w, this.#invoke, block));
    }
  }

  // Frames

  get #invoke(): number {
    return INVOKE_HIGH_PRIORITY | INVOKE_CONFIRMED | this.#invokeId;
  }

  /** A new invoke id per request makes two equal requests differ, so that a duplicate cache cannot confuse them. */
  #nextInvokeId(): void {
    this.#invokeId = (this.#invokeId + 1) & 0x0f;
  }

  #checkInvoke(invoke: number): void {
    if (((invoke ^ this.#invokeId) & 0x0f) !== 0)
      throw unexpected(`invoke id ${invoke & 15} instead of ${this.#invokeId}`);
  }

  /** Longest APDU that may be sent. */
  #plainLimit(): number {
    const room = this.#frame.length - WRAPPER_SIZE;
    // General block transfer carries what is longer.
    const isBound = this.#serverMaxPdu > 0 && (this.#conformance & Conformance.generalBlockTransfer) === 0;
    const limit = isBound ? Math.min(room, this.#serverMaxPdu) : room;
    return limit - (this.#security?.isCiphered ? this.#security.overhead(limit) : 0);
  }

  /** @throws DlmsError unless the server has negotiated this */
  #need(conformance: number, what: string): void {
    if ((this.#conformance & conformance) === 0)
      throw new DlmsError('encode.out-of-range', `${what} is more than this server has negotiated`);
  }

  #begin(write: (w: ByteWriter) => void): void {
    const isOpen = this.#isAssociated || this.#isAuthenticating;
    const cipher = isOpen && this.#security?.isCiphered ? this.#security : undefined;
    const start = cipher ? WRAPPER_SIZE + CIPHER_HEADROOM : WRAPPER_SIZE;
    const w = this.#writer.reset(this.#frame, start, this.#frame.length);
    write(w);
    if (isOpen && this.#signer && !w.overflowed) {
      const request = this.#signer(w.written().slice(), this.#security?.serverTitle ?? NO_BYTES);
      w.reset(this.#frame, start, this.#frame.length).bytes(request);
    }
    const limit = isOpen ? this.#plainLimit() : this.#frame.length;
    if (w.overflowed || w.length > limit)
      throw new DlmsError('encode.out-of-range', `request of ${w.length} bytes exceeds the server's ${limit}`);
    cipher?.seal(w, WRAPPER_SIZE);
    encodeWrapperHeader(this.#frame, 0, this.#options.clientSap, this.#options.serverSap, w.at - WRAPPER_SIZE);
  }

  #written(): Uint8Array {
    return this.#frame.subarray(0, this.#writer.at);
  }

  /**
   * Whether a datagram is the answer to the request under way. What is ciphered is opened here, once, so that a forged or
   * repeated frame is no answer at all.
   * @param request  the frame that was sent
   * @param answer  is not changed
   */
  takes(request: Uint8Array, answer: Uint8Array): boolean {
    const isOpen = this.#isAssociated || this.#isAuthenticating;
    const isBlock = request[WRAPPER_SIZE] === ApduTag.generalBlockTransfer;
    if (!isOpen || isBlock || !this.#security?.isCiphered) return isAnswerTo(request, answer);
    const isBetween =
      isWrapperFrame(answer) &&
      wrapperSource(answer) === this.#options.serverSap &&
      wrapperDestination(answer) === this.#options.clientSap;
    if (!isBetween) return false;
    // A counter error inside an association answers a late copy of an earlier request: ours only grow.
    if (answer[WRAPPER_SIZE] === ApduTag.exception)
      return answer[WRAPPER_SIZE + 2] !== ExceptionService.invocationCounterError;
    const plain = this.#security.open(new ByteReader(answer.slice(), WRAPPER_SIZE));
    if (!plain || plain.buf[plain.at] !== this.#answerTag) return false;
    this.#opened = plain;
    return true;
  }

  /** Sends one APDU. @returns the answer's APDU, which has the expected tag, as a copy that may be kept */
  *#request(answerTag: number, write: (w: ByteWriter) => void): Exchange<ByteReader> {
    if (answerTag === ApduTag.aare) this.#serverMaxPdu = 0;
    else if (!this.#isAssociated && !this.#isAuthenticating)
      throw new DlmsError('dlms.not-associated', 'no association is open');
    this.#begin(write);
    this.#answerTag = answerTag;
    this.#opened = null;
    const answer = yield this.#written();
    const r = (this.#opened as ByteReader | null) ?? this.#unwrap(answer.slice(), answerTag);
    const tag = r.buf[r.at]!;
    if (tag === answerTag) return r;
    if (tag === ApduTag.exception) throw this.#exceptionError(r);
    if (tag === ApduTag.confirmedServiceError) {
      const { group, value } = decodeAnswer(r, decodeConfirmedServiceError);
      throw new DlmsError('dlms.refused', `the server refused: service error ${group}/${value}`, { group, value });
    }
    throw unexpected(`APDU tag 0x${tag.toString(16)} instead of 0x${answerTag.toString(16)}`);
  }

  /** The plain APDU of a frame. @throws DlmsError for a frame that is not for us, or not from this server */
  #unwrap(frame: Uint8Array, answerTag: number): ByteReader {
    if (!isWrapperFrame(frame)) throw unexpected(`a frame of ${frame.length} bytes without an APDU`);
    const { clientSap, serverSap } = this.#options;
    if (wrapperSource(frame) !== serverSap || wrapperDestination(frame) !== clientSap)
      throw unexpected(`an answer between access points ${wrapperSource(frame)} and ${wrapperDestination(frame)}`);
    const r = new ByteReader(frame, WRAPPER_SIZE);
    const isOutside = answerTag === ApduTag.aare || frame[WRAPPER_SIZE] === ApduTag.exception;
    if (isOutside || !this.#security?.isCiphered) return r;
    const plain = this.#security.open(r);
    if (!plain) throw unexpected('an APDU that does not open');
    return plain;
  }

  #exceptionError(r: ByteReader): DlmsError {
    const { state, service, expectedCounter } = decodeAnswer(r, decodeException);
    // This is what a server says that holds no association for us, e.g. after its restart.
    const isLost = state === 1 && service === ExceptionService.operationNotPossible;
    if (isLost) this.reset();
    return new DlmsError(
      isLost ? 'dlms.not-associated' : 'dlms.refused',
      `the server refused: exception ${state}/${service}`,
      { state, service, ...(expectedCounter === null ? {} : { expectedCounter }) },
    );
  }
}

/** Bytes so far, of a transfer that must come to an end. @throws DlmsError `dlms.unexpected-answer` */
function checkedSize(size: number, raw: Uint8Array, isLast: boolean): number {
  const sum = size + raw.length;
  if (sum > MAX_VALUE || (raw.length === 0 && !isLast)) throw unexpected('an endless transfer');
  return sum;
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const raw = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    raw.set(part, at);
    at += part.length;
  }
  return raw;
}

function assemble(
  parts: readonly Uint8Array[],
  size: number,
  invoke: number,
  isList: boolean,
): Exclude<GetResponse, { choice: typeof GetChoice.next }> {
  return decodeAnswer(new ByteReader(joined(parts, size)), (r) => {
    const response = isList
      ? { choice: GetChoice.list, invoke, values: readGetResults(r) }
      : { choice: GetChoice.normal, invoke, value: { data: decodeData(r), result: 0 as const } };
    r.expectEnd('value in blocks');
    return response;
  });
}

/** Runs a decoder; broken bytes of a peer become an answer that was not expected. */
function decodeAnswer<T>(r: ByteReader, decoder: (r: ByteReader) => T): T {
  try {
    return decoder(r);
  } catch (error) {
    if (error instanceof DecodeError) throw unexpected(error.message, error);
    throw error;
  }
}

function unexpected(what: string, cause?: unknown): DlmsError {
  return new DlmsError('dlms.unexpected-answer', `the server answered with ${what}`, {}, cause);
}

function refused(what: string, result: number): DlmsError {
  return new DlmsError(errorCodeOf(result), `${what}: ${resultText(result)}`, { result, object: what });
}

function dataOf(ref: AttributeRef, { data, result }: GetResult): Data {
  if (data === null) throw refused(refText(ref), result);
  return data;
}

/** The number that a register value is, null for other types. */
export function numberOf(data: Data): number | null {
  if (!('value' in data)) return null;
  return typeof data.value === 'number' ? data.value : typeof data.value === 'bigint' ? Number(data.value) : null;
}
