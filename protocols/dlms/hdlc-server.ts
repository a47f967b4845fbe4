/**
 * The server's side of one HDLC link (IEC 62056-46 §6.4): connection, segmentation and windows below a session of the
 * DLMS server. Pure: frames come in, frames go out through `send`, an adapter has the port and the time.
 *
 *   disconnected ──SNRM/UA──► normal response mode ──DISC/UA, inactivity, refused frame──► disconnected
 *
 * The server speaks only when it was polled: an answer, as many segments as the client takes at a time, or RR. Frames in
 * the normal response mode of another client are dropped; its SNRM takes the link over.
 */

import { equalBytes } from '#base/bytes';
import {
  agree,
  Control,
  DEFAULT_PARAMETERS,
  decodeParameters,
  encodeFrame,
  encodeParameters,
  FRAME_OVERHEAD,
  type HdlcFrame,
  information,
  isInformation,
  isPollFinal,
  isReceiveReady,
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

/** What lies above the link: a session of the DLMS server. */
export interface HdlcUpper {
  /** Handles one wrapper frame. @returns bytes of the answer's wrapper frame in `out`, or 0 */
  receive(frame: Uint8Array, out: Uint8Array, nowMs: number): number;
  close(): void;
}

export interface HdlcServerOptions {
  /** Longest APDU either way. */
  readonly maxPdu: number;
  /** Makes a session when a client connects; undefined when there is no room. */
  readonly open: () => HdlcUpper | undefined;
  /** Takes a frame; valid during the call. */
  readonly send: (frame: Uint8Array) => void;
  /** Access points of the logical devices. */
  readonly serverSap: number;
  /** Own physical address; without it any is taken, as on a line with one meter. */
  readonly physicalAddress?: number;
  /** Longest information field. Default 512. */
  readonly maxInfo?: number;
  /** A link without frames for this long is over. Default 120 s. */
  readonly inactivityMs?: number;
}

interface Link {
  readonly server: Uint8Array;
  readonly client: Uint8Array;
  readonly serverSap: number;
  readonly clientSap: number;
  readonly parameters: LinkParameters;
  readonly upper: HdlcUpper;
  /** The request that is put together, as a wrapper frame. */
  readonly request: Uint8Array;
  requestSize: number;
  /** LLC and APDU of the answer begin at `answerAt`. */
  readonly answer: Uint8Array;
  /** Where the next segment begins. */
  nextAt: number;
  answerEnd: number;
  /** V(S), V(R), and the oldest number that was not acknowledged. */
  vs: number;
  vr: number;
  unacknowledged: number;
  /** Where the segments with these numbers begin. */
  readonly starts: number[];
}

/** The LLC stands right before the APDU, in the room of the wrapper header. */
const ANSWER_AT = WRAPPER_SIZE - LLC_SIZE;
const NO_INFO = new Uint8Array(0);
const REASON_NO_INFO_ALLOWED = 0x03;
const REASON_INFO_TOO_LONG = 0x04;

export class HdlcServerLink {
  readonly #options: HdlcServerOptions;
  readonly #wishes: LinkParameters;
  readonly #frame: Uint8Array;
  readonly #inactivityMs: number;
  #link: Link | null = null;
  #usedMs = 0;

  constructor(options: HdlcServerOptions) {
    this.#options = options;
    const maxInfo = options.maxInfo ?? 512;
    this.#wishes = { maxInfoSend: maxInfo, maxInfoReceive: maxInfo, windowSend: MAX_WINDOW, windowReceive: MAX_WINDOW };
    this.#frame = new Uint8Array(maxInfo + FRAME_OVERHEAD);
    this.#inactivityMs = options.inactivityMs ?? 120_000;
  }

  get isConnected(): boolean {
    return this.#link !== null;
  }

  /** Longest information field that may come: the size of the stream's buffer. */
  get maxInfo(): number {
    return this.#wishes.maxInfoReceive;
  }

  /** Ends the link when nothing came for long. */
  expire(nowMs: number): void {
    if (this.#link && nowMs - this.#usedMs > this.#inactivityMs) this.close();
  }

  /** The line is gone. */
  close(): void {
    const link = this.#link;
    this.#link = null;
    link?.upper.close();
  }

  receive(frame: HdlcFrame, nowMs: number): void {
    const { destination, source, control } = frame;
    if (source.lower !== null || !this.#isMine(frame)) return;
    this.expire(nowMs);
    if (control === Control.snrm) this.#connect(frame, nowMs);
    else if (control === Control.disc) {
      const isConnected = this.#link !== null && this.#isOf(this.#link, frame);
      if (isConnected) this.close();
      this.#send(source.bytes, destination.bytes, isConnected ? Control.ua : Control.dm, NO_INFO);
    } else {
      const link = this.#link;
      if (!link || !this.#isOf(link, frame)) return;
      this.#usedMs = nowMs;
      if (isInformation(control)) this.#information(link, frame, nowMs);
      else if (isReceiveReady(control)) this.#receiveReady(link, frame);
    }
  }

  #isMine({ destination: { upper, lower } }: HdlcFrame): boolean {
    const { serverSap, physicalAddress } = this.#options;
    return upper === serverSap && (physicalAddress === undefined || lower === null || lower === physicalAddress);
  }

  #isOf(link: Link, { destination, source }: HdlcFrame): boolean {
    return equalBytes(link.client, source.bytes) && equalBytes(link.server, destination.bytes);
  }

  #connect({ destination, source, info }: HdlcFrame, nowMs: number): void {
    this.close();
    const peer = decodeParameters(info);
    const upper = peer && this.#options.open();
    if (!peer || !upper) {
      this.#send(source.bytes, destination.bytes, Control.dm, NO_INFO);
      return;
    }
    const parameters = agree(info.length > 0 ? this.#wishes : DEFAULT_PARAMETERS, peer);
    const { maxPdu } = this.#options;
    this.#usedMs = nowMs;
    this.#link = {
      server: destination.bytes.slice(),
      client: source.bytes.slice(),
      serverSap: destination.upper,
      clientSap: source.upper,
      parameters,
      upper,
      request: new Uint8Array(WRAPPER_SIZE + maxPdu),
      requestSize: 0,
      answer: new Uint8Array(WRAPPER_SIZE + maxPdu),
      nextAt: 0,
      answerEnd: 0,
      vs: 0,
      vr: 0,
      unacknowledged: 0,
      starts: new Array<number>(8).fill(0),
    };
    // A client that names no parameters gets none: the defaults hold for both.
    this.#send(source.bytes, destination.bytes, Control.ua, info.length > 0 ? encodeParameters(parameters) : NO_INFO);
  }

  #information(link: Link, frame: HdlcFrame, nowMs: number): void {
    const { control, info, isSegmented } = frame;
    if (!this.#acknowledge(link, receiveNumber(control))) return;
    if (info.length > link.parameters.maxInfoReceive) {
      this.#reject(link, control, REASON_INFO_TOO_LONG);
      return;
    }
    if (sendNumber(control) !== link.vr) {
      // An old frame again: its answer was lost and is repeated; otherwise RR says which one is expected.
      if (isPollFinal(control)) this.#answerPoll(link);
      return;
    }
    link.vr = (link.vr + 1) & 7;
    // A new request gives up what is left of the last answer.
    link.answerEnd = 0;
    link.nextAt = 0;
    if (!this.#collect(link, info)) {
      this.#reject(link, control, REASON_INFO_TOO_LONG);
      return;
    }
    if (isSegmented) {
      if (isPollFinal(control)) this.#answerPoll(link);
      return;
    }
    const { request, requestSize, clientSap, serverSap } = link;
    link.requestSize = 0;
    if (requestSize > 0) {
      encodeWrapperHeader(request, 0, clientSap, serverSap, requestSize);
      const length = link.upper.receive(request.subarray(0, WRAPPER_SIZE + requestSize), link.answer, nowMs);
      if (length > WRAPPER_SIZE) {
        link.answer.set(LLC_ANSWER, ANSWER_AT);
        link.nextAt = ANSWER_AT;
        link.answerEnd = length;
      }
    }
    this.#answerPoll(link);
  }

  /** Appends a segment to the request, without the LLC of the first. @returns false when it is too long or has no LLC */
  #collect(link: Link, info: Uint8Array): boolean {
    let from = 0;
    if (link.requestSize === 0) {
      if (!equalBytes(info.subarray(0, LLC_SIZE), LLC_REQUEST)) return false;
      from = LLC_SIZE;
    }
    const at = WRAPPER_SIZE + link.requestSize;
    if (at + info.length - from > link.request.length) return false;
    link.request.set(info.subarray(from), at);
    link.requestSize += info.length - from;
    return true;
  }

  #receiveReady(link: Link, { control, info }: HdlcFrame): void {
    if (info.length > 0) this.#reject(link, control, REASON_NO_INFO_ALLOWED);
    else if (this.#acknowledge(link, receiveNumber(control)) && isPollFinal(control)) this.#answerPoll(link);
  }

  /** Takes over what the client has received; what it has not goes out again. @returns false for a number never sent */
  #acknowledge(link: Link, nr: number): boolean {
    const sent = (link.vs - link.unacknowledged) & 7;
    const taken = (nr - link.unacknowledged) & 7;
    if (taken > sent) return false;
    link.unacknowledged = nr;
    if (link.vs !== nr) {
      link.nextAt = link.starts[nr]!;
      link.vs = nr;
    }
    return true;
  }

  /** The turn is ours: the next segments, as many as the window allows, or RR. */
  #answerPoll(link: Link): void {
    const { windowSend, maxInfoSend } = link.parameters;
    if (link.nextAt >= link.answerEnd) {
      this.#send(link.client, link.server, receiveReady(link.vr), NO_INFO);
      return;
    }
    for (let count = 1; count <= windowSend && link.nextAt < link.answerEnd; count++) {
      const end = Math.min(link.answerEnd, link.nextAt + maxInfoSend);
      const isLast = end === link.answerEnd;
      link.starts[link.vs] = link.nextAt;
      const control = information(link.vs, link.vr, isLast || count === windowSend);
      link.vs = (link.vs + 1) & 7;
      const info = link.answer.subarray(link.nextAt, end);
      link.nextAt = end;
      this.#send(link.client, link.server, control, info, !isLast);
    }
  }

  /** A frame that cannot be: FRMR says why, and the client has to connect again. */
  #reject(link: Link, control: number, reason: number): void {
    const state = (link.vr << 5) | (link.vs << 1);
    this.#send(link.client, link.server, Control.frmr, Uint8Array.of(control, state, reason));
    this.close();
  }

  #send(client: Uint8Array, server: Uint8Array, control: number, info: Uint8Array, isSegmented = false): void {
    const end = encodeFrame(this.#frame, 0, client, server, control, info, isSegmented);
    this.#options.send(this.#frame.subarray(0, end));
  }
}
