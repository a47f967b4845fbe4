/**
 * What a procedure of a command is: what it needs of its meter, its steps, and what it finds. The procedures themselves
 * are in procedures.ts.
 */

import type { ErrorCode } from '#base/error-codes';
import type { EvidenceBody } from '../http/wire.ts';
import type {
  ClockComparison,
  ControlReading,
  FirmwareReading,
  FirmwareToSend,
  Reading,
  TransferProgress,
} from '../meter-connection.ts';
import type { CommandRecord } from '../store/store.ts';
import type { FleetClock } from './clock.ts';

/** What a command needs of its meter; each call takes its turn in the meter's lane. */
export interface CommandTarget {
  readonly id: string;
  /** Calls `onTurn` when the lane is its, and sends when that has resolved. */
  switchOutput(connect: boolean, waitMs: number, onTurn: () => Promise<void>): Promise<void>;
  readControl(): Promise<ControlReading>;
  readForCommand(): Promise<Reading>;
  writeMessage(text: string, waitMs: number, onTurn: () => Promise<void>): Promise<void>;
  readMessage(): Promise<string>;
  readClock(): Promise<ClockComparison>;
  setClock(roundTripMs: number, waitMs: number, onTurn: () => Promise<void>): Promise<void>;
  readFirmware(): Promise<FirmwareReading>;
  /** Sends some blocks, behind everything else that waits. */
  sendFirmware(image: FirmwareToSend, count: number): Promise<TransferProgress>;
  verifyFirmware(): Promise<void>;
  activateFirmware(waitMs: number, onTurn: () => Promise<void>): Promise<void>;
  /** Resolves when the meter answers again, or after `ms`. */
  untilReachable(ms: number): Promise<void>;
}

export interface CommandTimes {
  /** Time for the relay and the power to follow the command. */
  readonly settleMs: number;
  readonly settleStepMs: number;
  /** How long an unknown outcome is followed up. */
  readonly resolveForMs: number;
  /** How long a meter with a new firmware may take to prove it or to fall back. */
  readonly restartMs: number;
}

/** Outcome of reading back. */
export interface Finding {
  readonly as: boolean;
  readonly evidence: EvidenceBody;
  /** Why it is not as commanded. */
  readonly detail: string;
  readonly code?: ErrorCode;
}

export interface ProcedureTools {
  readonly clock: FleetClock;
  readonly times: CommandTimes;
  readonly isStopped: () => boolean;
}

/** How far the preparation of a command is. */
export interface Preparation {
  stored: number;
  blocks: number;
  /** What it waits for, for people; null while it goes on. */
  waiting: string | null;
}

export interface Procedure {
  /** Brings what the command needs, beside other commands of the meter, until `record.expiresAt`. */
  readonly prepare?: (
    target: () => CommandTarget,
    record: CommandRecord,
    image: Uint8Array,
    tools: ProcedureTools,
    told: (progress: Preparation) => void,
  ) => Promise<void>;
  /** Sends it once. @param sent  called right before it leaves, with what was found before */
  readonly send: (
    target: CommandTarget,
    record: CommandRecord,
    waitMs: number,
    sent: (evidence?: EvidenceBody) => Promise<void>,
    tools: ProcedureTools,
  ) => Promise<void>;
  readonly readBack: (target: CommandTarget, record: CommandRecord, tools: ProcedureTools) => Promise<Finding>;
}
