/**
 * Every published or captured frame of ACSE, services, data and notifications is read into fields, and the fields are
 * written as the same bytes. Ciphering, HDLC and date-times have tests of their own.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { decodeAare, decodeAarq, decodeRelease, encodeAare, encodeAarq, encodeRelease } from '#dlms/acse';
import { decodeActionResponse, encodeActionHeader, encodeActionRequest, encodeActionResponse } from '#dlms/action';
import { Descriptor, readSelection } from '#dlms/apdu';
import { decodeData, encodeData, readLength, readOctets, writeLength, writeOctets } from '#dlms/axdr';
import { decodeAnyData } from '#dlms/compact-array';
import { decodeGbt, encodeGbt } from '#dlms/gbt';
import {
  decodeGetResponse,
  encodeGetBlock,
  encodeGetBlockError,
  encodeGetError,
  encodeGetListRequest,
  encodeGetNext,
  encodeGetRequest,
} from '#dlms/get';
import { decodeInitiateRequest, encodeInitiateRequest } from '#dlms/initiate';
import {
  decodeDataNotification,
  decodeEventNotification,
  encodeDataNotificationHeader,
  encodeEventNotification,
} from '#dlms/notification';
import { ByteReader } from '#dlms/reader';
import { decodeException, encodeException } from '#dlms/result';
import { encodeSetRequest, writeSetReferences } from '#dlms/set';
import { ByteWriter } from '#dlms/writer';
import file from '../../vectors/dlms.json';
import { type Vector, vectors } from './vectors.ts';

const Vectors = suite('dlms vectors');

type RoundTrip = (r: ByteReader, w: ByteWriter) => unknown;

function reference(r: ByteReader): { classId: number; ln: Uint8Array; attribute: number } {
  const { classId, lnAt, id } = new Descriptor().read(r);
  return { classId, ln: r.buf.subarray(lnAt, lnAt + 6), attribute: id };
}

/** Tag, choice and invoke id of a service; returns the latter two. */
function service(r: ByteReader): [choice: number, invoke: number] {
  r.u8('tag');
  return [r.u8('choice'), r.u8('invoke id')];
}

const BY_TAG: Readonly<Record<number, RoundTrip>> = {
  96: (r, w) => {
    const { context, mechanism, authentication, callingTitle, userInformation } = decodeAarq(r);
    const title = callingTitle ? { callingTitle } : {};
    const fields = { context, mechanism, ...(authentication ? { authentication } : {}), ...title };
    encodeAarq(w, fields, (inner) => inner.bytes(userInformation!));
  },
  97: (r, w) => {
    const aare = decodeAare(r);
    const { context, result, diagnostic, mechanism, authentication, respondingTitle, userInformation } = aare;
    const title = respondingTitle ? { respondingTitle } : {};
    const fields = { context, result, diagnostic, ...title };
    encodeAare(w, authentication ? { ...fields, mechanism, challenge: authentication } : fields, (inner) =>
      inner.bytes(userInformation!),
    );
  },
  98: (r, w) => release(r, w, 0x62),
  99: (r, w) => release(r, w, 0x63),
  15: (r, w) => {
    const { invoke, dateTime, body } = decodeDataNotification(r);
    encodeData(encodeDataNotificationHeader(w, invoke, dateTime), body);
  },
  192: (r, w) => {
    const [choice, invoke] = service(r);
    if (choice === 2) return encodeGetNext(w, invoke, r.u32('block'));
    if (choice === 1) return encodeGetRequest(w, invoke, reference(r), readSelection(r) ?? undefined);
    const refs = Array.from({ length: readLength(r, 'list') }, () => {
      const ref = reference(r);
      assert.is(readSelection(r), null);
      return ref;
    });
    return encodeGetListRequest(w, invoke, refs);
  },
  193: (r, w) => {
    const [choice, invoke] = service(r);
    if (choice === 1) {
      const ref = reference(r);
      assert.is(readSelection(r), null);
      return encodeSetRequest(w, invoke, ref, decodeData(r));
    }
    if (choice === 2) {
      const ref = reference(r);
      assert.is(readSelection(r), null);
      writeSetReferences(w, invoke, [ref], true);
    } else w.u8(0xc1).u8(choice).u8(invoke);
    return writeOctets(w.u8(r.u8('last block')).u32(r.u32('block')), readOctets(r, 'raw data'));
  },
  195: (r, w) => {
    const [, invoke] = service(r);
    const { classId, ln, attribute: method } = reference(r);
    const parameter = r.u8('parameter') === 0 ? null : decodeData(r);
    encodeActionRequest(w, invoke, { classId, ln, method }, parameter);
  },
  196: (r, w) => {
    const response = decodeGetResponse(r);
    const { invoke } = response;
    if (response.choice === 2) {
      const { block, result, raw, isLast } = response;
      if (result !== 0) encodeGetBlockError(w, invoke, block, result);
      else encodeGetBlock(w, invoke, isLast, block, raw);
      return;
    }
    assert.is(response.choice, 1);
    const value = response.choice === 1 ? response.value : undefined;
    if (!value?.data) encodeGetError(w, invoke, value!.result);
    else encodeData(w.u8(0xc4).u8(1).u8(invoke).u8(0), value.data);
  },
  199: (r, w) => {
    const response = decodeActionResponse(r);
    assert.is(response.kind, 'results');
    const [answer] = response.kind === 'results' ? response.results : [];
    if (answer?.data) {
      encodeActionHeader(w, response.invoke);
      encodeData(w.u8(answer.result).u8(1).u8(0), answer.data);
    } else encodeActionResponse(w, response.invoke, answer!.result);
  },
  216: (r, w) => {
    const { state, service: code, expectedCounter } = decodeException(r);
    encodeException(w, state, code, expectedCounter ?? 0);
  },
  224: (r, w) => encodeGbt(w, decodeGbt(r)),
};

