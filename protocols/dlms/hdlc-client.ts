/**
 * The client's side of one HDLC link (IEC 62056-46 §6.4): connection, segmentation, windows and repetition below the DLMS
 * client. Pure: operations are generators that yield what to send and are resumed with one received frame, or with null
 * when nothing came in time; an empty yield waits for a further frame. An operation sends again by itself, three times.
 */

import { equalBytes } from '#base/bytes';
import { DlmsError, S3mpError } from '#base/errors';
import {
  agree,
  Control,
  decodeParameters,
  encodeAddress,
  encodeFrame,
  encodeParameters,
  FRAME_OVERHEAD,
  type HdlcFrame,
  information,
  isInformation,
  isPollFinal,
  type LinkParameters,
  LLC_ANSWER,
  LLC_REQUEST,
  LLC_SIZE,
  MAX_WINDOW,
  receiveNumber,
  receiveReady,
  sendNumber,
} from '#dlms/hdlc';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';

/** Yields frames to send, one behind the other, and takes one received frame at a time; null says that none came. */
export type HdlcOperation<T> = Generator<Uint8Array, T, HdlcFrame | null>;

export interface HdlcClientOptions {
  readonly clientSap: number;
  readonly serverSap?: number;
  /** Physical address of the meter; without it the server address is the logical one alone. */
  readonly physicalAddress?: number;
  /** Longest information field either way. Default 512. */
  readonly maxInfo?: number;
  /** Frames on the way at a time. Default 7. */
  readonly window?: number;
  /** Longest APDU that is put together. Default 64 KiB. */
  readonly maxPdu?: number;
}

const ATTEMPTS = 4;
const NOTHING = new Uint8Array(0);

export class HdlcClientLink {
  readonly #client: Uint8Array;
  readonly #server: Uint8Array;
  readonly #clientSap: number;
  readonly #serverSap: number;
  readonly #wishes: LinkParameters;
  readonly #maxPdu: number;
  readonly #out: Uint8Array;
  #parameters: LinkParameters | null = null;
  #vs = 0;
  #vr = 0;

  constructor(options: HdlcClientOptions) {
    const { clientSap, serverSap = 1, physicalAddress, maxInfo = 512, window = MAX_WINDOW } = options;
    this.#clientSap = clientSap;
    this.#serverSap = serverSap;
    this.#client = encodeAddress(clientSap);
    this.#server = encodeAddress(serverSap, physicalAddress ?? null);
    this.#wishes = { maxInfoSend: maxInfo, maxInfoReceive: maxInfo, windowSend: window, windowReceive: window };
    this.#maxPdu = options.maxPdu ?? 0x1_0000;
    this.#out = new Uint8Array(MAX_WINDOW * (maxInfo + FRAME_OVERHEAD));
  }

  get isConnected(): boolean {
    return this.#parameters !== null;
  }

  /** What was agreed on; null while not connected. */
  get parameters(): LinkParameters | null {
    return this.#parameters;
  }

  /** Connects: SNRM, UA. @throws DlmsError `dlms.association-rejected` for DM, S3mpError `meter.unreachable` */
  *connect(): HdlcOperation<void> {
    this.#parameters = null;
    const frame = yield* this.#command(Control.snrm, encodeParameters(this.#wishes));
    if (frame.control !== Control.ua)
      throw new DlmsError('dlms.association-rejected', `the meter answers SNRM with control ${frame.control}`);
    const peer = decodeParameters(frame.info);
    if (!peer) throw new DlmsError('dlms.unexpected-answer', 'the meter answers SNRM with broken parameters');
    this.#parameters = agree(this.#wishes, peer);
    this.#vs = 0;
    this.#vr = 0;
  }

  /** Ends the link; UA and DM both mean that it is over. */
  *disconnect(): HdlcOperation<void> {
    this.#parameters = null;
    yield* this.#command(Control.disc, NOTHING);
  }

  /** Sends a command until it is answered by a frame without number. */
  *#command(control: number, info: Uint8Array): HdlcOperation<HdlcFrame> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      let frame = yield this.#frame(control, info);
      while (frame && !(this.#isMine(frame) && (frame.control & 0x03) === 0x03 && frame.control !== Control.ui))
        frame = yield NOTHING;
      if (frame) return frame;
    }
    throw silence();
  }

