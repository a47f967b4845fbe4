/**
 * A live server of the whole meter with an honest client beside the one that sends anything, and what must hold after each
 * answer.
 */

import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DecodeError } from '#base/errors';
import { Mechanism } from '#dlms/acse';
import { CIPHER_HEADROOM, CipherKey, sealApdu } from '#dlms/cipher';
import { DlmsClient } from '#dlms/client';
import { type ClientSecurityOptions, MemoryCounter } from '#dlms/client-security';
import { judgingTime } from '#dlms/cosem/clock';
import type { ImageSlot } from '#dlms/cosem/image-transfer';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import type { ServerSession } from '#dlms/server';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import { decodeFirmwareImage, verifyFirmwareImage } from '#session/firmware-image';
import type { Random } from '#test/random';
import {
  KEYS,
  METER_KEY,
  METER_PUBLIC,
  METER_TITLE,
  measure,
  PASSWORD,
  type TestMeter,
  testMeter,
  testSecurity,
} from '../interop/dlms-meter.ts';
import { NOW, SIGNER, signedCommand, TITLE, VERIFIER } from './dlms-corpus.ts';

export const LIMIT = WRAPPER_SIZE + 2048;
/** Answers to one request: general block transfer sends at most 63 blocks in a row. */
export const MOST_ANSWERS = 64;
export const NAME = { classId: 1, ln: parseObis('0-0:42.0.0.255'), attribute: 2 };
export const CONTROL = { classId: 70, ln: parseObis('0-0:96.3.10.255'), method: 1 };
export const PASSWORD_BYTES = asciiBytes(PASSWORD);
export const HONEST_TITLE = asciiBytes('S3H00002');

/** A slot in memory that takes images of the release key only. */
export function imageSlot(capacity: number): { slot: ImageSlot; judge: (size: number | undefined) => boolean } {
  const bytes = new Uint8Array(capacity);
  const slot: ImageSlot = {
    capacity,
    load: () => undefined,
    begin: () => true,
    write: (offset, data) => {
      bytes.set(data, offset);
      return true;
    },
    save() {},
    read: (offset, length) => bytes.subarray(offset, offset + length),
    digest: (length) => nodeCrypto.hash('sha256', bytes.subarray(0, length)),
  };
  const judge = (size: number | undefined) => {
    if (size === undefined) return false;
    try {
      return verifyFirmwareImage(decodeFirmwareImage(slot.read(0, size)), VERIFIER, nodeCrypto) === null;
    } catch (error) {
      if (error instanceof DecodeError) return false;
      throw error;
    }
  };
  return { slot, judge };
}

/** One meter under attack, by one client or many. */
export class Fuzzed {
  readonly meter: TestMeter;
  readonly transport: 'datagram' | 'stream';
  readonly suite: 0 | 1;
  readonly #counter = new MemoryCounter();
  readonly #honestCounter = new MemoryCounter();
  readonly #out = new Uint8Array(LIMIT);
  readonly #global = new CipherKey(nodeCrypto.gcmKey(KEYS.unicast), KEYS.authentication);
  #dedicated: CipherKey | null = null;
  #commands = 1_000_000;
  #session: ServerSession;
  #clientSap = 1;
  #sessions = 0;
  #activated = 0;
  #epochMs = 0;
  #nowMs = 0;

  constructor(transport: 'datagram' | 'stream', suite: 0 | 1 = 0) {
    this.transport = transport;
    this.suite = suite;
    const pair = { signing: nodeCrypto.signingKey(fromHex(METER_KEY)), clientKey: VERIFIER };
    const security = testSecurity(suite === 1 ? { suite, ...pair } : {});
    const accept = (number: number) => security.options.counters.acceptCommand(number);
    // The signed commands of the corpus were carried out already: only a forged one could switch.
    accept(10);
    const { slot, judge } = imageSlot(1 << 16);
    const activate = () => {
      this.#activated++;
      return true;
    };
    this.meter = testMeter(
      { security, commands: 'signed', imageSlot: slot, images: { judge, activate }, sendPush: () => true },
      {
        epochS: judgingTime(() => ({ epochMs: NOW * 1000, isSet: true })),
        commands: { keys: [VERIFIER], title: METER_TITLE, accept },
      },
    );
    this.#epochMs = this.meter.clock.epochMs;
    this.#session = this.#open();
  }

  /** A new session of a source that has not failed yet; the last one is gone. */
  fresh(): void {
    this.#session.close();
    this.#dedicated = null;
    this.#session = this.#open();
  }

  #open(): ServerSession {
    const { transport } = this;
    const key = `fuzzed ${this.#sessions++}`;
    return this.meter.server.session(key, { transport, source: key }, this.#nowMs)!;
  }

  client(options: { sap: number; maxPdu?: number; isDedicated?: boolean; conformance?: number }): DlmsClient {
    const { sap, maxPdu = 1024, isDedicated = false, conformance } = options;
    this.#clientSap = sap;
    // Every random value that the client makes is its dedicated key, or as good as one.
    const crypto = {
      ...nodeCrypto,
      random: (length: number) => {
        const value = nodeCrypto.random(length);
        if (isDedicated) this.#dedicated = new CipherKey(nodeCrypto.gcmKey(value), KEYS.authentication);
        return value;
      },
    };
    const security = { ...this.#keys(TITLE, this.#counter), crypto, hasDedicatedKey: isDedicated };
    return new DlmsClient({
      clientSap: sap,
      maxPdu,
      ...(conformance === undefined ? {} : { conformance }),
      ...(sap === 17 ? { password: PASSWORD_BYTES } : sap === 1 ? { security } : {}),
    });
  }

  #keys(title: Uint8Array, counter: MemoryCounter): ClientSecurityOptions {
    const { unicast, authentication } = KEYS;
    const base = { crypto: nodeCrypto, title, unicast, authentication, counter };
    if (this.suite === 0) return { ...base, mechanism: Mechanism.gmac };
    const serverKey = nodeCrypto.verifyKey(fromHex(METER_PUBLIC));
    return { ...base, mechanism: Mechanism.ecdsa, suite: 1, signing: SIGNER, serverKey };
  }

