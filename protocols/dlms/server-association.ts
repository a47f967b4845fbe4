/**
 * One association of a server: its state machine (IEC 62056-5-3 §6), what is ciphered and signed in it,
 * and the duplicate cache that makes a repeated datagram harmless. Who may open it is in server-opening.ts, the services
 * inside in server-services.ts.
 *
 *   idle ──AARQ accepted──► associated ──RLRQ, AARQ, inactivity, disconnection──► idle
 *   idle ──AARQ, high-level──► pending ──right answer to the challenge──► associated
 *
 * The associated state is entered in exactly one place, behind an accepted verdict and a finished authentication.
 */

import { GCM_TAG_SIZE } from '#base/crypto';
import { DecodeError, decoded } from '#base/errors';
import { AssociationResult, Diagnostic, decodeAarq, decodeRelease, encodeRelease, Mechanism } from '#dlms/acse';
import { ApduTag, isCipheredTag } from '#dlms/apdu';
import { Tag } from '#dlms/axdr';
import { isWholeBer } from '#dlms/ber';
import { CIPHER_HEADROOM } from '#dlms/cipher';
import type { RequestContext } from '#dlms/cosem/logical-device';
import { DuplicateMemory } from '#dlms/duplicates';
import { decodeGbt, GbtEndpoint, MAX_GBT_WINDOW } from '#dlms/gbt';
import { Conformance, encodeInitiateResponse, InitiateError } from '#dlms/initiate';
import { ByteReader } from '#dlms/reader';
import { ExceptionService, ExceptionState, encodeException, Result } from '#dlms/result';
import type { AssociationCipher } from '#dlms/security';
import type { ProtectionFailure, ServerCore } from '#dlms/server';
import { freshChallenge, readReplyToHls } from '#dlms/server-hls';
import {
  type Acceptance,
  type AssociationPlace,
  encodeAcceptance,
  encodeRejection,
  judgeAarq,
  type Pending,
  proveBack,
  type Rejection,
} from '#dlms/server-opening';
import { ServerServices } from '#dlms/server-services';
import { decodeSigned, encodeCommandRefusal, GENERAL_SIGNING, judgeCommand } from '#dlms/signing';
import { ByteWriter } from '#dlms/writer';

/** A context whose per-request parts its association sets. */
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const NO_BYTES = new Uint8Array(0);
const PENDING_MS = 30_000;
/** Longest request and answer in general block transfer. */
const MAX_GBT_APDU = 4608;
const GBT_WINDOW = 4;
/** Requests that a pending association refuses before it is over. */
const MAX_STRAYS = 2;

export class ServerAssociation {
  readonly #core: ServerCore;
  readonly #place: AssociationPlace;
  readonly #services: ServerServices;
  readonly #reader = new ByteReader(NO_BYTES);
  #context: Mutable<RequestContext> | null = null;
  #pending: Pending | null = null;
  /** Of the open or pending association when it is ciphered. */
  #cipher: AssociationCipher | null = null;
  #usedMs = 0;
  /** Longest APDU for this client, ciphering included. */
  #sendLimit = 0;
  readonly #duplicates: DuplicateMemory;
  /** Made when the client uses general block transfer. */
  #blocks: GbtEndpoint | null = null;
  /** Whether the request at hand was opened, so that it is the client's own. */
  #isGenuine = false;
  /** Whether it was refused and counted as a wrong password or code, which a copy of it must not be again. */
  #isCounted = false;
  /** Whether it was the client's AARQ, but with a counter that a restart has put behind. */
  #isBehind = false;

  constructor(core: ServerCore, place: AssociationPlace) {
    this.#core = core;
    this.#place = place;
    this.#services = new ServerServices(core, place.key);
    this.#duplicates = new DuplicateMemory(core.duplicateWindowMs);
  }

  get clientSap(): number {
    return this.#place.clientSap;
  }

  get isAssociated(): boolean {
    return this.#context !== null;
  }

  /** Associated by a client that had to prove who it is, or about to be by one that has the key. */
  get isAuthenticated(): boolean {
    const context = this.#context;
    return context !== null ? context.mechanism !== Mechanism.none : this.#pending?.acceptance.isGenuine === true;
  }

