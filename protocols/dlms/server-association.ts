/**
 * One association of a server: its state machine (IEC 62056-5-3 §6), who may open it, and the duplicate cache that makes a
 * repeated datagram harmless. The services inside an open association are in server-services.ts.
 *
 *   idle ──AARQ accepted──► associated ──RLRQ, AARQ, inactivity, disconnection──► idle
 *
 * The associated state is entered in exactly one place, behind an accepted verdict.
 */

import { constantTimeEqual } from '#base/bytes';
import { DecodeError } from '#base/errors';
import {
  type Aarq,
  AssociationResult,
  Context,
  Diagnostic,
  decodeAarq,
  decodeRelease,
  encodeAare,
  encodeRelease,
  Mechanism,
  NO_COMMON_ACSE_VERSION,
} from '#dlms/acse';
import { ApduTag, isCipheredTag } from '#dlms/apdu';
import type { AssociationSpec } from '#dlms/association';
import { isWholeBer } from '#dlms/ber';
import type { RequestContext } from '#dlms/cosem/logical-device';
import { DuplicateMemory } from '#dlms/duplicates';
import {
  DLMS_VERSION,
  decodeInitiateRequest,
  encodeInitiateError,
  encodeInitiateResponse,
  InitiateError,
  type InitiateRequest,
  MIN_PDU,
} from '#dlms/initiate';
import { ByteReader } from '#dlms/reader';
import { ExceptionService, ExceptionState, encodeException } from '#dlms/result';
import type { ServerCore } from '#dlms/server';
import { ServerServices } from '#dlms/server-services';
import type { ByteWriter } from '#dlms/writer';

export interface AssociationPlace {
  readonly key: string;
  readonly source: string;
  readonly clientSap: number;
  /** null: nobody configured this access point. */
  readonly spec: AssociationSpec | null;
  readonly isStream: boolean;
  /** Longest APDU either way that this transport carries. */
  readonly maxPdu: number;
}

/** What an accepted AARQ negotiated. */
interface Acceptance {
  readonly spec: AssociationSpec;
  readonly conformance: number;
  /** Longest APDU that the client accepts; 0 means any. */
  readonly clientMaxPdu: number;
}

/** Why an AARQ is refused: an ACSE diagnostic, or an initiate error behind the diagnostic "no reason given". */
interface Rejection {
  readonly diagnostic?: number;
  readonly isProvider?: boolean;
  readonly initiateError?: number;
  readonly failures?: number;
}

const NO_BYTES = new Uint8Array(0);
/** System titles are 8 bytes. */
const TITLE_SIZE = 8;

export class ServerAssociation {
  readonly #core: ServerCore;
  readonly #place: AssociationPlace;
  readonly #services: ServerServices;
  readonly #reader = new ByteReader(NO_BYTES);
  #context: RequestContext | null = null;
  #usedMs = 0;
  readonly #duplicates: DuplicateMemory;

  constructor(core: ServerCore, place: AssociationPlace) {
    this.#core = core;
    this.#place = place;
    this.#services = new ServerServices(core, place.key);
    this.#duplicates = new DuplicateMemory(core.duplicateWindowMs);
  }

  get isAssociated(): boolean {
    return this.#context !== null;
  }

  /** Handles the APDU `frame[at, end)` and writes the answer's APDU; writes nothing when there is none. */
  receive(frame: Uint8Array, at: number, w: ByteWriter, nowMs: number): void {
    this.expire(nowMs);
    this.#usedMs = nowMs;
    const request = frame.subarray(at);
    const known = this.#context && !this.#place.isStream ? this.#duplicates.answerTo(request, nowMs) : null;
    if (known) {
      w.bytes(known);
      return;
    }
    const start = w.at;
    const tag = frame[at]!;
    this.#dispatch(tag, this.#reader.reset(frame, at, frame.length), w, nowMs);
    this.#remember(tag, request, w, start, nowMs);
  }