function release(r: ByteReader, w: ByteWriter, tag: 0x62 | 0x63): void {
  const { reason, userInformation } = decodeRelease(r, tag);
  encodeRelease(w, tag, reason, userInformation ? (inner) => inner.bytes(userInformation) : undefined);
}

/** Frames that are read and never written: each deviates from what the standard has, or holds what we leave out. */
const READ_ONLY: Readonly<Record<string, (r: ByteReader) => unknown>> = {
  'AARE rejected without user-information (must be parsed by clients)': decodeAare,
  'EventNotification, non-standard presence byte, as sent by an MX382 meter': decodeEventNotification,
  'ACTION.response success with return error 250': decodeActionResponse,
};
/** Services that nobody has negotiated with us. */
const NOT_SERVED = ['ACCESS.request two GETs'];

function check({ name, expected }: Vector): void {
  const bytes = fromHex(expected);
  const r = new ByteReader(bytes);
  const read = READ_ONLY[name];
  if (read) {
    assert.ok(read(r), name);
    assert.is(r.at, bytes.length, name);
    return;
  }
  const roundTrip = BY_TAG[bytes[0]!];
  assert.ok(roundTrip, `${name} begins with ${bytes[0]}`);
  const w = new ByteWriter(new Uint8Array(1024));
  roundTrip(r, w);
  assert.is(r.at, bytes.length, `${name} is read to its end`);
  assert.is(toHex(w.written()), expected, name);
}

for (const group of ['acse', 'xdlms', 'gbt'])
  Vectors(`${group}: what is read is written as the same bytes`, () => {
    let checked = 0;
    for (const each of vectors(group)) {
      if (NOT_SERVED.includes(each.name)) continue;
      check(each);
      checked++;
    }
    assert.ok(checked > 1, `${checked} frames`);
  });

Vectors('data: values, lengths and a packed array', () => {
  for (const { name, expected } of vectors('data')) {
    const r = new ByteReader(fromHex(expected));
    const w = new ByteWriter(new Uint8Array(64));
    if (name.startsWith('length')) writeLength(w, readLength(r, 'length'));
    else {
      const value = decodeAnyData(r);
      // Packed arrays are read only: not every client can.
      if (value.type === 'compact-array') continue;
      encodeData(w, value);
    }
    assert.is(toHex(w.written()), expected, name);
  }
});

Vectors('conformance: the block of an initiate request', () => {
  for (const { name, expected } of vectors('conformance')) {
    const request = `0100000006${expected}0400`;
    const { conformance, maxPdu } = decodeInitiateRequest(new ByteReader(fromHex(request)));
    const w = new ByteWriter(new Uint8Array(64));
    encodeInitiateRequest(w, conformance, maxPdu);
    assert.is(toHex(w.written()), request, name);
  }
});

Vectors('an event notification in the form of the standard', () => {
  const event = decodeEventNotification(new ByteReader(fromHex('c20000010000600101ff020900')));
  const { dateTime, value } = event;
  const w = new ByteWriter(new Uint8Array(64));
  encodeEventNotification(w, dateTime, event, value);
  assert.is(toHex(w.written()), 'c20000010000600101ff020900');
});

Vectors('every group of the file has a test', () => {
  const here = ['acse', 'xdlms', 'gbt', 'data', 'conformance'];
  const elsewhere = ['wrapper', 'gcm', 'hls', 'keywrap', 'transcript', 'datetime', 'hdlc', 'reject'];
  assert.equal([...new Set(file.vectors.map(({ group }) => group))].sort(), [...here, ...elsewhere].sort());
});

Vectors.run();
