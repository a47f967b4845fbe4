/**
 * One meter as the head end reaches it. The fleet owns one connection per meter and calls it from one lane, one
 * operation at a time; what lies below (association, ciphering, SCION paths, retries) is the connection's affair.
 * Every call rejects with an S3mpError whose code says what happened.
 */

import type { PathPreference } from '#scion/path-preference';

/** What the meter itself says of a value. Ageing to `stale` or `missing` is the fleet's affair. */
export type MeasuredQuality = 'good' | 'suspect' | 'missing';

export interface RegisterValue {
  /** Canonical text, `1-0:32.7.0.255`. */
  readonly obis: string;
  /** Short English name, `Voltage`. */
  readonly name: string;
  /** Value in `unit` with the scaler applied (exact decimal of the register), or null when the meter has none now. */
  readonly value: number | null;
  readonly unit: string;
  readonly quality: MeasuredQuality;
}

/** The path that a request and its answer took. */
export interface PathTaken {
  readonly fingerprint: string;
  /** For people: `1-ff00:0:110 1>41 1-ff00:0:111`. */
  readonly hops: string;
  readonly isds: readonly number[];
  /** Smoothed round trip of this path in ms, null before the first measurement. */
  readonly rttMs: number | null;
}

export interface Reading {
  readonly values: readonly RegisterValue[];
  /** Meter's clock at the time of the values, ms since the epoch, or null when the meter's clock is not set. */
  readonly measuredAt: number | null;
  readonly receivedAt: number;
  /** From the first request of this reading sent to its last answer received, ms. */
  readonly delayMs: number;
  readonly path: PathTaken | null;
}

/** Attributes 2 and 3 of the disconnect control (class 70). */
export interface ControlReading {
  /** Measured at the relay: true means the load is connected. */
  readonly outputState: boolean;
  readonly controlState: 'disconnected' | 'connected' | 'ready for reconnection';
  readonly path: PathTaken | null;
}

/** The meter's clock beside the head end's. */
export interface ClockComparison {
  /** Whether the meter believes its clock; if not, it obeys no command. */
  readonly isSet: boolean;
  /** Meter minus head end in ms, the meter's time taken as that of the middle of the round trip. */
  readonly offsetMs: number;
  /** From request to answer, ms; the offset is known to half of it. */
  readonly roundTripMs: number;
}

/** One candidate path as the end host sees it now. */
export interface PathReport extends PathTaken {
  readonly pinned: boolean;
  /** Shares no link with the chosen path. */
  readonly disjoint: boolean;
  /** Of the narrowest link, kbit/s; null when not announced. */
  readonly announcedBandwidthKbit: number | null;
  readonly state: 'unknown' | 'alive' | 'suspect' | 'down';
  readonly chosen: boolean;
  /** Why the path policy forbids this path, in words; null when it conforms. */
  readonly forbidden: string | null;
  readonly mtu: number;
  /** ms since the epoch. */
  readonly expiresAt: number;
  /** Sum announced by the ASes, ms; null when not announced. */
  readonly announcedLatencyMs: number | null;
}

/** What an operator wants of the paths to one meter, within what the head end's configuration allows. */
export interface PathSettings {
  /** Access control list, `["- 1-ff00:0:120", "+"]`; empty allows every path. */
  readonly acl: readonly string[];
  /** Sequence of hops, `1-ff00:0:112 0* 1-ff00:0:111`; empty allows every path. */
  readonly sequence: string;
  /** Fingerprint of the path to use while it answers. */
  readonly pin: string | null;
  readonly preference: PathPreference;
}

/** Rows wanted of a profile: ms since the epoch, both ends included; OBIS codes of columns, all by default. */
export interface ProfileRequest {
  readonly from: number;
  readonly to: number;
  readonly columns?: readonly string[];
}

/** Rows of a profile or an event log (class 7), without the columns of clock and status. */
export interface ProfileReading {
  readonly fields: readonly { readonly obis: string; readonly unit: string }[];
  /** Seconds; 0 when captured by order. */
  readonly period: number;
  readonly rows: readonly {
    readonly at: number | null;
    /** From the row's status and clock status: `suspect` when the meter doubts values or time. */
    readonly quality: MeasuredQuality;
    readonly values: readonly (number | null)[];
  }[];
}

/** A firmware image on its way, `npm run image`'s file. */
export interface FirmwareToSend {
  /** SHA-256 of the file, hex. */
  readonly sha256: string;
  /** Of the firmware in it, `1.2.3`. */
  readonly version: string;
  readonly bytes: Uint8Array;
}

/** How far a transfer is, in blocks that the meter holds. */
export interface TransferProgress {
  readonly stored: number;
  readonly blocks: number;
  readonly isWhole: boolean;
}

/** What the meter says of its firmware. */
export interface FirmwareReading {
  /** Of the firmware that runs, `1.2.3`; null when the meter names none. */
  readonly version: string | null;
  /** Whether the meter takes images. */
  readonly isOffered: boolean;
  /** Status of the last image, class 18, attribute 6. */
  readonly status: number;
  /** Why the last image was refused; empty when it was not. */
  readonly refusal: string;
}

export interface MeterConnection {
  /** Reads the instantaneous registers and energies once. */
  read(deadlineMs: number): Promise<Reading>;
  readControl(deadlineMs: number): Promise<ControlReading>;
  /**
   * Runs the remote disconnect or reconnect method once. Rejects with `meter.unreachable` when the answer is lost: the
   * caller must then read back and never call again.
   */
  switchOutput(connect: boolean, deadlineMs: number): Promise<void>;
  writeMessage(text: string, deadlineMs: number): Promise<void>;
  readMessage(deadlineMs: number): Promise<string>;
  /** The meter's self-test: a line for each check. */
  readSelfTest(deadlineMs: number): Promise<string>;
  /** Reads rows of a profile. @param obis  the profile object */
  readProfile(obis: string, request: ProfileRequest, deadlineMs: number): Promise<ProfileReading>;
  readClock(deadlineMs: number): Promise<ClockComparison>;
  /**
   * Sets the meter's clock to the head end's, ahead by half a round trip. As `switchOutput` when the answer is lost.
   * @param roundTripMs  as measured right before
   */
  setClock(roundTripMs: number, deadlineMs: number): Promise<void>;
  readFirmware(deadlineMs: number): Promise<FirmwareReading>;
  /**
   * Sends blocks of an image that the meter does not have. After a failure it asks the meter first what it has.
   * @param count  at most so many
   */
  sendFirmware(image: FirmwareToSend, count: number, deadlineMs: number): Promise<TransferProgress>;
  /** Has the meter judge the image. Rejects with `dlms.refused` when it is not one for this meter. */
  verifyFirmware(deadlineMs: number): Promise<void>;
  /** Starts the verified image, once; the meter answers and starts anew. As `switchOutput` when the answer is lost. */
  activateFirmware(deadlineMs: number): Promise<void>;
  paths(): Promise<readonly PathReport[]>;
  /** The access control list of the head end's configuration, which holds whatever a meter's settings say. */
  readonly pathFence: readonly string[];
  /** Settings of this meter's own; null when it follows the head end's. */
  readonly pathSettings: PathSettings | null;
  /** @throws ConfigError `config.invalid` */
  setPathSettings(settings: PathSettings | null): void;
  /** What other settings would make of the candidates. @throws ConfigError `config.invalid` */
  evaluatePaths(settings: PathSettings): readonly PathReport[];
  close(): Promise<void>;
}
