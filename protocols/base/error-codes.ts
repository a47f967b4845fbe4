/**
 * Every error code of the project, once: its exit status on a command line and its HTTP status in an API problem. Error
 * classes, the CLI and the HTTP API all read this table; what a code means is in `error-titles.ts`.
 *
 * Exit status: 1 failure, 2 usage or configuration, 3 unreachable, 4 denied, 5 partial.
 */

export interface ErrorCodeEntry {
  readonly exit: 1 | 2 | 3 | 4 | 5;
  readonly http: number;
}

const entry = (exit: ErrorCodeEntry['exit'], http: number): ErrorCodeEntry => ({ exit, http });

export const ERROR_CODES = {
  // Input that could not be decoded
  'decode.truncated': entry(1, 502),
  'decode.invalid': entry(1, 502),
  'encode.out-of-range': entry(1, 500),

  // Modbus
  'modbus.timeout': entry(3, 504),
  'modbus.crc': entry(1, 502),
  'modbus.exception': entry(1, 502),
  'modbus.port': entry(2, 503),
  'modbus.map': entry(2, 500),

  // The load's contact
  'relay.failed': entry(1, 502),

  // DLMS/COSEM
  'dlms.association-rejected': entry(4, 502),
  'dlms.authentication-failed': entry(4, 502),
  'dlms.access-denied': entry(4, 403),
  'dlms.object-undefined': entry(1, 404),
  'dlms.type-unmatched': entry(1, 422),
  'dlms.refused': entry(1, 502),
  'dlms.temporarily-unavailable': entry(1, 503),
  'dlms.not-associated': entry(1, 502),
  'dlms.counters-used-up': entry(1, 502),
  'dlms.unexpected-answer': entry(1, 502),

  // SCION
  'scion.address': entry(2, 422),
  'scion.topology': entry(2, 500),
  'scion.segment': entry(1, 502),
  'scion.path-service': entry(3, 503),
  'scion.daemon': entry(3, 503),
  'gateway.not-running': entry(3, 503),
  'path.none': entry(3, 503),
  'path.none-conforming': entry(3, 503),
  'path.mismatch': entry(1, 502),

  // Enrolment and certificates
  'enrolment.code': entry(2, 422),
  'enrolment.refused': entry(4, 403),
  'enrolment.wait': entry(4, 429),
  'certificate.refused': entry(4, 403),

  // Head end
  'headend.unreachable': entry(3, 503),
  'meter.unknown': entry(1, 404),
  'meter.unreachable': entry(3, 504),
  'meter.busy': entry(1, 409),
  'command.unknown': entry(1, 404),
  'command.conflict': entry(1, 409),
  'command.failed': entry(1, 502),
  'command.expired': entry(1, 410),
  'firmware.unsupported': entry(1, 409),
  'firmware.refused': entry(1, 502),
  'firmware.fell-back': entry(1, 502),
  'request.invalid': entry(2, 422),
  'request.not-found': entry(1, 404),
  'request.method': entry(2, 405),
  'request.media-type': entry(2, 415),
  'request.too-large': entry(2, 413),
  'request.origin': entry(4, 403),
  'auth.required': entry(4, 401),
  'auth.denied': entry(4, 403),
  'rate.limited': entry(1, 429),

  // Any device
  'config.invalid': entry(2, 500),
  'config.unreadable': entry(2, 500),
  'usage.invalid': entry(2, 500),
  'socket.in-use': entry(2, 500),
  'socket.failed': entry(1, 500),
  'card.unusable': entry(2, 500),
  'card.full': entry(2, 500),
  'card.keys-exist': entry(2, 500),
  'node.unfit': entry(2, 500),
  'runtime.missing': entry(2, 500),
  internal: entry(1, 500),
} as const satisfies Record<string, ErrorCodeEntry>;

export type ErrorCode = keyof typeof ERROR_CODES;
