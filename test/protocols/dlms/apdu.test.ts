/** ACSE, initiate and service APDUs against published frames, both directions. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DecodeError } from '#base/errors';
import {
  type AarqFields,
  decodeAare,
  decodeAarq,
  decodeRelease,
  encodeAare,
  encodeAarq,
  encodeRelease,
} from '#dlms/acse';
import { decodeActionResponse, encodeActionRequest, encodeActionResponse } from '#dlms/action';
import { type Data, decodeData, encodeData } from '#dlms/axdr';
import {
  blockCapacity,
  decodeGetResponse,
  encodeGetBlock,
  encodeGetBlockError,
  encodeGetError,
  encodeGetListRequest,
  encodeGetNext,
  encodeGetRequest,
} from '#dlms/get';
import {
  decodeConfirmedServiceError,
  decodeInitiateRequest,
  decodeInitiateResponse,
  encodeInitiateError,
  encodeInitiateRequest,
  encodeInitiateResponse,
} from '#dlms/initiate';
import { parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import { decodeException, encodeException } from '#dlms/result';
import { decodeSetResponse, encodeSetRequest, encodeSetResponse } from '#dlms/set';
import { encodeWrapperHeader, isWrapperFrame, WrapperStream } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { vector } from './vectors.ts';

const Apdu = suite('dlms apdus');

const reader = (name: string) => new ByteReader(fromHex(vector(name).expected));

function written(write: (w: ByteWriter) => unknown): string {
  const w = new ByteWriter(new Uint8Array(2048));
  write(w);
  return toHex(w.written());
}

const ref = (classId: number, obis: string, attribute: number) => ({ classId, ln: parseObis(obis), attribute });

// Association

const AARQS: readonly (readonly [string, AarqFields, number, number])[] = [
  ['AARQ no security', { context: 1, mechanism: 0 }, 0x7e1f, 1200],
  ['AARQ LLS 12345678', { context: 1, mechanism: 1, authentication: asciiBytes('12345678') }, 0x7e1f, 1200],
  [
    'AARQ HLS-GMAC unciphered, challenge K56iVagY',
    { context: 1, mechanism: 5, authentication: asciiBytes('K56iVagY') },
    0x7e1f,
    1200,
  ],
  ['AARQ HLS mechanism 2', { context: 1, mechanism: 2, authentication: asciiBytes('12345678') }, 0x7e1f, 65_535],
  ['AARQ max conformance example', { context: 1, mechanism: 0 }, 0x1e1d, 65_535],
];

Apdu('association requests match their vectors in both directions', () => {
  for (const [name, fields, conformance, maxPdu] of AARQS) {
    const { expected } = vector(name);
    assert.is(
      written((w) => encodeAarq(w, fields, (inner) => encodeInitiateRequest(inner, conformance, maxPdu))),
      expected,
      name,
    );
    const aarq = decodeAarq(reader(name));
    assert.is(aarq.context, fields.context);
    assert.is(aarq.mechanism, fields.mechanism);
    assert.equal(aarq.authentication?.slice() ?? undefined, fields.authentication);
    const initiate = decodeInitiateRequest(new ByteReader(aarq.userInformation!));
    assert.equal([initiate.dlmsVersion, initiate.conformance, initiate.maxPdu], [6, conformance, maxPdu]);
  }
});

Apdu('a ciphered association request is taken apart around its sealed part', () => {
  const aarq = decodeAarq(reader('AARQ ciphered LLS with dedicated key'));
  assert.equal([aarq.context, aarq.mechanism], [3, 1]);
  assert.is(toHex(aarq.callingTitle!), '4d4d4d0000bc614e');
  assert.is(aarq.userInformation![0], 0x21);
  const { inputs } = vector('AARQ ciphered LLS with dedicated key');
  const initiate = decodeInitiateRequest(new ByteReader(fromHex(String(inputs.initiateRequest))));
  assert.is(initiate.dedicatedKey?.length, 16);
});

Apdu('association responses match their vectors in both directions', () => {
  const respond = (result: number, diagnostic: number, conformance: number, maxPdu: number) =>
    written((w) =>
      encodeAare(w, { context: 1, result, diagnostic }, (inner) => encodeInitiateResponse(inner, conformance, maxPdu)),
    );
  assert.is(respond(0, 0, 0x501f, 500), vector('AARE accepted').expected);
  assert.is(respond(1, 2, 0x501f, 500), vector('AARE context not supported').expected);
  assert.is(respond(0, 0, 0x1e1d, 1224), vector('AARE conformance 001e1d, pdu 1224').expected);
  const accepted = decodeAare(reader('AARE accepted'));
  assert.equal([accepted.result, accepted.diagnostic, accepted.context], [0, 0, 1]);
  assert.equal(decodeInitiateResponse(new ByteReader(accepted.userInformation!)), {
    dlmsVersion: 6,
    conformance: 0x501f,
    maxPdu: 500,
  });
  const low = decodeAare(reader('AARE dlms version too low (ConfirmedServiceError)'));
  assert.equal(decodeConfirmedServiceError(new ByteReader(low.userInformation!)), { choice: 1, group: 6, value: 1 });
  assert.is(
    written((w) => encodeAare(w, { context: 1, result: 1, diagnostic: 1 }, (inner) => encodeInitiateError(inner, 1))),
    vector('AARE dlms version too low (ConfirmedServiceError)').expected,
  );
  const bare = decodeAare(reader('AARE rejected without user-information (must be parsed by clients)'));
  assert.equal([bare.result, bare.diagnostic, bare.userInformation], [1, 13, null]);
});

Apdu('high-level and ciphered responses are written and read with challenge and title', () => {
  const pending = vector('AARE HLS pending');
  const challenge = fromHex(String(pending.inputs.StoC));
  assert.is(
    written((w) =>
      encodeAare(w, { context: 1, result: 0, diagnostic: 14, mechanism: 5, challenge }, (inner) =>
        encodeInitiateResponse(inner, 0x501f, 500),
      ),
    ),
    pending.expected,
  );
  const decoded = decodeAare(reader('AARE HLS pending'));
  assert.equal([decoded.diagnostic, decoded.mechanism, toHex(decoded.authentication!)], [14, 5, pending.inputs.StoC]);
  const titled = decodeAare(reader('AARE ciphered with responding AP title'));
  assert.is(toHex(titled.respondingTitle!), '4d4d4d0000bc614e');
  assert.is(titled.userInformation![0], 0x28);
});

Apdu('releases match their vectors, sealed parts included', () => {
  assert.is(
    written((w) => encodeRelease(w, 0x62)),
    vector('RLRQ normal').expected,
  );
  assert.is(
    written((w) => encodeRelease(w, 0x63)),
    vector('RLRE normal').expected,
  );
  assert.equal(decodeRelease(new ByteReader(fromHex('6200')), 0x62), { reason: 0, userInformation: null });
  assert.is(decodeRelease(reader('RLRQ protected'), 0x62).userInformation![0], 0x21);
  assert.is(decodeRelease(reader('RLRE protected'), 0x63).userInformation![0], 0x28);
  assert.throws(
    () => decodeRelease(reader('RLRQ normal'), 0x63),
    (e: unknown) => e instanceof DecodeError,
  );
});

Apdu('broken association requests are refused as such', () => {
  const { expected } = vector('AARQ no security');
  const broken = {
    'indefinite length': `6080${expected.slice(4)}0000`,
    'length of three bytes': `60830000${expected.slice(2)}`,
    'length past the end': `601e${expected.slice(4)}`,
    'bytes behind it': `${expected}00`,
    'child past its parent': expected.replace('be10040e', 'be10040f'),
    'field twice': `6028${expected.slice(4, 26)}${expected.slice(4)}`,
    'authentication without choice': '6004ac020400',
  };
  for (const [what, hex] of Object.entries(broken))
    assert.throws(
      () => decodeAarq(new ByteReader(fromHex(hex))),
      (e: unknown) => e instanceof DecodeError,
      what,
    );
});

Apdu('unknown fields are skipped and the order of fields is free', () => {
  const context = 'a109060760857405080101';
  const initiate = 'be10040e01000000065f1f0400007e1f04b0';
  const aarq = decodeAarq(new ByteReader(fromHex(`6026${initiate}bd020102a803020101${context}`)));
  assert.is(aarq.context, 1);
  assert.ok(aarq.userInformation);
  assert.ok(aarq.version1);
  assert.not.ok(decodeAarq(new ByteReader(fromHex(`600f80020640${context}`))).version1);
  assert.is(decodeAarq(new ByteReader(fromHex('600ba109060760857405080201'))).context, -1, 'a mechanism is no context');
});

Apdu('the conformance block is read with its two-byte and its shortened tag', () => {
  const initiate = (block: string) => decodeInitiateRequest(new ByteReader(fromHex(`0100000006${block}04b0`)));
  assert.is(initiate(vector('conformance 00007e1f').expected).conformance, 0x7e1f);
  assert.is(initiate(vector('conformance 0000501f').expected).conformance, 0x501f);
  assert.is(initiate(vector('conformance Gurux LN client default').expected).conformance, 0x401e5d);
  assert.is(initiate('5f0400007e1f').conformance, 0x7e1f);
});

// Services

Apdu('GET requests match their vectors', () => {
  const invoke = 0xc1;
  const counter = ref(1, '0.0.43.1.0.255', 2);
  assert.is(
    written((w) => encodeGetRequest(w, invoke, counter)),
    vector('GET.request normal invocation counter').expected,
  );
  assert.is(
    written((w) => encodeGetNext(w, invoke, 3)),
    vector('GET.request next block 3').expected,
  );
  const list = [ref(1, '0.0.42.0.0.255', 2), ref(8, '0.0.1.0.0.255', 2)];
  assert.is(
    written((w) => encodeGetListRequest(w, invoke, list)),
    vector('GET.request with list').expected,
  );
});

Apdu('GET responses match their vectors in both directions', () => {
  const value = decodeGetResponse(reader('GET.response normal double-long-unsigned 5009'));
  assert.equal(value, {
    choice: 1,
    invoke: 0xc1,
    value: { data: { type: 'double-long-unsigned', value: 5009 }, result: 0 },
  });
  const fault = decodeGetResponse(reader('GET.response error hardware-fault'));
  assert.equal(fault, { choice: 1, invoke: 0xc1, value: { data: null, result: 1 } });
  assert.is(
    written((w) => encodeGetError(w, 0xc1, 1)),
    vector('GET.response error hardware-fault').expected,
  );
  const block = decodeGetResponse(reader('GET.response last block with error'));
  assert.ok(block.choice === 2);
  assert.equal([block.isLast, block.block, block.result, block.raw.length], [true, 19, 1, 0]);
  assert.is(
    written((w) => encodeGetBlockError(w, 0xc1, 19, 1)),
    vector('GET.response last block with error').expected,
  );
});

Apdu('a block fills its PDU to the byte and never more', () => {
  for (let maxPdu = 64; maxPdu <= 1100; maxPdu++) {
    const size = (n: number) => written((w) => encodeGetBlock(w, 0xc1, false, 1, new Uint8Array(n))).length / 2;
    const capacity = blockCapacity(maxPdu);
    assert.ok(size(capacity) <= maxPdu, `${maxPdu} fits`);
    assert.ok(size(capacity + 1) > maxPdu, `${maxPdu} is filled`);
  }
});

Apdu('SET frames match their vectors', () => {
  const time: Data = { type: 'octet-string', value: fromHex('07e50118ff0e303950ffc400') };
  assert.is(
    written((w) => encodeSetRequest(w, 0xc1, ref(8, '0.0.1.0.0.255', 2), time)),
    vector('SET.request clock time').expected,
  );
  const text: Data = { type: 'octet-string', value: asciiBytes('Power cut 18:00') };
  assert.is(
    written((w) => encodeSetRequest(w, 0xc1, ref(1, '0.0.96.13.0.255', 2), text)),
    vector('SET.request consumer message text').expected,
  );
  assert.is(
    written((w) => encodeSetResponse(w, 0xc1, 3)),
    'c501c103',
  );
  assert.equal(decodeSetResponse(new ByteReader(fromHex('c501c103'))).results, Uint8Array.of(3));
  assert.equal(decodeSetResponse(new ByteReader(fromHex('c505c102000c'))).results, Uint8Array.of(0, 12));
  assert.equal(decodeSetResponse(new ByteReader(fromHex('c502c100000007'))), { invoke: 0xc1, results: null, block: 7 });
  assert.is(decodeSetResponse(new ByteReader(fromHex('c503c10000000008'))).block, 8);
});

Apdu('ACTION frames match their vectors in both directions', () => {
  const method = (obis: string, classId: number, id: number) => ({ classId, ln: parseObis(obis), method: id });
  const hls = method('0.0.40.0.0.255', 15, 1);
  const parameter: Data = { type: 'octet-string', value: fromHex('1000001a90e6d2221fa2fd85eed61acc22') };
  assert.is(
    written((w) => encodeActionRequest(w, 0xc0, hls, parameter)),
    vector('ACTION.request with data').expected,
  );
  assert.is(
    written((w) => encodeActionRequest(w, 0xc0, hls, null)),
    vector('ACTION.request without data').expected,
  );
  const zero: Data = { type: 'integer', value: 0 };
  const control = (id: number) => method('0.0.96.3.10.255', 70, id);
  assert.is(
    written((w) => encodeActionRequest(w, 0xc1, control(1), zero)),
    vector('ACTION.request remote_disconnect integer 0').expected,
  );
  assert.is(
    written((w) => encodeActionRequest(w, 0xc1, control(2), zero)),
    vector('ACTION.request remote_reconnect integer 0').expected,
  );
  assert.is(
    written((w) => encodeActionResponse(w, 0xc0, 0)),
    vector('ACTION.response success no data').expected,
  );
  assert.equal(decodeActionResponse(reader('ACTION.response success no data')), {
    kind: 'results',
    invoke: 0xc0,
    results: [{ result: 0, data: null }],
  });
  const first = (name: string) => {
    const response = decodeActionResponse(reader(name));
    return response.kind === 'results' ? response.results[0] : undefined;
  };
  const data = first('ACTION.response success with data')?.data;
  assert.is(data?.type === 'octet-string' && data.value.length, 17);
  assert.is(first('ACTION.response success with return error 250')?.result, 250);
});

Apdu('exceptions match their vectors in both directions', () => {
  const cases = [
    ['ExceptionResponse service-not-allowed/service-not-supported', 1, 2, null],
    ['ExceptionResponse deciphering error', 1, 5, null],
    ['ExceptionResponse invocation-counter-error expected 0x01234568', 2, 6, 0x01234568],
  ] as const;
  for (const [name, state, service, expectedCounter] of cases) {
    assert.equal(decodeException(reader(name)), { state, service, expectedCounter });
    assert.is(
      written((w) => encodeException(w, state, service, expectedCounter ?? 0)),
      vector(name).expected,
    );
  }
});

Apdu('parameters of long requests decode as values that encode back to their bytes', () => {
  for (const name of ['GET.request profile by range 2026-11-22..23 UTC', 'GET.request profile by entry 1..10']) {
    const bytes = fromHex(vector(name).expected);
    const r = new ByteReader(bytes, 3 + 9 + 2);
    const selection = decodeData(r);
    r.expectEnd(name);
    assert.is(
      written((w) => encodeData(w, selection)),
      toHex(bytes, 14),
      name,
    );
  }
});

// Wrapper

Apdu('a wrapper datagram matches its vector', () => {
  const { inputs, expected } = vector('wrapper + general-glo-ciphering datagram');
  const apdu = fromHex(String(inputs.apdu));
  const out = new Uint8Array(8 + apdu.length);
  assert.is(encodeWrapperHeader(out, 0, 1, 1, apdu.length), 8);
  out.set(apdu, 8);
  assert.is(toHex(out), expected);
  assert.ok(isWrapperFrame(out));
  assert.not.ok(isWrapperFrame(out.subarray(0, out.length - 1)));
  assert.not.ok(isWrapperFrame(fromHex('0001000100010000')), 'an empty APDU');
  assert.not.ok(isWrapperFrame(fromHex('000200010001000100')), 'version 2');
});

Apdu('a stream is cut into the same frames however it is split', () => {
  const frames = ['000100100001000362 0100', '0001001000010000', '00010010000100020102'].map((hex) => fromHex(hex));
  const all = frames.flatMap((frame) => [...frame]);
  for (let split = 0; split <= all.length; split++) {
    for (const step of [1, 3, all.length]) {
      const stream = new WrapperStream(16);
      const seen: string[] = [];
      const push = (bytes: number[]) => stream.push(Uint8Array.from(bytes), (frame) => seen.push(toHex(frame)) > 0);
      push(all.slice(0, split));
      for (let at = split; at < all.length; at += step) push(all.slice(at, at + step));
      assert.equal(
        seen,
        frames.map((frame) => toHex(frame)),
      );
      assert.not.ok(stream.isPartial);
    }
  }
});

Apdu('a stream with a wrong version or an oversized frame is at its end', () => {
  const faultOf = (hex: string) => {
    const stream = new WrapperStream(16);
    stream.push(fromHex(hex), () => {
      assert.unreachable('no frame');
      return true;
    });
    return stream.fault;
  };
  assert.is(faultOf('0002001000010001'), 'version');
  assert.is(faultOf('0001001000010011'), 'oversize');
  assert.is(faultOf('000100100001ffff'), 'oversize');
  assert.is(faultOf('00010010000100'), null);
});

Apdu.run();
