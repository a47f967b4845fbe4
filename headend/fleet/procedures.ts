/**
 * What each type of command does: what must be brought to the meter beforehand, how it is sent, and how its outcome is
 * read back. A procedure sends once; whatever is lost after that is found out by reading.
 */

import type { CommandType } from '../http/wire.ts';
import type { ControlReading } from '../meter-connection.ts';
import { timeText } from './bodies.ts';
import { pause } from './clock.ts';
import { readBackClock, setClock } from './clock-sync.ts';
import type { CommandTarget, Finding, Procedure, ProcedureTools } from './command-procedure.ts';
import { bringFirmware, readBackFirmware, startFirmware } from './firmware-update.ts';
import { powerOf } from './registers.ts';

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
