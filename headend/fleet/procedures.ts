/**
 * What each type of command does: what must be brought to the meter beforehand, how it is sent, and how its outcome is
 * read back. A procedure sends once; whatever is lost after that is found out by reading.
 */

import type { ErrorCode } from '#base/error-codes';
import type { CommandType, EvidenceBody } from '../http/wire.ts';
import type {
  ClockComparison,
  ControlReading,
  FirmwareReading,
  FirmwareToSend,
  Reading,
  TransferProgress,
} from '../meter-connection.ts';
import type { CommandRecord } from '../store/store.ts';
import { timeText } from './bodies.ts';
import { type FleetClock, pause } from './clock.ts';
import { readBackClock, setClock } from './clock-sync.ts';
import { bringFirmware, readBackFirmware, startFirmware } from './firmware-update.ts';
import { powerOf } from './registers.ts';

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

/** Below this, in W, a disconnected installation counts as without power. */
const NO_POWER_W = 10;

export const PROCEDURES: Readonly<Record<CommandType, Procedure>> = {
  connect: switching(true),
  disconnect: switching(false),
  message: {
    send: (target, record, waitMs, sent) => target.writeMessage(record.text ?? '', waitMs, sent),
    readBack: async (target, record, { clock }) => {
      const text = await target.readMessage();
      const evidence = { text, readAt: timeText(clock.wall()) };
      return { as: text === record.text, evidence, detail: 'the meter holds another text' };
    },
  },
  'sync-clock': {
    send: (target, record, waitMs, sent, { clock }) => setClock(target, record, waitMs, sent, clock.wall),
    readBack: readBackClock,
  },
  firmware: {
    prepare: bringFirmware,
    send: (target, _record, waitMs, sent) => startFirmware(target, waitMs, sent),
    readBack: readBackFirmware,
  },
};

function switching(connect: boolean): Procedure {
  return {
    send: (target, _record, waitMs, sent) => target.switchOutput(connect, waitMs, sent),
    readBack: (target, _record, tools) => readBackSwitch(target, connect, tools),
  };
}

async function readBackSwitch(
  target: CommandTarget,
  connect: boolean,
  { clock, times }: ProcedureTools,
): Promise<Finding> {
  const until = clock.steady() + times.settleMs;
  const asCommanded = (control: ControlReading) =>
    connect
      ? control.outputState && control.controlState === 'connected'
      : !control.outputState && control.controlState !== 'connected';

  let control = await target.readControl();
  while (!asCommanded(control) && clock.steady() < until) {
    await pause(clock, times.settleStepMs);
    control = await target.readControl();
  }
  const evidence = {
    controlState: control.controlState,
    outputState: control.outputState,
    pathFingerprint: control.path?.fingerprint ?? null,
    readAt: timeText(clock.wall()),
  };
  if (!asCommanded(control)) {
    const output = control.outputState ? 'closed' : 'open';
    return { as: false, evidence, detail: `the meter reports ${control.controlState}, output ${output}` };
  }
  const powerAfterW = await powerAfter(target, connect, until, { clock, times });
  const flows = !connect && powerAfterW !== null && Math.abs(powerAfterW) >= NO_POWER_W;
  const detail = `the relay reports open, yet ${powerAfterW} W flow`;
  return { as: !flows, evidence: { ...evidence, powerAfterW, readAt: timeText(clock.wall()) }, detail };
}

/**
 * Active power once it has followed the switch. The energy meter behind the register refreshes about once a second, so
 * the first value after the switch may still be the one before it.
 */
async function powerAfter(
  target: CommandTarget,
  connect: boolean,
  until: number,
  { clock, times }: Pick<ProcedureTools, 'clock' | 'times'>,
): Promise<number | null> {
  for (let attempt = 0; ; attempt++) {
    const value = powerOf((await target.readForCommand()).values)?.value ?? null;
    const settled = value !== null && (connect ? attempt > 0 : Math.abs(value) < NO_POWER_W);
    if (settled || clock.steady() >= until) return value;
    await pause(clock, times.settleStepMs);
  }
}