  /** Handles the APDU `frame[at, end)` and writes the answer's APDU; writes nothing when there is none. */
  receive(frame: Uint8Array, at: number, w: ByteWriter, nowMs: number): void {
    this.expire(nowMs);
    this.#usedMs = nowMs;
    const { isStream, maxPdu } = this.#place;
    if (frame[at] === ApduTag.generalBlockTransfer && this.#transfersBlocks) {
      this.#receiveBlock(frame.subarray(at), w, nowMs);
      return;
    }
    // A stream brings nothing twice, so nothing is kept of it.
    let request = isStream ? NO_BYTES : frame.subarray(at);
    const isKept = this.#context !== null || this.#pending !== null;
    const memory = this.#duplicates;
    const known = isKept ? memory.answerTo(request, nowMs) : memory.openingAnswer(request, nowMs);
    if (known && !isStream) {
      w.bytes(known);
      return;
    }
    const start = w.at;
    const tag = frame[at]!;
    // Opening works in place, so what must be recognized later is copied before.
    if (!isStream && (isCipheredTag(tag) || tag === ApduTag.aarq)) request = request.slice();
    this.#isGenuine = false;
    this.#isCounted = false;
    this.#isBehind = false;
    const isHandshake = tag === ApduTag.aarq || this.#pending !== null;
    if (frame.length - at > maxPdu) this.#refuseLong(w);
    else this.#dispatch(tag, this.#reader.reset(frame, at, frame.length), w, nowMs);
    this.#remember(tag, request, isHandshake, w, start, nowMs);
  }

