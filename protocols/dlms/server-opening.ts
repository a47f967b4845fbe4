/**
 * How an association of a server is opened (IEC 62056-5-3 §6): whether an AARQ may, what was negotiated, the AARE, and
 * the last pass of a high-level authentication. The states are in server-association.ts.
 */

import { constantTimeEqual, equalBytes } from '#base/bytes';
import { decoded } from '#base/errors';
import {
  type Aarq,
  AssociationResult,
  Context,
  Diagnostic,
  encodeAare,
  Mechanism,
  NO_COMMON_ACSE_VERSION,
} from '#dlms/acse';
import type { AssociationSpec } from '#dlms/association';
import { CIPHER_HEADROOM, TITLE_SIZE } from '#dlms/cipher';
import { checkHls, type HlsPass, hlsCounter, MAX_CHALLENGE, MIN_CHALLENGE, proveHls } from '#dlms/hls';
import {
  DLMS_VERSION,
  decodeInitiateRequest,
  encodeInitiateError,
  encodeInitiateResponse,
  InitiateError,
  MIN_PDU,
} from '#dlms/initiate';
import type { Lockout } from '#dlms/lockout';
import { ByteReader } from '#dlms/reader';
import { AssociationCipher, Policy } from '#dlms/security';
import type { ProtectionFailure } from '#dlms/server';
import type { ByteWriter } from '#dlms/writer';

export interface AssociationPlace {
  readonly key: string;
  readonly source: string;
  readonly clientSap: number;
  /** null: nobody configured this access point. */
  readonly spec: AssociationSpec | null;
  readonly isStream: boolean;
  /** One answer a request, as on HDLC: general block transfer does not stream. */
  readonly isPolled: boolean;
  /** Longest APDU either way that this transport carries. */
  readonly maxPdu: number;
  /** Whether the transport vouches for the sender of each frame. */
  readonly isAuthentic: boolean;
}

/** What an accepted AARQ negotiated. */
export interface Acceptance {
  /** Whether the AARQ was opened, so that it is the client's own. */
  readonly isGenuine: boolean;
  readonly spec: AssociationSpec;
  readonly conformance: number;
  /** Longest APDU that the client accepts; 0 means any. */
  readonly clientMaxPdu: number;
  /** In the ciphered application context, under the client's title. */
  readonly cipher: AssociationCipher | null;
  readonly clientTitle: Uint8Array;
  readonly dedicatedKey: Uint8Array | null;
  /** The client's challenge; high-level mechanisms only. */
  readonly challenge: Uint8Array;
}

/** An association that waits for the answer to its challenge. */
export interface Pending {
  readonly acceptance: Acceptance;
  readonly challenge: Uint8Array;
  /** Counter of the AARQ. */
  readonly counter: number;
  readonly sinceMs: number;
  /** Requests other than the answer. */
  strays: number;
}

/** Why an AARQ is refused: an ACSE diagnostic, or an initiate error behind the diagnostic "no reason given". */
export interface Rejection {
  readonly isGenuine?: boolean;
  readonly diagnostic?: number;
  readonly isProvider?: boolean;
  /** Not judged now: a later attempt may be. */
  readonly isTransient?: boolean;
  readonly initiateError?: number;
  readonly failures?: number;
  /** Ciphering that failed is answered by an exception, not by an AARE. */
  readonly opening?: ProtectionFailure;
  readonly expectedCounter?: number;
}

const NO_BYTES = new Uint8Array(0);

