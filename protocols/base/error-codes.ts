/**
 * Every error code of the project, once: its HTTP status in an API problem, and its exit status on a command line. Error
 * classes, the CLI and the HTTP API all read these tables; what a code means is in `error-titles.ts`.
 *
 * Exit status: 1 failure, 2 usage or configuration, 3 unreachable, 4 denied, 5 partial.
 */

/** Every code and the HTTP status of its problem. */
export const HTTP_STATUS = {
  // Input that could not be decoded
  'decode.truncated': 502,
  'decode.invalid': 502,
  'encode.out-of-range': 500,

  // Modbus
  'modbus.timeout': 504,
  'modbus.crc': 502,
  'modbus.exception': 502,
  'modbus.port': 503,
  'modbus.map': 500,

  // The load's contact
  'relay.failed': 502,

  // DLMS/COSEM
  'dlms.association-rejected': 502,
  'dlms.authentication-failed': 502,
  'dlms.access-denied': 403,
  'dlms.object-undefined': 404,
  'dlms.type-unmatched': 422,
  'dlms.refused': 502,
  'dlms.temporarily-unavailable': 503,
  'dlms.not-associated': 502,
  'dlms.counters-used-up': 502,
  'dlms.unexpected-answer': 502,

  // SCION
  'scion.address': 422,
  'scion.topology': 500,
  'scion.segment': 502,
  'scion.path-service': 503,
  'scion.daemon': 503,
  'gateway.not-running': 503,
  'path.none': 503,
  'path.none-conforming': 503,
  'path.mismatch': 502,

  // Enrolment and certificates
  'enrolment.code': 422,
  'enrolment.refused': 403,
  'enrolment.wait': 429,
  'certificate.refused': 403,

  // Head end
  'headend.unreachable': 503,
  'meter.unknown': 404,
  'meter.unreachable': 504,
  'meter.busy': 409,
  'command.unknown': 404,
  'command.conflict': 409,
  'command.failed': 502,
  'command.expired': 410,
  'command.cancelled': 409,
  'command.too-late': 409,
  'clock.not-set': 409,
  'clock.refused': 502,
  'firmware.unsupported': 409,
  'firmware.refused': 502,
  'firmware.fell-back': 502,
  'request.invalid': 422,
  'request.not-found': 404,
  'request.method': 405,
  'request.media-type': 415,
  'request.too-large': 413,
  'request.origin': 403,
  'auth.required': 401,
  'auth.denied': 403,
  'rate.limited': 429,

  // Any device
  'config.invalid': 500,
  'config.unreadable': 500,
  'usage.invalid': 500,
  'socket.in-use': 500,
  'socket.failed': 500,
  'card.unusable': 500,
  'card.full': 500,
  'card.keys-exist': 500,
  'node.unfit': 500,
  'runtime.missing': 500,
  internal: 500,
} as const;

export type ErrorCode = keyof typeof HTTP_STATUS;

/** Exit status and its codes, by whole areas and by name; every other code is a failure, 1. */
const EXIT_STATUS: readonly (readonly [number, RegExp])[] = [
  [
    2,
    /^((config|usage|card|node|runtime)\..*|modbus\.(port|map)|scion\.(address|topology)|enrolment\.code|socket\.in-use|request\.(invalid|method|media-type|too-large))$/,
  ],
  [3, /^(gateway\..*|modbus\.timeout|scion\.(path-service|daemon)|path\.none.*|(headend|meter)\.unreachable)$/],
  [
    4,
    /^((auth|certificate)\..*|dlms\.(association|authentication|access)-.*|enrolment\.(refused|wait)|request\.origin)$/,
  ],
];

/** Process exit status that a command line gives for an error. */
export function exitStatusOf(code: ErrorCode): number {
  return EXIT_STATUS.find(([, codes]) => codes.test(code))?.[0] ?? 1;
}