  get #transfersBlocks(): boolean {
    return this.#context !== null && (this.#context.conformance & Conformance.generalBlockTransfer) !== 0;
  }

  /**
   * Takes a block of general block transfer. The APDU that it makes whole is served like any other; its answer goes back in
   * blocks, the first of them now, the others of the client's window by `next`.
   */
  #receiveBlock(bytes: Uint8Array, w: ByteWriter, nowMs: number): void {
    const repeats = !this.#place.isStream;
    this.#blocks ??= new GbtEndpoint({
      maxApdu: MAX_GBT_APDU,
      window: GBT_WINDOW,
      repeats,
      maxTurn: this.#place.isPolled ? 1 : MAX_GBT_WINDOW,
    });
    const block = decoded(() => decodeGbt(new ByteReader(bytes)));
    if (!block) {
      this.#refuse(w, ExceptionService.otherReason);
      return;
    }
    if (repeats && this.#blocks.begins(block)) {
      if (this.#duplicates.isLate(bytes, nowMs)) return;
      this.#duplicates.trace(bytes, nowMs);
    }
    const whole = this.#blocks.receive(block);
    if (whole) this.#blocks.send(this.#serveWhole(whole, nowMs), this.#sendLimit);
    this.#blocks.next(w);
  }

  /** Serves an APDU that came in blocks. @returns the answer, longer than one APDU may be in a frame */
  #serveWhole(apdu: Uint8Array, nowMs: number): Uint8Array {
    const w = new ByteWriter(new Uint8Array(MAX_GBT_APDU));
    const tag = apdu[0] ?? 0;
    const limit = this.#sendLimit;
    this.#sendLimit = MAX_GBT_APDU;
    // Neither another association nor blocks inside blocks.
    if (isServiceTag(tag) || tag === GENERAL_SIGNING || isCipheredTag(tag))
      this.#dispatch(tag, new ByteReader(apdu), w, nowMs);
    else encodeException(w, ExceptionState.serviceUnknown, ExceptionService.serviceNotSupported);
    this.#sendLimit = limit;
    return w.overflowed ? NO_BYTES : w.buf.slice(0, w.at);
  }

  /** Writes a further APDU that belongs to the last answer. @returns whether there was one */
  next(w: ByteWriter): boolean {
    return this.#blocks?.next(w) ?? false;
  }

  #dispatch(tag: number, r: ByteReader, w: ByteWriter, nowMs: number): void {
    if (tag === ApduTag.aarq) this.#associate(r, w);
    else if (tag === ApduTag.releaseRequest) this.#release(r, w);
    else if (isCipheredTag(tag)) this.#decipher(r, w, nowMs);
    else if (!isServiceTag(tag) && tag !== GENERAL_SIGNING)
      encodeException(w, ExceptionState.serviceUnknown, ExceptionService.serviceNotSupported);
    else if (!this.#context && !this.#pending) this.#refuse(w, ExceptionService.operationNotPossible);
    else if (this.#cipher) this.#refuseProtection(w, 'unprotected');
    else this.#serve(r, w, 0, nowMs);
  }

  #refuse(w: ByteWriter, service: number): void {
    encodeException(w, ExceptionState.serviceNotAllowed, service);
  }

  #refuseLong(w: ByteWriter): void {
    const { key, clientSap } = this.#place;
    this.#refuse(w, ExceptionService.pduTooLong);
    this.#core.emit({ kind: 'request-refused', key, clientSap, reason: 'pdu-too-long' });
  }

  #refuseProtection(w: ByteWriter, reason: ProtectionFailure, expectedCounter = 0, failures = 0): void {
    const { key, clientSap } = this.#place;
    const { decipheringError, invocationCounterError, otherReason } = ExceptionService;
    const hasNoCounter = reason === 'no-storage' || reason === 'counters-used-up';
    const isBehind = reason === 'replayed' || reason === 'behind-restart';
    const service = isBehind ? invocationCounterError : hasNoCounter ? otherReason : decipheringError;
    encodeException(w, ExceptionState.serviceNotAllowed, service, expectedCounter);
    this.#core.emit({ kind: 'protection-failed', key, clientSap, reason, failures });
  }

  /** Opens a ciphered request, serves it and ciphers the answer in the same style. */
  #decipher(r: ByteReader, w: ByteWriter, nowMs: number): void {
    const cipher = this.#cipher;
    if (!this.#context && !this.#pending) {
      this.#refuse(w, ExceptionService.operationNotPossible);
      return;
    }
    if (!cipher) {
      this.#refuseProtection(w, 'undecipherable');
      return;
    }
    const opening = cipher.open(r);
    if (opening !== 'open') {
      this.#refuseProtection(w, opening, cipher.expected);
      return;
    }
    this.#isGenuine = true;
    const start = w.at;
    const plainAt = start + CIPHER_HEADROOM;
    w.at = plainAt;
    w.end -= GCM_TAG_SIZE;
    this.#serve(r, w, cipher.style.sc, nowMs);
    w.end += GCM_TAG_SIZE;
    if (w.at === plainAt || cipher.isBroadcast || w.overflowed) w.at = start;
    else if (w.buf[plainAt] === ApduTag.exception) {
      // An exception is never ciphered.
      w.buf.copyWithin(start, plainAt, w.at);
      w.at -= CIPHER_HEADROOM;
    } else if (!cipher.seal(w, start)) {
      w.at = start;
      this.#refuseProtection(w, 'counters-used-up');
    }
  }

  /** Serves the plain request at the reader. @param protection  security control that it came with, 0 in the clear */
  #serve(r: ByteReader, w: ByteWriter, protection: number, nowMs: number): void {
    if (this.#pending) {
      this.#answerChallenge(r, w);
      return;
    }
    const context = this.#context;
    if (!context) {
      this.#refuse(w, ExceptionService.operationNotPossible);
      return;
    }
    const limit = this.#sendLimit;
    context.protection = protection;
    context.overhead = protection === 0 ? 0 : this.#cipher!.overhead(limit);
    context.maxSendPdu = limit - context.overhead;
    context.isSigned = false;
    if (r.buf[r.at] === GENERAL_SIGNING && !this.#openSigned(r, w, context)) return;
    const tag = r.buf[r.at]!;
    if (isServiceTag(tag)) this.#services.serve(tag, r, w, context, nowMs);
    else encodeException(w, ExceptionState.serviceUnknown, ExceptionService.serviceNotSupported);
  }

  /** Checks a signed request; the reader then holds what was signed. @returns false when it was refused */
  #openSigned(r: ByteReader, w: ByteWriter, context: Mutable<RequestContext>): boolean {
    const { key, clientSap } = this.#place;
    const { commands, epochS, emit } = this.#core;
    let reason: string;
    try {
      const command = decodeSigned(r);
      const { number, content } = command;
      const refusal = commands ? judgeCommand(command, commands, epochS(content)) : 'signature';
      if (!refusal) {
        emit({ kind: 'command-accepted', key, clientSap, number, reason: command.reason });
        r.reset(content, 0, content.length);
        context.isSigned = true;
        return true;
      }
      reason = refusal;
      encodeCommandRefusal(w, content);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      reason = 'format';
      this.#refuse(w, ExceptionService.otherReason);
    }
    emit({ kind: 'command-refused', key, clientSap, reason });
    return false;
  }

  /** Ends the association when it was idle for too long, or a challenge stayed unanswered. */
  expire(nowMs: number): void {
    if (this.#context && nowMs - this.#usedMs > this.#core.inactivityMs) this.end('expired');
    if (this.#pending && nowMs - this.#pending.sinceMs > PENDING_MS) this.end('expired');
  }

  /** Back to idle. */
  end(reason: 'released' | 'replaced' | 'disconnected' | 'expired'): void {
    const wasAssociated = this.#context !== null;
    this.#context = null;
    this.#pending = null;
    this.#cipher = null;
    this.#services.reset();
    this.#blocks = null;
    this.#duplicates.clear();
    if (!wasAssociated) return;
    const { key, clientSap } = this.#place;
    this.#core.emit({ kind: 'association-closed', key, clientSap, reason });
  }

  /**
   * Outside an association nothing has an effect, so nothing needs protection from running twice. Plain GETs are run
   * again: a client that never changes its invoke id must not be given an old value.
   */
  #remember(tag: number, request: Uint8Array, isHandshake: boolean, w: ByteWriter, start: number, nowMs: number): void {
    const isOpen = this.#context !== null || this.#pending !== null;
    if (this.#isBehind && !this.#place.isStream) this.#duplicates.trace(request, nowMs, true);
    if (this.#place.isStream || !(isOpen || this.#isCounted) || w.overflowed) return;
    const answer = w.buf.subarray(start, w.at);
    if (!isOpen) {
      this.#duplicates.keepOpening(request, answer, nowMs);
      return;
    }
    // What did not open is not the client's: it must not push the client's request out of the memory.
    if (this.#cipher) {
      if (this.#isGenuine) this.#duplicates.keepUnique(request, answer, isHandshake, nowMs);
    } else if (tag === ApduTag.aarq) this.#duplicates.keepOpening(request, answer, nowMs);
    else if (tag === ApduTag.setRequest || tag === ApduTag.actionRequest || tag === GENERAL_SIGNING)
      this.#duplicates.keep(request, answer, nowMs);
    else this.#duplicates.passed();
  }

  // Opening and closing

  #associate(r: ByteReader, w: ByteWriter): void {
    const isWhole = isWholeBer(r.buf, r.at, r.end);
    const aarq = decoded(() => decodeAarq(r));
    if (!aarq) {
      // A datagram whose outer length does not even fit is noise; answering it would serve a prober only.
      if (this.#place.isStream || isWhole) this.#reject(w, { initiateError: InitiateError.other });
      return;
    }
    const verdict = judgeAarq(aarq, this.#place, this.#core.lockout, this.#usedMs);
    if (verdict.isGenuine) this.#isGenuine = true;
    this.#isBehind = 'opening' in verdict && verdict.opening === 'behind-restart';
    this.#isCounted = 'failures' in verdict && (verdict.failures ?? 0) > 0;
    // A ciphered association ends only for an AARQ that is the client's own: anyone can write a forged one.
    if ('spec' in verdict || !this.#cipher) this.end('replaced');
    if ('spec' in verdict) this.#accept(w, verdict);
    else if (verdict.opening) this.#refuseProtection(w, verdict.opening, verdict.expectedCounter, verdict.failures);
    else if (verdict.isTransient) encodeRejection(w, verdict, this.#place.maxPdu);
    else this.#reject(w, verdict);
  }

  /** Answers an AARQ that is right so far: associated at once, or pending behind a challenge. */
  #accept(w: ByteWriter, acceptance: Acceptance): void {
    const { spec, cipher, dedicatedKey } = acceptance;
    const { mechanism, security } = spec;
    const start = w.at;
    const isHighLevel = mechanism > Mechanism.password && security !== undefined;
    const challenge = isHighLevel ? freshChallenge(security.options.crypto.random, acceptance.challenge) : undefined;
    if (!encodeAcceptance(w, acceptance, this.#place.maxPdu, challenge)) {
      w.at = start;
      this.#refuseProtection(w, 'counters-used-up');
      return;
    }
    cipher?.setDedicated(dedicatedKey);
    this.#cipher = cipher;
    if (challenge) {
      const counter = cipher?.counter ?? -1;
      this.#pending = { acceptance, challenge, counter, sinceMs: this.#usedMs, strays: 0 };
    } else this.#open(acceptance);
  }

  /** The only way into the associated state. */
  #open({ spec, conformance, clientMaxPdu, clientTitle, cipher }: Acceptance): void {
    const { clientSap, key, maxPdu } = this.#place;
    this.#sendLimit = clientMaxPdu === 0 ? maxPdu : Math.min(clientMaxPdu, maxPdu);
    this.#context = {
      role: cipher?.role ?? spec.role,
      clientSap,
      serverSap: this.#core.device.sap,
      mechanism: spec.mechanism,
      conformance,
      maxReceivePdu: maxPdu,
      maxSendPdu: this.#sendLimit,
      device: this.#core.device,
      isCiphered: cipher !== null,
      overhead: 0,
      protection: 0,
      isSigned: false,
    };
    if (spec.security && clientTitle.length > 0) spec.security.lastClient = clientTitle;
    this.#core.emit({ kind: 'association-opened', key, clientSap });
  }

  /** The third pass of a high-level authentication: the client's answer to the challenge, and ours to the client's. */
  #answerChallenge(r: ByteReader, w: ByteWriter): void {
    const pending = this.#pending!;
    const answer = readReplyToHls(r);
    if (!answer) {
      this.#refuse(w, ExceptionService.operationNotPossible);
      if (++pending.strays >= MAX_STRAYS) this.end('replaced');
      return;
    }
    // One attempt per challenge.
    this.#pending = null;
    const { acceptance } = pending;
    const { key, clientSap, source } = this.#place;
    const { lockout, emit } = this.#core;
    const proof = proveBack(pending, answer.proof);
    w.u8(ApduTag.actionResponse).u8(1).u8(answer.invoke);
    if (proof) {
      lockout.succeeded(source);
      w.u8(Result.success).u8(1).u8(0).u8(Tag.octetString).u8(proof.length).bytes(proof);
      this.#open(acceptance);
      return;
    }
    w.u8(Result.readWriteDenied).u8(0);
    const failures = lockout.failed(source, this.#usedMs);
    const result = AssociationResult.rejectedPermanent;
    const diagnostic = Diagnostic.authenticationFailure;
    emit({ kind: 'association-rejected', key, clientSap, result, diagnostic, failures });
  }

  #reject(w: ByteWriter, rejection: Rejection): void {
    const { key, clientSap, maxPdu } = this.#place;
    const diagnostic = encodeRejection(w, rejection, maxPdu);
    const { failures = 0 } = rejection;
    const result = AssociationResult.rejectedPermanent;
    this.#core.emit({ kind: 'association-rejected', key, clientSap, result, diagnostic, failures });
  }

  #release(r: ByteReader, w: ByteWriter): void {
    const release = decoded(() => decodeRelease(r, ApduTag.releaseRequest));
    if (!release) {
      this.#refuse(w, ExceptionService.otherReason);
      return;
    }
    const initiate = release.userInformation;
    const cipher = this.#cipher;
    const context = this.#context;
    const { isStream, isAuthentic, maxPdu } = this.#place;
    if (!cipher || !context || !initiate || initiate[0] === 0x01) {
      // Anyone on the way could end a ciphered association by a plain release in a datagram.
      if (cipher && !isStream && !isAuthentic) {
        this.#refuse(w, ExceptionService.serviceNotSupported);
        return;
      }
      this.end('released');
      encodeRelease(w, ApduTag.releaseResponse);
      return;
    }
    const opening = cipher.open(new ByteReader(initiate));
    if (opening !== 'open') {
      this.#refuseProtection(w, opening, cipher.expected);
      return;
    }
    this.end('released');
    encodeRelease(w, ApduTag.releaseResponse, 0, (inner) => {
      const { at } = inner;
      inner.at = at + CIPHER_HEADROOM;
      encodeInitiateResponse(inner, context.conformance, maxPdu);
      if (!cipher.seal(inner, at)) inner.at = at;
    });
  }
}

function isServiceTag(tag: number): boolean {
  return tag === ApduTag.getRequest || tag === ApduTag.setRequest || tag === ApduTag.actionRequest;
}