/** Checks an AARQ, credentials before the xDLMS context. */
export function judgeAarq(
  aarq: Aarq,
  { spec, source }: AssociationPlace,
  lockout: Lockout,
  nowMs: number,
): Acceptance | Rejection {
  if (!spec) return { diagnostic: Diagnostic.noReasonGiven };
  if (!aarq.version1) return { diagnostic: NO_COMMON_ACSE_VERSION, isProvider: true };
  const { security } = spec;
  const isCiphered = aarq.context === Context.logicalNameCiphered && security !== undefined;
  if (aarq.context !== Context.logicalName && !isCiphered) return { diagnostic: Diagnostic.contextNotSupported };
  const clientTitle = aarq.callingTitle ?? NO_BYTES;
  // Another mechanism than ours is refused as such.
  const needsTitle = isCiphered || Math.min(spec.mechanism, aarq.mechanism) >= Mechanism.gmac;
  if (clientTitle.length !== TITLE_SIZE && (aarq.callingTitle || needsTitle))
    return { diagnostic: Diagnostic.callingTitleNotRecognized };
  const refusal = authenticate(aarq, spec, source, lockout, nowMs);
  if (refusal) return refusal;
  const initiate = new ByteReader(aarq.userInformation ?? NO_BYTES);
  let cipher: AssociationCipher | null = null;
  if (isCiphered) {
    const { clientTitle: expectedTitle } = security.options;
    if (expectedTitle && !equalBytes(expectedTitle, clientTitle)) return { opening: 'undecipherable' };
    const mustWait = lockout.isLocked(source, nowMs);
    const isGuess = security.options.mayGuess?.(mustWait, clientTitle, aarq.authentication ?? NO_BYTES);
    if (isGuess === false) return { isTransient: true };
    cipher = new AssociationCipher(security, source);
    cipher.begin(clientTitle);
    const opening = initiate.buf[0] === 0x01 ? 'unprotected' : cipher.open(initiate);
    if (opening !== 'open') {
      const failures = isGuess && opening === 'undecipherable' ? lockout.failed(source, nowMs) : 0;
      return { opening, expectedCounter: cipher.expected, failures };
    }
  } else if (security && security.policy !== Policy.none) return { opening: 'unprotected' };
  const isGenuine = cipher !== null;
  const request = decoded(() => decodeInitiateRequest(initiate));
  if (!request) return { initiateError: InitiateError.other, isGenuine };
  const { dlmsVersion, maxPdu } = request;
  const conformance = request.conformance & spec.conformance;
  if (dlmsVersion < DLMS_VERSION) return { initiateError: InitiateError.versionTooLow, isGenuine };
  if (maxPdu !== 0 && maxPdu < MIN_PDU) return { initiateError: InitiateError.pduSizeTooShort, isGenuine };
  if (conformance === 0) return { initiateError: InitiateError.incompatibleConformance, isGenuine };
  const { dedicatedKey } = request;
  // A dedicated key makes sense in a ciphered request only; elsewhere it was sent in the clear.
  if (dedicatedKey && (!cipher || dedicatedKey.length !== security?.options.keys.unicast.length))
    return { initiateError: InitiateError.other, isGenuine };
  const challenge = (aarq.authentication ?? NO_BYTES).slice();
  return {
    spec,
    isGenuine,
    conformance,
    clientMaxPdu: maxPdu,
    cipher,
    clientTitle: clientTitle.slice(),
    dedicatedKey,
    challenge,
  };
}

function authenticate(
  { mechanism, authentication }: Aarq,
  spec: AssociationSpec,
  source: string,
  lockout: Lockout,
  nowMs: number,
): Rejection | null {
  if (mechanism < 0 || mechanism > Mechanism.ecdsa) return { diagnostic: Diagnostic.mechanismNotRecognized };
  if (mechanism === Mechanism.none && spec.mechanism !== Mechanism.none)
    return { diagnostic: Diagnostic.mechanismRequired };
  if (mechanism !== spec.mechanism) return { diagnostic: Diagnostic.authenticationFailure };
  if (mechanism === Mechanism.none) return null;
  if (mechanism > Mechanism.password) {
    const length = authentication?.length ?? 0;
    // A secret can be guessed, a key cannot: only the former is worth locking for.
    const isLocked = mechanism === Mechanism.sha256 && lockout.isLocked(source, nowMs);
    if (length >= MIN_CHALLENGE && length <= MAX_CHALLENGE && !isLocked) return null;
    return { diagnostic: Diagnostic.authenticationFailure };
  }
  const password = spec.password ?? NO_BYTES;
  // Compared also while locked, and a lock answers like a wrong password: neither time nor words tell them apart.
  const isRight = constantTimeEqual(authentication ?? NO_BYTES, password) && password.length > 0;
  if (lockout.isLocked(source, nowMs)) return { diagnostic: Diagnostic.authenticationFailure };
  if (isRight) {
    lockout.succeeded(source);
    return null;
  }
  return { diagnostic: Diagnostic.authenticationFailure, failures: lockout.failed(source, nowMs) };
}

