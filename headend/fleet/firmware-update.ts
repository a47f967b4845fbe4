/**
 * A firmware image's way to a meter: block by block in slices of the meter's lane, so that readings and commands go on in
 * between; over outages and restarts of either end it goes on with what the meter has. Then the meter's verdict. Activation
 * is a command of its own; afterwards the meter is watched until it runs the image and has proved it, or has fallen back.
 */

import { messageOf, S3mpError } from '#base/errors';
import { ImageStatus } from '#dlms/cosem/image-transfer';
import { compareVersions, parseVersion } from '#session/firmware-image';
import type { FirmwareReading, FirmwareToSend } from '../meter-connection.ts';
import type { CommandRecord } from '../store/store.ts';
import { timeText } from './bodies.ts';
import { type FleetClock, pause } from './clock.ts';
import { notSet } from './clock-sync.ts';
import type { CommandTarget, Finding, Preparation, ProcedureTools } from './command-procedure.ts';

/** What a slice shall take of the lane, ms. */
const SLICE_MS = 200;
const MOST_BLOCKS = 32;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
/** Refusals in a row without progress that are believed: one may be the trace of a restart. */
const SURE_REFUSALS = 3;
const LOOK_MS = 1_000;

/** What the meter itself has answered; anything else says that it was not reached. */
const ANSWERS = /^(dlms\.(access-denied|object-undefined|type-unmatched|refused|unexpected-answer)|encode\.)/;

/** Failures that no waiting mends. */
const FINAL = /^(internal$|firmware\.|clock\.|certificate\.|meter\.unknown$)/;

const isAnswer = (error: unknown) => error instanceof S3mpError && ANSWERS.test(error.code);

/**
 * Brings an image to the meter and has it verified.
 * @throws S3mpError `firmware.unsupported`, `firmware.refused`, `clock.not-set`, `command.expired`
 */
export async function bringFirmware(
  target: () => CommandTarget,
  record: CommandRecord,
  bytes: Uint8Array,
  { clock, isStopped }: ProcedureTools,
  told: (progress: Preparation) => void,
): Promise<void> {
  const { sha256, version } = record.image!;
  const image: FirmwareToSend = { sha256, version, bytes };
  const progress: Preparation = { stored: 0, blocks: 0, waiting: null };
  const attempt = patiently(target, record, clock, isStopped, progress, told);

  await attempt(async () => {
    judge(await target().readFirmware(), image);
    if (!(await target().readClock()).isSet) throw notSet(record.meter);
  });
  let count = 1;
  for (let isWhole = false; !isWhole; ) {
    const startedAt = clock.steady();
    const slice = await attempt(() => target().sendFirmware(image, count));
    ({ isWhole } = slice);
    Object.assign(progress, { stored: slice.stored, blocks: slice.blocks });
    told(progress);
    // The waiting for a turn counts as well: the busier the meter, the smaller the slices.
    const tookMs = Math.max(1, clock.steady() - startedAt);
    count = Math.max(1, Math.min(MOST_BLOCKS, 2 * count, Math.round((count * SLICE_MS) / tookMs)));
  }
  await attempt(async () => {
    try {
      await target().verifyFirmware();
    } catch (error) {
      if (!isAnswer(error)) throw error;
      const { refusal } = await target().readFirmware();
      throw new S3mpError('firmware.refused', `the meter refuses the image: ${refusalText(refusal)}`);
    }
  });
}

/** Does a step until it is done, over outages of the meter. */
function patiently(
  target: () => CommandTarget,
  record: CommandRecord,
  clock: FleetClock,
  isStopped: () => boolean,
  progress: Preparation,
  told: (progress: Preparation) => void,
) {
  let refusals = 0;
  let stored = 0;
  return async <T>(step: () => Promise<T>): Promise<T> => {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
      if (isStopped()) throw new S3mpError('meter.busy', 'the head end is stopping');
      if (clock.wall() >= record.expiresAt) throw expired(record, progress);
      try {
        const result = await step();
        progress.waiting = null;
        if (progress.stored > stored) refusals = 0;
        stored = progress.stored;
        return result;
      } catch (error) {
        const code = error instanceof S3mpError ? error.code : 'internal';
        if (FINAL.test(code)) throw error;
        if (isAnswer(error) && ++refusals >= SURE_REFUSALS)
          throw new S3mpError('firmware.refused', `the meter refuses the transfer: ${messageOf(error)}`, {}, error);
        progress.waiting = messageOf(error);
        told(progress);
        await target().untilReachable(pauseMs);
      }
    }
  };
}

