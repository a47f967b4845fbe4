/**
 * Class 40, Push Setup v0: sends whole attributes to a destination as one DataNotification, at once, or after a random
 * wait that spreads a fleet. Destinations: `host:port` over UDP (transport 1), a SCION address such as
 * `1-ff00:0:110,[10.0.0.1]:4059` over SCION. An empty destination sends nothing. A push that the network did not take is
 * tried again; one that was lost on the way is not known.
 */

import { asciiText } from '#base/bytes';
import { type Data, Tag, writeLength } from '#dlms/axdr';
import type { CosemObject, LogicalDevice } from '#dlms/cosem/logical-device';
import { array, enumeration, i8, octets, Setting, type SettingStore, structure, u8, u16 } from '#dlms/cosem/setting';
import { attribute, TableObject } from '#dlms/cosem/table-object';
import { members } from '#dlms/members';
import { encodeDataNotificationHeader, LongInvoke } from '#dlms/notification';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';

/** Carries a wrapper frame, which is a copy. @returns whether it was handed to the network */
export type PushSender = (destination: string, frame: Uint8Array) => boolean;

export interface PushItem {
  readonly classId: number;
  readonly obis: string;
  readonly attribute: number;
}

export interface PushOptions {
  readonly obis: string;
  readonly store: SettingStore;
  /** Attributes that are pushed as delivered. */
  readonly items: readonly PushItem[];
  /** Longest APDU. */
  readonly maxPdu: number;
  /** 0…1, for the random wait. */
  readonly random: () => number;
  readonly send: PushSender;
}

const UDP = 1;
/** Client access point that pushes are addressed to. */
const PUSH_CLIENT = 1;
const MAX_ITEMS = 32;

export class PushSetup {
  readonly object: CosemObject;
  readonly #options: PushOptions;
  readonly #list: Setting;
  readonly #destination: Setting;
  readonly #spread: Setting;
  readonly #retries: Setting;
  readonly #delay: Setting;
  /** Steady ms of the next attempt; undefined while nothing is to be sent. */
  #dueMs: number | undefined;
  #isAsked = false;
  #left = 0;
  #invoke = 0;

  constructor(options: PushOptions) {
    const { obis, store, items } = options;
    this.#options = options;
    const item = ({ classId, obis: name, attribute: id }: PushItem) =>
      structure(u16(classId), octets(parseObis(name)), i8(id), u16(0));
    const setting = (id: number, example: Data, initial = example) =>
      new Setting(store, `${obis}/${id}`, { example, initial, freeLengths: id === 3, isValid: isShort });
    const list = items.map(item);
    this.#list = setting(2, array(list[0]!), array(...list));
    this.#destination = setting(3, structure(enumeration(UDP), octets(new Uint8Array(0)), enumeration(0)));
    this.#spread = setting(5, u16(0));
    this.#retries = setting(6, u8(3));
    this.#delay = setting(7, u16(60));
    this.object = new TableObject(
      40,
      0,
      obis,
      [
        this.#list,
        this.#destination,
        // Any time: no communication window.
        attribute((w) => w.u8(Tag.array).u8(0)),
        this.#spread,
        this.#retries,
        this.#delay,
      ],
      [
        () => {
          this.push();
          return Result.success;
        },
      ],
    );
  }

  /** Sends at the next look, or after the random wait. */
  push(): void {
    this.#isAsked = true;
  }

  /** Sends what is due. @param steadyMs  steady clock */
  tick(device: LogicalDevice, steadyMs: number): void {
    if (this.#isAsked) {
      this.#isAsked = false;
      this.#left = this.#retries.number;
      this.#dueMs = steadyMs + Math.floor(this.#options.random() * this.#spread.number * 1000);
    }
    if (this.#dueMs === undefined || steadyMs < this.#dueMs) return;
    const isDone = this.#send(device) || this.#left-- <= 0;
    this.#dueMs = isDone ? undefined : steadyMs + this.#delay.number * 1000;
  }

  #send(device: LogicalDevice): boolean {
    const { obis, maxPdu, send } = this.#options;
    const [transport, place] = members(this.#destination.value, 'enum', 'octet-string', 'enum') ?? [];
    const items = this.#list.value;
    if (transport !== UDP || !place?.length || items.type !== 'array') return true;
    const w = new ByteWriter(new Uint8Array(WRAPPER_SIZE + maxPdu), WRAPPER_SIZE);
    this.#invoke = (this.#invoke + 1) & LongInvoke.idMask;
    encodeDataNotificationHeader(w, this.#invoke, null);
    writeLength(w.u8(Tag.structure), items.value.length);
    for (const item of items.value) {
      const at = w.at;
      const [, ln, id] = members(item, 'long-unsigned', 'octet-string', 'integer', 'long-unsigned') ?? [];
      if (ln && id !== undefined && device.ownValue(ln, id, w, `push ${obis}`) === Result.success) continue;
      // The places of the others must not move.
      w.at = at;
      w.u8(Tag.nullData);
    }
    // What does not fit will not fit later either.
    if (w.overflowed) return true;
    encodeWrapperHeader(w.buf, 0, device.sap, PUSH_CLIENT, w.length);
    return send(asciiText(place), w.buf.slice(0, w.at));
  }
}

function isShort(value: Data): boolean {
  return value.type !== 'array' || value.value.length <= MAX_ITEMS;
}