  /** Runs an operation over the session. */
  run<T>(operation: Exchange<T>): T {
    return exchangeSync(operation, (frame) => this.#ask(this.#session, frame));
  }

  /** The first request of an operation and its answer; the operation goes no further. */
  begin(operation: Exchange<unknown>): void {
    this.#ask(this.#session, operation.next().value as Uint8Array);
  }

  /** Gives the session a frame. @returns the first frame of the answer */
  ask(frame: Uint8Array): Uint8Array {
    return this.#ask(this.#session, frame);
  }

  #ask(session: ServerSession, frame: Uint8Array): Uint8Array {
    const length = session.receive(frame.slice(), this.#out, ++this.#nowMs);
    return this.#out.slice(0, length);
  }

  /** Sends a probe. @returns the answer's APDU as hex */
  probe(request: string, tag?: number): string {
    const plain = fromHex(request);
    const apdu = tag === undefined ? plain : this.sealed(plain, tag);
    const frame = new Uint8Array(WRAPPER_SIZE + apdu.length);
    encodeWrapperHeader(frame, 0, this.#clientSap, 1, apdu.length);
    frame.set(apdu, WRAPPER_SIZE);
    return toHex(this.ask(frame), WRAPPER_SIZE);
  }

  /** Sends one APDU as the client; what comes back is within the limits. @param sap  another client than the one inside */
  send(apdu: Uint8Array, sap = this.#clientSap): void {
    if (apdu.length === 0) return;
    const frame = new Uint8Array(WRAPPER_SIZE + apdu.length);
    encodeWrapperHeader(frame, 0, sap, 1, apdu.length);
    frame.set(apdu, WRAPPER_SIZE);
    this.sendFrame(frame);
  }

  sendFrame(frame: Uint8Array): void {
    this.#nowMs += 5;
    let length = this.#session.receive(frame, this.#out, this.#nowMs);
    let answers = 0;
    for (; length > 0; length = this.#session.next(this.#out)) {
      if (length <= WRAPPER_SIZE || length > LIMIT || ++answers > MOST_ANSWERS)
        throw new Error(`answer ${answers} of ${length} bytes`);
    }
  }

  /** The plain APDU under the right key, so that what is inside meets the decoders. */
  sealed(apdu: Uint8Array, tag: number): Uint8Array {
    const isDedicated = tag === 0xdc || (tag >= 0xd0 && tag <= 0xd7);
    const key = (isDedicated ? this.#dedicated : null) ?? this.#global;
    const w = new ByteWriter(new Uint8Array(2048));
    w.at = CIPHER_HEADROOM;
    w.bytes(apdu);
    const style = { tag, sc: 0x30 | this.suite, hasTitle: true };
    sealApdu(w, 0, CIPHER_HEADROOM, style, key, TITLE, this.#counter.next());
    return w.written();
  }

  /** Nothing that was sent so far has switched anything, and an honest client is served and obeyed. */
  check(): void {
    const { meter } = this;
    assert.equal(meter.relay.moves, [], 'nothing unsigned switches');
    assert.is(this.#activated, 0, 'nothing unsigned starts');
    assert.is(meter.clock.epochMs, this.#epochMs, 'nothing unsigned sets the clock');
    meter.events.length = 0;
    assert.ok(meter.server.sessionCount <= 32, `${meter.server.sessionCount} sessions`);
    // Time passes for the model: schedules, profiles and the limiter look at what was written.
    this.#nowMs += 1000;
    meter.clock.steadyMs += 1000;
    meter.clock.epochMs += 1000;
    this.#epochMs = meter.clock.epochMs;
    measure(meter);
    meter.model.tick();
    const honest = meter.server.session('honest', { transport: this.transport, source: 'honest' }, this.#nowMs);
    assert.ok(honest, 'there is room for an honest client');
    const ask = (frame: Uint8Array) => this.#ask(honest, frame);
    const reader = new DlmsClient({ clientSap: 17, password: PASSWORD_BYTES });
    exchangeSync(reader.associate(), ask);
    const { registers } = exchangeSync(reader.readRegisters(['1-0:32.7.0.255']), ask);
    assert.is(registers[0]!.value, 230.12);
    const client = new DlmsClient({ clientSap: 1, security: this.#keys(HONEST_TITLE, this.#honestCounter) });
    exchangeSync(client.associate(), ask);
    assert.is(exchangeSync(client.get(NAME), ask).type, 'octet-string');
    const sign = (content: Uint8Array) => signedCommand(content, ++this.#commands);
    for (const method of [1, 2]) exchangeSync(client.signed(sign, client.action({ ...CONTROL, method })), ask);
    assert.is(meter.relay.moves.length, 2, 'a signed command is obeyed');
    meter.relay.moves.length = 0;
    honest.close();
  }

  /** Many clients that say something once. */
  stranger(random: Random, apdu: Uint8Array): void {
    const { transport } = this;
    const key = `stranger ${random.u32()}`;
    const session = this.meter.server.session(key, { transport, source: key }, this.#nowMs);
    if (!session) return;
    const mine = this.#session;
    this.#session = session;
    this.send(apdu, [1, 16, 17][random.below(3)]!);
    this.#session = mine;
  }
}
