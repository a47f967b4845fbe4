/**
 * Frames of a DLMS client's association: requests are written, signed, ciphered and framed here, answers are taken,
 * opened and told apart from refusals. The operations are in client.ts and its services.
 */

import { DecodeError, DlmsError } from '#base/errors';
import { decodeAare } from '#dlms/acse';
import { ApduTag, INVOKE_CONFIRMED, INVOKE_HIGH_PRIORITY } from '#dlms/apdu';
import { CIPHER_HEADROOM } from '#dlms/cipher';
import { decodeAnswer, unexpected } from '#dlms/client-answers';
import type { ClientSecurity } from '#dlms/client-security';
import type { Exchange } from '#dlms/exchange';
import { Conformance, decodeConfirmedServiceError } from '#dlms/initiate';
import { isAnswerTo } from '#dlms/match';
import { ByteReader } from '#dlms/reader';
import { decodeException, ExceptionService } from '#dlms/result';
import { encodeWrapperHeader, isWrapperFrame, WRAPPER_SIZE, wrapperDestination, wrapperSource } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';

/** Turns a plain service request into its signed form, for a meter of this title. */
export type RequestSigner = (request: Uint8Array, meterTitle: Uint8Array) => Uint8Array;

const MAX_APDU = 2048;
const NO_BYTES = new Uint8Array(0);
/** An AARQ is sent again as it is for this long: a server waits half a minute for what follows it. */
const REPEAT_AARQ_MS = 20_000;

export class ClientFrames {
  readonly security: ClientSecurity | undefined;
  isAssociated = false;
  /** Between the AARE and the answer to the server's challenge. */
  isAuthenticating = false;
  /** What was negotiated; 0 while not associated. */
  conformance = 0;
  /** Longest APDU that the server accepts; 0 means any. */
  serverMaxPdu = 0;
  signer: RequestSigner | undefined;
  /** The tag of the answer that the request under way expects. */
  answerTag = 0;
  readonly #saps: { readonly clientSap: number; readonly serverSap: number };
  readonly #frame = new Uint8Array(WRAPPER_SIZE + MAX_APDU);
  readonly #writer = new ByteWriter(NO_BYTES);
  #invokeId = 0;
  /** An answer that `takes` has opened. */
  #opened: ByteReader | null = null;
  /** A ciphered AARQ that no answer has come to. */
  #unanswered: { readonly frame: Uint8Array; readonly sinceMs: number } | null = null;
  /** Counter of the last AARQ. */
  #openingCounter = 0;

  constructor(saps: { readonly clientSap: number; readonly serverSap: number }, security: ClientSecurity | undefined) {
    this.#saps = saps;
    this.security = security;
  }

  /** Forgets the association. */
  reset(): void {
    this.isAssociated = false;
    this.isAuthenticating = false;
    this.conformance = 0;
  }

  /** Invoke id and priority of the request under way. */
  get invoke(): number {
    return INVOKE_HIGH_PRIORITY | INVOKE_CONFIRMED | this.#invokeId;
  }

  /** A new invoke id per request makes two equal requests differ, so that a duplicate cache cannot confuse them. */
  nextInvokeId(): void {
    this.#invokeId = (this.#invokeId + 1) & 0x0f;
  }