function expired({ expiresAt }: CommandRecord, { stored, blocks, waiting }: Preparation): S3mpError {
  const why = waiting === null ? '' : `; last: ${waiting}`;
  const text = `${stored} of ${blocks} blocks are at the meter by ${timeText(expiresAt)}${why}; ordered again, it goes on there`;
  return new S3mpError('command.expired', text);
}

/** @throws S3mpError when the transfer would be in vain */
function judge({ version, isOffered }: FirmwareReading, image: FirmwareToSend): void {
  if (!isOffered) {
    throw new S3mpError(
      'firmware.unsupported',
      'the meter takes no images: its service must start launcher.js, which needs the release key (docs/sd-card.md)',
    );
  }
  const [running, wanted] = [parseVersion(version ?? ''), parseVersion(image.version)];
  if (running && wanted && compareVersions(wanted, running) <= 0)
    throw new S3mpError('firmware.refused', `the meter runs ${version}, and ${image.version} is not newer`);
}

/** Starts the image that the meter has verified. @throws S3mpError `firmware.refused` when the meter does not start it */
export async function startFirmware(target: CommandTarget, waitMs: number, sent: () => Promise<void>): Promise<void> {
  try {
    await target.activateFirmware(waitMs, sent);
  } catch (error) {
    if (!(error instanceof S3mpError) || error.code !== 'dlms.refused') throw error;
    const { refusal } = await target.readFirmware();
    throw new S3mpError('firmware.refused', `the meter does not start the image: ${refusalText(refusal)}`, {}, error);
  }
}

const REFUSALS: Readonly<Record<string, string>> = {
  damaged: 'it has arrived damaged; ordered again, all of it is sent again',
  signature: 'its signature is not that of the release key that the meter has',
  digest: 'its content is not what was signed',
  model: 'it is for another model',
  older: 'it is not newer than what runs, or older than what has run there',
  'too-far': 'the firmware that runs is older than the image allows; install a version in between first',
};

const refusalText = (refusal: string) => REFUSALS[refusal] ?? (refusal || 'it does not say why');

/** Waits until the meter is back and its new firmware has proved itself, or the one before runs again. */
export async function readBackFirmware(
  target: CommandTarget,
  record: CommandRecord,
  { clock, times, isStopped }: ProcedureTools,
): Promise<Finding> {
  const { version } = record.image!;
  const until = clock.steady() + times.restartMs;
  for (let pauseMs = LOOK_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
    let detail: string;
    try {
      const reading = await target.readFirmware();
      const finding = judgeOutcome(reading, version, timeText(clock.wall()));
      if (!('wait' in finding)) return finding;
      detail = finding.wait;
      if (clock.steady() >= until)
        return { as: false, evidence: evidenceOf(reading, clock), detail, code: 'firmware.refused' };
      pauseMs = LOOK_MS;
      await pause(clock, pauseMs);
    } catch (error) {
      if (isStopped() || clock.steady() >= until) throw error;
      // It starts anew; a firmware that crashes does so several times before the one before returns.
      await target.untilReachable(pauseMs);
    }
  }
}

const evidenceOf = ({ version }: FirmwareReading, clock: FleetClock) => ({
  firmware: version ?? '',
  readAt: timeText(clock.wall()),
});

function judgeOutcome(
  { version: running, status, refusal }: FirmwareReading,
  wanted: string,
  readAt: string,
): Finding | { readonly wait: string } {
  const evidence = { firmware: running ?? '', readAt };
  if (running === wanted) {
    if (status !== ImageStatus.activationInitiated) return { as: true, evidence, detail: '' };
    return { wait: `${wanted} runs and has not proved itself: it does not read the energy meter` };
  }
  if (status === ImageStatus.activationInitiated) return { wait: `${running} has not ended yet` };
  if (status === ImageStatus.verified)
    return { as: false, evidence, code: 'firmware.refused', detail: `the meter was not activated; it runs ${running}` };
  const detail = `${wanted} failed at its starts, and the meter has gone back to ${running}`;
  if (status === ImageStatus.activationFailed) return { as: false, evidence, code: 'firmware.fell-back', detail };
  const why = refusal === '' ? '' : `: ${refusalText(refusal)}`;
  return { as: false, evidence, code: 'firmware.refused', detail: `the meter runs ${running}, not ${wanted}${why}` };
}