/**
 * Writes the AARE for an AARQ that is right.
 * @param challenge  of a high-level authentication
 * @returns false when it cannot be ciphered; what was written is not for sending then
 */
export function encodeAcceptance(
  w: ByteWriter,
  { spec, conformance, cipher }: Acceptance,
  maxPdu: number,
  challenge: Uint8Array | undefined,
): boolean {
  const { mechanism, security } = spec;
  let isSealed = true;
  encodeAare(
    w,
    {
      context: cipher ? Context.logicalNameCiphered : Context.logicalName,
      result: AssociationResult.accepted,
      diagnostic: challenge ? Diagnostic.authenticationRequired : Diagnostic.none,
      ...(security && (cipher || challenge) ? { respondingTitle: security.options.serverTitle } : {}),
      ...(challenge ? { mechanism, challenge } : {}),
    },
    (inner) => {
      if (!cipher) {
        encodeInitiateResponse(inner, conformance, maxPdu);
        return;
      }
      const { at } = inner;
      inner.at = at + CIPHER_HEADROOM;
      encodeInitiateResponse(inner, conformance, maxPdu);
      isSealed = cipher.seal(inner, at);
      if (!isSealed) inner.at = at;
    },
  );
  return isSealed;
}

/** Writes the AARE of a refusal. @returns its diagnostic */
export function encodeRejection(w: ByteWriter, rejection: Rejection, maxPdu: number): number {
  const { rejectedTransient, rejectedPermanent } = AssociationResult;
  const { initiateError, diagnostic = Diagnostic.noReasonGiven, isProvider = false } = rejection;
  const result = rejection.isTransient ? rejectedTransient : rejectedPermanent;
  encodeAare(w, { context: Context.logicalName, result, diagnostic, isProviderDiagnostic: isProvider }, (inner) =>
    initiateError === undefined ? encodeInitiateResponse(inner, 0, maxPdu) : encodeInitiateError(inner, initiateError),
  );
  return diagnostic;
}

/** Checks the client's answer to our challenge. @returns our answer to the client's; undefined when it is wrong */
export function proveBack(pending: Pending, received: Uint8Array): Uint8Array | undefined {
  const { acceptance, challenge } = pending;
  const { spec, clientTitle } = acceptance;
  const security = spec.security!;
  const { crypto, serverTitle, counters, clientKey, signing } = security.options;
  const theirs: HlsPass = {
    mechanism: spec.mechanism,
    crypto,
    prover: clientTitle,
    verifier: serverTitle,
    received: challenge,
    sent: acceptance.challenge,
    secret: spec.password,
    key: acceptance.cipher?.unicast ?? security.unicast,
    suite: security.suite,
  };
  const ours = {
    ...theirs,
    prover: serverTitle,
    verifier: clientTitle,
    received: acceptance.challenge,
    sent: challenge,
  };
  const isRight = checkHls(theirs, received, clientKey) && takesCounter(pending, received);
  const counter = isRight && spec.mechanism === Mechanism.gmac ? counters.next() : 1;
  return isRight && counter > 0 ? proveHls(ours, counter, signing) : undefined;
}

/**
 * Judges the counter inside the answer of mechanism 5. Peers use the one of the ciphered request around it, or the one
 * before; in a plain association it stands alone and is the client's next.
 */
function takesCounter({ acceptance, counter }: Pending, proof: Uint8Array): boolean {
  const { spec, cipher, clientTitle } = acceptance;
  if (spec.mechanism !== Mechanism.gmac) return true;
  const used = hlsCounter(proof);
  if (cipher) return used > counter && used <= cipher.counter;
  return spec.security!.options.counters.accept(clientTitle, used);
}