  /** @throws DlmsError for an answer to another request */
  checkInvoke(invoke: number): void {
    if (((invoke ^ this.#invokeId) & 0x0f) !== 0)
      throw unexpected(`invoke id ${invoke & 15} instead of ${this.#invokeId}`);
  }

  /** Longest APDU that may be sent. */
  plainLimit(): number {
    const room = this.#frame.length - WRAPPER_SIZE;
    // General block transfer carries what is longer.
    const isBound = this.serverMaxPdu > 0 && (this.conformance & Conformance.generalBlockTransfer) === 0;
    const limit = isBound ? Math.min(room, this.serverMaxPdu) : room;
    return limit - (this.security?.isCiphered ? this.security.overhead(limit) : 0);
  }

  /** @throws DlmsError unless the server has negotiated this */
  need(conformance: number, what: string): void {
    if ((this.conformance & conformance) === 0)
      throw new DlmsError('encode.out-of-range', `${what} is more than this server has negotiated`);
  }

  /** Writes a request as a frame, signed and ciphered as the association wants it. @throws DlmsError `encode.out-of-range` */
  begin(write: (w: ByteWriter) => void): void {
    const isOpen = this.isAssociated || this.isAuthenticating;
    const cipher = isOpen && this.security?.isCiphered ? this.security : undefined;
    const start = cipher ? WRAPPER_SIZE + CIPHER_HEADROOM : WRAPPER_SIZE;
    const w = this.#writer.reset(this.#frame, start, this.#frame.length);
    write(w);
    if (isOpen && this.signer && !w.overflowed) {
      const request = this.signer(w.written().slice(), this.security?.serverTitle ?? NO_BYTES);
      w.reset(this.#frame, start, this.#frame.length).bytes(request);
    }
    const limit = isOpen ? this.plainLimit() : this.#frame.length;
    if (w.overflowed || w.length > limit)
      throw new DlmsError('encode.out-of-range', `request of ${w.length} bytes exceeds the server's ${limit}`);
    cipher?.seal(w, WRAPPER_SIZE);
    encodeWrapperHeader(this.#frame, 0, this.#saps.clientSap, this.#saps.serverSap, w.at - WRAPPER_SIZE);
  }

  /** The frame that was written last; valid until the next one. */
  written(): Uint8Array {
    return this.#frame.subarray(0, this.#writer.at);
  }

  /**
   * Whether a datagram is the answer to the request under way. What is ciphered is opened here, once, so that a forged or
   * repeated frame is no answer at all.
   * @param request  the frame that was sent
   * @param answer  is not changed
   */
  takes(request: Uint8Array, answer: Uint8Array): boolean {
    const isOpen = this.isAssociated || this.isAuthenticating;
    const isBlock = request[WRAPPER_SIZE] === ApduTag.generalBlockTransfer;
    if (!this.security?.isCiphered || isBlock) return isAnswerTo(request, answer);
    if (!isOpen) return isAnswerTo(request, answer) && !this.#isStale(this.security, answer);
    const isBetween =
      isWrapperFrame(answer) &&
      wrapperSource(answer) === this.#saps.serverSap &&
      wrapperDestination(answer) === this.#saps.clientSap;
    if (!isBetween) return false;
    // A counter error inside an association answers a late copy of an earlier request: ours only grow.
    if (answer[WRAPPER_SIZE] === ApduTag.exception)
      return answer[WRAPPER_SIZE + 2] !== ExceptionService.invocationCounterError;
    const plain = this.security.open(new ByteReader(answer.slice(), WRAPPER_SIZE));
    if (!plain || plain.buf[plain.at] !== this.answerTag) return false;
    this.#opened = plain;
    return true;
  }

  /**
   * Whether an answer to an AARQ is a late one to something earlier: nothing in it names its request, but counters grow.
   * @param answer  is not changed
   */
  #isStale(security: ClientSecurity, answer: Uint8Array): boolean {
    if (this.answerTag !== ApduTag.aare) return false;
    const r = new ByteReader(answer, WRAPPER_SIZE);
    try {
      if (answer[WRAPPER_SIZE] === ApduTag.exception) {
        const { service, expectedCounter } = decodeException(r);
        // An AARQ needs no association; a request to one that is lost gets this.
        if (service === ExceptionService.operationNotPossible) return true;
        return expectedCounter !== null && expectedCounter <= this.#openingCounter;
      }
      const { respondingTitle, userInformation } = decodeAare(r);
      return userInformation !== null && security.isBehind(respondingTitle, userInformation);
    } catch (error) {
      if (error instanceof DecodeError) return false;
      throw error;
    }
  }

  /**
   * Sends an AARQ.
   * @param nowMs  steady clock of a datagram transport: an AARQ that no answer has come to is sent again as it is, so that
   *   a late AARE fits. Undefined on a stream, which brings nothing late.
   * @param begin  called for a new one, before it is written
   */
  *open(nowMs: number | undefined, begin: () => void, write: (w: ByteWriter) => void): Exchange<ByteReader> {
    this.serverMaxPdu = 0;
    const kept = this.#unanswered;
    if (kept && nowMs !== undefined && nowMs - kept.sinceMs <= REPEAT_AARQ_MS)
      this.#writer.reset(this.#frame, 0, this.#frame.length).bytes(kept.frame);
    else {
      begin();
      this.begin(write);
      this.#openingCounter = this.security?.lastCounter ?? 0;
      if (nowMs !== undefined && this.security) this.#unanswered = { frame: this.written().slice(), sinceMs: nowMs };
    }
    return yield* this.#answer(ApduTag.aare);
  }

  /** Sends one APDU. @returns the answer's APDU, which has the expected tag, as a copy that may be kept */
  *request(answerTag: number, write: (w: ByteWriter) => void): Exchange<ByteReader> {
    if (!this.isAssociated && !this.isAuthenticating)
      throw new DlmsError('dlms.not-associated', 'no association is open');
    this.begin(write);
    return yield* this.#answer(answerTag);
  }

  *#answer(answerTag: number): Exchange<ByteReader> {
    this.answerTag = answerTag;
    this.#opened = null;
    const answer = yield this.written();
    this.#unanswered = null;
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
    const { clientSap, serverSap } = this.#saps;
    if (wrapperSource(frame) !== serverSap || wrapperDestination(frame) !== clientSap)
      throw unexpected(`an answer between access points ${wrapperSource(frame)} and ${wrapperDestination(frame)}`);
    const r = new ByteReader(frame, WRAPPER_SIZE);
    const isOutside = answerTag === ApduTag.aare || frame[WRAPPER_SIZE] === ApduTag.exception;
    if (isOutside || !this.security?.isCiphered) return r;
    const plain = this.security.open(r);
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
