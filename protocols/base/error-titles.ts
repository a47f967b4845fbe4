/** What every error code means, in words for people who see the code alone: API problems and the docs. */

import type { ErrorCode } from '#base/error-codes';

export const ERROR_TITLES: Readonly<Record<ErrorCode, string>> = {
  // Input that could not be decoded
  'decode.truncated': 'Message ends too early',
  'decode.invalid': 'Message breaks its format',
  'encode.out-of-range': 'Value does not fit its field',

  // Modbus
  'modbus.timeout': 'The energy meter on the bus does not answer',
  'modbus.crc': 'The answer on the bus was damaged',
  'modbus.exception': 'The energy meter refused the request',
  'modbus.port': 'The serial port cannot be used',
  'modbus.map': 'The register map is not valid',

  // The load's contact
  'relay.failed': 'The relay could not be switched',

  // DLMS/COSEM
  'dlms.association-rejected': 'The meter rejected the association',
  'dlms.authentication-failed': 'The meter did not accept the credentials',
  'dlms.access-denied': 'The meter denies access to this object',
  'dlms.object-undefined': 'The meter does not know this object',
  'dlms.type-unmatched': 'The value has the wrong type for this attribute',
  'dlms.refused': 'The meter refused the request',
  'dlms.temporarily-unavailable': 'The meter has no valid value for this attribute now',
  'dlms.not-associated': 'The meter holds no association with this client',
  'dlms.counters-used-up': 'No invocation counter is left under the keys',
  'dlms.unexpected-answer': 'The meter answered something else than asked',

  // SCION
  'scion.address': 'Not a SCION address',
  'scion.topology': 'The topology file is not valid',
  'scion.segment': 'The path segment is not valid',
  'scion.path-service': 'The path service does not answer',
  'scion.daemon': 'The SCION daemon does not answer',
  'gateway.not-running': 'No gateway runs there',
  'path.none': 'No path to the destination',
  'path.none-conforming': 'No path conforms to the path policy',
  'path.mismatch': 'The answer came over another path than the one chosen',

  // Enrolment and certificates
  'enrolment.code': 'Not an enrolment code',
  'enrolment.refused': 'The meter does not accept the enrolment',
  'enrolment.wait': 'Too many wrong enrolment codes: the next one has to wait',
  'certificate.refused': 'The certificate is not believed',

  // Head end
  'headend.unreachable': 'The head end does not answer',
  'meter.unknown': 'No such meter',
  'meter.unreachable': 'The meter does not answer',
  'meter.busy': 'The meter is busy with another request',
  'command.unknown': 'No such command',
  'command.conflict': 'The idempotency key was used for another command',
  'command.failed': 'The meter did not carry out the command',
  'command.expired': 'The command expired before it was sent',
  'command.cancelled': 'The order was cancelled before it was sent',
  'command.too-late': 'The command was sent already and cannot be cancelled',
  'clock.not-set': 'The clock of the meter is not set',
  'clock.refused': 'The clock of the meter is not set to this time',
  'firmware.unsupported': 'The meter takes no firmware images',
  'firmware.refused': 'The meter does not take the firmware image',
  'firmware.fell-back': 'The firmware failed, and the meter runs the one before again',
  'request.invalid': 'The request is not valid',
  'request.not-found': 'No such resource',
  'request.method': 'The resource does not support this method',
  'request.media-type': 'The request body has the wrong content type',
  'request.too-large': 'The request body is too large',
  'request.origin': 'The request comes from a foreign page or host name',
  'auth.required': 'A token is required',
  'auth.denied': 'The token does not allow this',
  'rate.limited': 'Too many requests',

  // Any device
  'config.invalid': 'The configuration is not valid',
  'config.unreadable': 'The configuration cannot be read',
  'usage.invalid': 'The command line is not valid',
  'socket.in-use': 'The address is already in use',
  'socket.failed': 'The socket failed',
  'card.unusable': 'The SD card or image cannot be used',
  'card.full': 'No room on the SD card or image',
  'card.keys-exist': 'The SD card has other keys',
  'node.unfit': 'The Node.js does not fit the board',
  'runtime.missing': 'A part of the runtime is missing',
  internal: 'Internal error',
};
