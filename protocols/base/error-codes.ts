/**
 * Every error code of the project, once: its exit status on a command line, its HTTP status in an API problem, and what
 * it means. Error classes, the CLI and the HTTP API all read this table.
 *
 * Exit status: 1 failure, 2 usage or configuration, 3 unreachable, 4 denied, 5 partial.
 */

export interface ErrorCodeEntry {
  readonly exit: 1 | 2 | 3 | 4 | 5;
  readonly http: number;
  readonly title: string;
}

const entry = (exit: ErrorCodeEntry['exit'], http: number, title: string): ErrorCodeEntry => ({ exit, http, title });

export const ERROR_CODES = {
  // Input that could not be decoded
  'decode.truncated': entry(1, 502, 'Message ends too early'),
  'decode.invalid': entry(1, 502, 'Message breaks its format'),
  'encode.out-of-range': entry(1, 500, 'Value does not fit its field'),

  // Modbus
  'modbus.timeout': entry(3, 504, 'The energy meter on the bus does not answer'),
  'modbus.crc': entry(1, 502, 'The answer on the bus was damaged'),
  'modbus.exception': entry(1, 502, 'The energy meter refused the request'),
  'modbus.port': entry(2, 503, 'The serial port cannot be used'),
  'modbus.map': entry(2, 500, 'The register map is not valid'),

  // The load's contact
  'relay.failed': entry(1, 502, 'The relay could not be switched'),

  // DLMS/COSEM
  'dlms.association-rejected': entry(4, 502, 'The meter rejected the association'),
  'dlms.authentication-failed': entry(4, 502, 'The meter did not accept the credentials'),
  'dlms.access-denied': entry(4, 403, 'The meter denies access to this object'),
  'dlms.object-undefined': entry(1, 404, 'The meter does not know this object'),
  'dlms.type-unmatched': entry(1, 422, 'The value has the wrong type for this attribute'),
  'dlms.refused': entry(1, 502, 'The meter refused the request'),
  'dlms.temporarily-unavailable': entry(1, 503, 'The meter has no valid value for this attribute now'),
  'dlms.not-associated': entry(1, 502, 'The meter holds no association with this client'),
  'dlms.counters-used-up': entry(1, 502, 'No invocation counter is left under the keys'),
  'dlms.unexpected-answer': entry(1, 502, 'The meter answered something else than asked'),

  // SCION
  'scion.address': entry(2, 422, 'Not a SCION address'),
  'scion.topology': entry(2, 500, 'The topology file is not valid'),
  'scion.segment': entry(1, 502, 'The path segment is not valid'),
  'scion.path-service': entry(3, 503, 'The path service does not answer'),
  'scion.daemon': entry(3, 503, 'The SCION daemon does not answer'),
  'gateway.not-running': entry(3, 503, 'No gateway runs there'),
  'path.none': entry(3, 503, 'No path to the destination'),
  'path.none-conforming': entry(3, 503, 'No path conforms to the path policy'),
  'path.mismatch': entry(1, 502, 'The answer came over another path than the one chosen'),

  // Enrolment and certificates
  'enrolment.code': entry(2, 422, 'Not an enrolment code'),
  'enrolment.refused': entry(4, 403, 'The meter does not accept the enrolment'),
  'certificate.refused': entry(4, 403, 'The certificate is not believed'),

  // Head end
  'headend.unreachable': entry(3, 503, 'The head end does not answer'),
  'meter.unknown': entry(1, 404, 'No such meter'),
  'meter.unreachable': entry(3, 504, 'The meter does not answer'),
  'meter.busy': entry(1, 409, 'The meter is busy with another request'),
  'command.unknown': entry(1, 404, 'No such command'),
  'command.conflict': entry(1, 409, 'The idempotency key was used for another command'),
  'command.failed': entry(1, 502, 'The meter did not carry out the command'),
  'command.expired': entry(1, 410, 'The command expired before it was sent'),
  'request.invalid': entry(2, 422, 'The request is not valid'),
  'request.not-found': entry(1, 404, 'No such resource'),
  'request.method': entry(2, 405, 'The resource does not support this method'),
  'request.media-type': entry(2, 415, 'The request body must be JSON'),
  'request.too-large': entry(2, 413, 'The request body is too large'),
  'request.origin': entry(4, 403, 'The request comes from a foreign page or host name'),
  'auth.required': entry(4, 401, 'A token is required'),
  'auth.denied': entry(4, 403, 'The token does not allow this'),
  'rate.limited': entry(1, 429, 'Too many requests'),

  // Any device
  'config.invalid': entry(2, 500, 'The configuration is not valid'),
  'config.unreadable': entry(2, 500, 'The configuration cannot be read'),
  'usage.invalid': entry(2, 500, 'The command line is not valid'),
  'socket.in-use': entry(2, 500, 'The address is already in use'),
  'socket.failed': entry(1, 500, 'The socket failed'),
  'card.unusable': entry(2, 500, 'The SD card or image cannot be used'),
  'card.full': entry(2, 500, 'No room on the SD card or image'),
  'card.keys-exist': entry(2, 500, 'The SD card has other keys'),
  'node.unfit': entry(2, 500, 'The Node.js does not fit the board'),
  'runtime.missing': entry(2, 500, 'A part of the runtime is missing'),
  internal: entry(1, 500, 'Internal error'),
} as const satisfies Record<string, ErrorCodeEntry>;

export type ErrorCode = keyof typeof ERROR_CODES;
