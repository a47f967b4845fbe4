/**
 * Opening and releasing the association of a DLMS client (IEC 62056-5-3, ACSE): what is proposed, what was negotiated, the
 * four passes of high-level authentication.
 */

import { DlmsError } from '#base/errors';
import { AssociationResult, Context, Diagnostic, decodeAare, encodeAarq, encodeRelease, Mechanism } from '#dlms/acse';
import { ApduTag, type MethodRef } from '#dlms/apdu';
import { CIPHER_HEADROOM } from '#dlms/cipher';
import { NO_RESULT, runMethods } from '#dlms/client-action';
import { decodeAnswer, unexpected } from '#dlms/client-answers';
import type { ClientFrames } from '#dlms/client-frames';
import type { ClientSecurity } from '#dlms/client-security';
import type { Exchange } from '#dlms/exchange';
import { decodeInitiateResponse, encodeInitiateRequest } from '#dlms/initiate';
import { parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

/** What a client asks for in its AARQ; keys are in the `security` of its frames. */
export interface Proposal {
  readonly clientSap: number;
  readonly password: Uint8Array | undefined;
  /** Longest APDU that the client accepts. */
  readonly maxPdu: number;
  readonly conformance: number;
}

const REPLY_TO_HLS: MethodRef = { classId: 15, ln: parseObis('0-0:40.0.0.255'), method: 1 };

/**
 * Opens the association.
 * @param nowMs  steady clock of a datagram transport: an AARQ that no answer has come to is then sent again as it is
 * @throws DlmsError `dlms.authentication-failed`, `dlms.association-rejected`, `dlms.unexpected-answer`
 */
export function* openAssociation(frames: ClientFrames, proposal: Proposal, nowMs: number | undefined): Exchange<void> {
  frames.reset();
  const security = frames.security;
  const mechanism = security ? security.options.mechanism : proposal.password ? Mechanism.password : Mechanism.none;
  const write = (w: ByteWriter) => {
    const fields = {
      context: security?.isCiphered ? Context.logicalNameCiphered : Context.logicalName,
      mechanism,
      authentication: security?.isHighLevel ? security.challenge : proposal.password,
      callingTitle: security?.options.title,
    };
    encodeAarq(w, fields, (inner) => writeInitiate(inner, frames, proposal));
  };
  const answer = yield* frames.open(nowMs, () => security?.begin(), write);
  const aare = decodeAnswer(answer, decodeAare);
  if (aare.result !== AssociationResult.accepted) {
    const { result, diagnostic, isProviderDiagnostic } = aare;
    const isCredential =
      !isProviderDiagnostic &&
      (diagnostic === Diagnostic.authenticationFailure || diagnostic === Diagnostic.mechanismRequired);
    throw new DlmsError(
      isCredential ? 'dlms.authentication-failed' : 'dlms.association-rejected',
      `the server rejected client ${proposal.clientSap} with diagnostic ${diagnostic}`,
      { result, diagnostic, isProviderDiagnostic },
    );
  }
  if (!aare.userInformation) throw unexpected('an AARE without initiate response');
  security?.meet(aare.respondingTitle);
  let response: ByteReader | null = new ByteReader(aare.userInformation);
  if (security?.isCiphered) response = security.open(response);
  if (!response) throw unexpected('an initiate response that does not open');
  const initiate = decodeAnswer(response, decodeInitiateResponse);
  frames.conformance = initiate.conformance & proposal.conformance;
  frames.serverMaxPdu = initiate.maxPdu;
  security?.useDedicated();
  // Some servers want the handshake and do not say so in the diagnostic.
  if (security?.isHighLevel) yield* authenticate(frames, security, aare.authentication);
  frames.isAssociated = true;
}

/** Releases the association; any answer at all means that it is over. */
export function* releaseAssociation(frames: ClientFrames, proposal: Proposal): Exchange<void> {
  frames.reset();
  frames.answerTag = ApduTag.releaseResponse;
  const isCiphered = frames.security?.isCiphered ?? false;
  frames.begin((w) =>
    encodeRelease(
      w,
      ApduTag.releaseRequest,
      0,
      isCiphered ? (inner) => writeInitiate(inner, frames, proposal) : undefined,
    ),
  );
  yield frames.written();
}

function* authenticate(frames: ClientFrames, security: ClientSecurity, challenge: Uint8Array | null): Exchange<void> {
  if (!challenge) throw unexpected('an AARE without a challenge');
  frames.isAuthenticating = true;
  const value = security.prove(challenge);
  const [{ result, data } = NO_RESULT] = yield* runMethods(frames, [
    { ref: REPLY_TO_HLS, parameter: { type: 'octet-string', value } },
  ]);
  frames.isAuthenticating = false;
  if (result !== 0 || data?.type !== 'octet-string')
    throw new DlmsError('dlms.authentication-failed', 'the server did not accept the answer to its challenge', {
      result,
    });
  security.check(challenge, data.value);
}

/** Writes the initiate request, ciphered where the association is. */
function writeInitiate(w: ByteWriter, frames: ClientFrames, { conformance, maxPdu }: Proposal): void {
  const security = frames.security?.isCiphered ? frames.security : undefined;
  const { at } = w;
  if (security) w.at += CIPHER_HEADROOM;
  encodeInitiateRequest(w, conformance, maxPdu, security?.dedicatedKey);
  security?.seal(w, at);
}