  /**
   * Sends one APDU and takes the answer.
   * @param request  a wrapper frame between the two access points
   * @returns the answer as a wrapper frame
   * @throws DlmsError `dlms.not-associated` when the meter has ended the link, S3mpError `meter.unreachable`
   */
  *exchange(request: Uint8Array): HdlcOperation<Uint8Array> {
    const { maxInfoSend, windowSend } = this.#connected();
    const info = new Uint8Array(LLC_SIZE + request.length - WRAPPER_SIZE);
    info.set(LLC_REQUEST);
    info.set(request.subarray(WRAPPER_SIZE), LLC_SIZE);
    const count = Math.ceil(info.length / maxInfoSend);
    const first = this.#vs;
    /** Segments that the meter has, and that are on the way. */
    let taken = 0;
    let sent = 0;
    let silent = 0;
    const answer: Uint8Array[] = [];
    let size = 0;
    const window = (): Uint8Array => {
      let at = 0;
      const to = Math.min(count, taken + windowSend);
      for (sent = taken; sent < to; sent++) {
        const part = info.subarray(sent * maxInfoSend, (sent + 1) * maxInfoSend);
        const control = information((first + sent) & 7, this.#vr, sent === to - 1);
        at = encodeFrame(this.#out, at, this.#server, this.#client, control, part, sent < count - 1);
      }
      return this.#out.subarray(0, at);
    };
    let out = window();
    for (;;) {
      const frame: HdlcFrame | null = yield out;
      out = NOTHING;
      if (!frame) {
        if (++silent >= ATTEMPTS) throw silence();
        // A poll finds out what was lost: the meter says what it has, or gives its answer again.
        out = this.#frame(receiveReady(this.#vr), NOTHING);
        continue;
      }
      if (!this.#isMine(frame)) continue;
      const { control } = frame;
      if (control === Control.dm || control === Control.frmr) {
        this.#parameters = null;
        throw new DlmsError('dlms.not-associated', 'the meter has ended the HDLC link');
      }
      if ((control & 0x03) === 0x03) continue;
      const acknowledged = (receiveNumber(control) - first - taken) & 7;
      if (acknowledged <= sent - taken) taken += acknowledged;
      this.#vs = (first + taken) & 7;
      if (!isInformation(control)) {
        if (!isPollFinal(control)) continue;
        if (taken < count) out = window();
        else if (size > 0) out = this.#frame(receiveReady(this.#vr), NOTHING);
        continue;
      }
      if (sendNumber(control) === this.#vr && taken === count) {
        silent = 0;
        this.#vr = (this.#vr + 1) & 7;
        answer.push(frame.info.slice());
        size += frame.info.length;
        if (size > this.#maxPdu + LLC_SIZE) throw unexpected(`an APDU longer than ${this.#maxPdu} bytes`);
        if (!frame.isSegmented) return this.#assemble(answer, size);
      }
      if (isPollFinal(control)) out = this.#frame(receiveReady(this.#vr), NOTHING);
    }
  }

  #connected(): LinkParameters {
    if (!this.#parameters) throw new DlmsError('dlms.not-associated', 'the HDLC link is not connected');
    return this.#parameters;
  }

  #isMine({ destination, source }: HdlcFrame): boolean {
    // Some meters answer with another size of address; the logical address tells them apart.
    return (
      equalBytes(destination.bytes, this.#client) &&
      (source.upper === this.#serverSap || equalBytes(source.bytes, this.#server))
    );
  }

  #assemble(parts: readonly Uint8Array[], size: number): Uint8Array {
    const whole = new Uint8Array(WRAPPER_SIZE - LLC_SIZE + size);
    let at = WRAPPER_SIZE - LLC_SIZE;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    if (!equalBytes(whole.subarray(WRAPPER_SIZE - LLC_SIZE, WRAPPER_SIZE), LLC_ANSWER))
      throw unexpected('an APDU without LLC header');
    encodeWrapperHeader(whole, 0, this.#serverSap, this.#clientSap, whole.length - WRAPPER_SIZE);
    return whole;
  }

  #frame(control: number, info: Uint8Array): Uint8Array {
    return this.#out.subarray(0, encodeFrame(this.#out, 0, this.#server, this.#client, control, info));
  }
}

function silence(): S3mpError {
  return new S3mpError('meter.unreachable', `no answer to ${ATTEMPTS} frames`);
}

function unexpected(what: string): DlmsError {
  return new DlmsError('dlms.unexpected-answer', `the meter answered with ${what}`);
}