  #dispatch(tag: number, r: ByteReader, w: ByteWriter, nowMs: number): void {
    const { serviceNotAllowed, serviceUnknown } = ExceptionState;
    if (r.remaining > this.#place.maxPdu) encodeException(w, serviceNotAllowed, ExceptionService.pduTooLong);
    else if (tag === ApduTag.aarq) this.#associate(r, w);
    else if (tag === ApduTag.releaseRequest) this.#release(r, w);
    else if (tag === ApduTag.getRequest || tag === ApduTag.setRequest || tag === ApduTag.actionRequest) {
      if (this.#context) this.#services.serve(tag, r, w, this.#context, nowMs);
      else encodeException(w, serviceNotAllowed, ExceptionService.operationNotPossible);
    } else if (isCipheredTag(tag)) {
      const { decipheringError, operationNotPossible } = ExceptionService;
      encodeException(w, serviceNotAllowed, this.#context ? decipheringError : operationNotPossible);
    } else encodeException(w, serviceUnknown, ExceptionService.serviceNotSupported);
  }

  /** Ends the association when it was idle for too long. */
  expire(nowMs: number): void {
    if (this.#context && nowMs - this.#usedMs > this.#core.inactivityMs) this.end('expired');
  }

  /** Back to idle. */
  end(reason: 'released' | 'replaced' | 'disconnected' | 'expired'): void {
    const wasAssociated = this.#context !== null;
    this.#context = null;
    this.#services.reset();
    this.#duplicates.clear();
    if (!wasAssociated) return;
    const { key, clientSap } = this.#place;
    this.#core.emit({ kind: 'association-closed', key, clientSap, reason });
  }

  /**
   * Outside an association nothing has an effect, so nothing needs protection from running twice. Plain GETs are run
   * again: a client that never changes its invoke id must not be given an old value.
   */
  #remember(tag: number, request: Uint8Array, w: ByteWriter, start: number, nowMs: number): void {
    if (this.#place.isStream || !this.#context || w.overflowed) return;
    const answer = w.buf.subarray(start, w.at);
    if (tag === ApduTag.aarq) this.#duplicates.keepOpening(request, answer, nowMs);
    else if (tag === ApduTag.setRequest || tag === ApduTag.actionRequest) this.#duplicates.keep(request, answer, nowMs);
    else this.#duplicates.passed();
  }

  // Opening and closing

  #associate(r: ByteReader, w: ByteWriter): void {
    const isWhole = isWholeBer(r.buf, r.at, r.end);
    let aarq: Aarq;
    try {
      aarq = decodeAarq(r);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      // A datagram whose outer length does not even fit is noise; answering it would serve a prober only.
      if (this.#place.isStream || isWhole) this.#reject(w, { initiateError: InitiateError.other });
      return;
    }
    this.end('replaced');
    const verdict = this.#judge(aarq);
    if ('spec' in verdict) this.#accept(w, verdict);
    else this.#reject(w, verdict);
  }

  /** Checks an AARQ, credentials before the xDLMS context. */
  #judge(aarq: Aarq): Acceptance | Rejection {
    const { spec } = this.#place;
    if (!spec) return { diagnostic: Diagnostic.noReasonGiven };
    if (!aarq.version1) return { diagnostic: NO_COMMON_ACSE_VERSION, isProvider: true };
    if (aarq.context !== Context.logicalName) return { diagnostic: Diagnostic.contextNotSupported };
    if (aarq.callingTitle && aarq.callingTitle.length !== TITLE_SIZE)
      return { diagnostic: Diagnostic.callingTitleNotRecognized };
    const refusal = this.#authenticate(aarq, spec);
    if (refusal) return refusal;
    let request: InitiateRequest;
    try {
      request = decodeInitiateRequest(new ByteReader(aarq.userInformation ?? NO_BYTES));
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return { initiateError: InitiateError.other };
    }
    const { dlmsVersion, maxPdu } = request;
    const conformance = request.conformance & spec.conformance;
    if (dlmsVersion < DLMS_VERSION) return { initiateError: InitiateError.versionTooLow };
    if (maxPdu !== 0 && maxPdu < MIN_PDU) return { initiateError: InitiateError.pduSizeTooShort };
    if (conformance === 0) return { initiateError: InitiateError.incompatibleConformance };
    // A dedicated key makes sense in a ciphered request only; here it was sent in the clear.
    if (request.dedicatedKey) return { initiateError: InitiateError.other };
    return { spec, conformance, clientMaxPdu: maxPdu };
  }

  #authenticate({ mechanism, authentication }: Aarq, spec: AssociationSpec): Rejection | null {
    if (mechanism < 0 || mechanism > Mechanism.ecdsa) return { diagnostic: Diagnostic.mechanismNotRecognized };
    if (mechanism === Mechanism.none && spec.mechanism !== Mechanism.none)
      return { diagnostic: Diagnostic.mechanismRequired };
    if (mechanism !== spec.mechanism) return { diagnostic: Diagnostic.authenticationFailure };
    if (mechanism === Mechanism.none) return null;
    const { lockout } = this.#core;
    const { source } = this.#place;
    const password = spec.password ?? NO_BYTES;
    // Compared also while locked, and a lock answers like a wrong password: neither time nor words tell them apart.
    const isRight = constantTimeEqual(authentication ?? NO_BYTES, password) && password.length > 0;
    if (lockout.isLocked(source, this.#usedMs)) return { diagnostic: Diagnostic.authenticationFailure };
    if (isRight) {
      lockout.succeeded(source);
      return null;
    }
    return { diagnostic: Diagnostic.authenticationFailure, failures: lockout.failed(source, this.#usedMs) };
  }

  /** The only way into the associated state. */
  #accept(w: ByteWriter, { spec, conformance, clientMaxPdu }: Acceptance): void {
    const { clientSap, key, maxPdu } = this.#place;
    encodeAare(
      w,
      { context: Context.logicalName, result: AssociationResult.accepted, diagnostic: Diagnostic.none },
      (inner) => encodeInitiateResponse(inner, conformance, maxPdu),
    );
    this.#context = {
      role: spec.role,
      clientSap,
      serverSap: this.#core.device.sap,
      mechanism: spec.mechanism,
      conformance,
      maxReceivePdu: maxPdu,
      maxSendPdu: clientMaxPdu === 0 ? maxPdu : Math.min(clientMaxPdu, maxPdu),
      device: this.#core.device,
    };
    this.#core.emit({ kind: 'association-opened', key, clientSap });
  }

  #reject(w: ByteWriter, rejection: Rejection): void {
    const { key, clientSap, maxPdu } = this.#place;
    const result = AssociationResult.rejectedPermanent;
    const { initiateError, diagnostic = Diagnostic.noReasonGiven, isProvider = false, failures = 0 } = rejection;
    encodeAare(w, { context: Context.logicalName, result, diagnostic, isProviderDiagnostic: isProvider }, (inner) =>
      initiateError === undefined
        ? encodeInitiateResponse(inner, 0, maxPdu)
        : encodeInitiateError(inner, initiateError),
    );
    this.#core.emit({ kind: 'association-rejected', key, clientSap, result, diagnostic, failures });
  }

  #release(r: ByteReader, w: ByteWriter): void {
    try {
      decodeRelease(r, ApduTag.releaseRequest);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      encodeException(w, ExceptionState.serviceNotAllowed, ExceptionService.otherReason);
      return;
    }
    this.end('released');
    encodeRelease(w, ApduTag.releaseResponse);
  }
}
