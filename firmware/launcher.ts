/**
 * What the service starts: picks the firmware (boot-record.ts), checks its signature again and runs it in this process.
 * Whatever is wrong with a slot ends at the bundle that was flashed, never at no meter at all.
 *
 * Environment: S3MP_STATE_DIRECTORY or systemd's STATE_DIRECTORY, S3MP_IMAGE_RELEASE_KEY_FILE. The release key comes from
 * there or from /etc and not from the state folder, which the firmware can write.
 */

import { createHash, createPublicKey } from 'node:crypto';
import { accessSync, existsSync, constants as modes, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { compileFunction, constants } from 'node:vm';
import { messageOf } from '#base/errors';
import { verifierOf } from '#hw/crypto';
import { compareVersions, decodeFirmwareImage, parseVersion, verifyFirmwareImage } from '#session/firmware-image';
import {
  type BootRecord,
  endedInOrder,
  FACTORY,
  fallBack,
  MODEL,
  nextStart,
  readBootRecord,
  type Slot,
  slotFile,
  writeBootRecord,
} from './boot-record.ts';

const DEFAULT_KEY = '/etc/s3mp/release.pem';
const factory = join(__dirname, 'firmware.js');
const folder = process.env.S3MP_STATE_DIRECTORY ?? process.env.STATE_DIRECTORY ?? '/var/lib/s3mp';
const say = (text: string) => process.stderr.write(`launcher: ${text}\n`);

/** The code of a slot. @throws whatever is wrong with it */
function loadSlot(slot: Slot, keyFile: string): string {
  const image = decodeFirmwareImage(readFileSync(slotFile(folder, slot)));
  const key = verifierOf(createPublicKey(readFileSync(keyFile, 'utf8')));
  const hash = (name: string, bytes: Uint8Array) => createHash(name).update(bytes).digest();
  const refusal = verifyFirmwareImage(image, key, { hash });
  if (refusal !== null) throw new Error(`its ${refusal} is wrong`);
  if (image.model !== MODEL) throw new Error(`it is for ${image.model}`);
  // A card that was flashed again comes with a newer bundle than the slots on its state partition.
  if (compareVersions(image.version, parseVersion(S3MP_VERSION)!) <= 0)
    throw new Error('it is not newer than the bundle of the card');
  return Buffer.from(image.content).toString('utf8');
}

/** @returns whether the record is on the medium */
function keep(record: BootRecord): boolean {
  try {
    writeBootRecord(folder, record);
    return true;
  } catch (error) {
    say(`the boot record is not stored: ${messageOf(error)}`);
    return false;
  }
}

/** What runs for people: the slot of the service, or what it will fall back to; nothing is counted or stored. */
function look(keyFile: string): { record: BootRecord; code: string | undefined } {
  try {
    if (existsSync(folder)) accessSync(folder, modes.X_OK);
  } catch {
    say(`${folder} is not for this user, so this is the bundle of the card, perhaps not what runs`);
  }
  let record = nextStart(readBootRecord(folder));
  for (let tries = 0; record.slot !== 'factory' && tries < 2; tries++) {
    try {
      return { record, code: loadSlot(record.slot, keyFile) };
    } catch (error) {
      say(`slot ${record.slot} cannot be used: ${messageOf(error)}`);
      record = fallBack(record);
    }
  }
  return { record: FACTORY, code: undefined };
}

/** Decides and loads. @returns no code for the bundle that was flashed */
function choose(keyFile: string): { record: BootRecord; code: string | undefined } {
  const kept = readBootRecord(folder);
  let record = nextStart(kept);
  if (record.news === 'fell-back' && kept.news !== 'fell-back') say(`slot ${kept.slot} failed ${kept.starts} starts`);
  // At most two slots can be broken.
  for (let tries = 0; record.slot !== 'factory' && tries < 2; tries++) {
    try {
      const code = loadSlot(record.slot, keyFile);
      if (keep(record)) return { record, code };
      // A trial that cannot be counted could go on for ever.
      if (record.isProven) return { record, code };
      record = fallBack(record);
    } catch (error) {
      say(`slot ${record.slot} cannot be used: ${messageOf(error)}`);
      record = nextStart(fallBack(record));
    }
  }
  if (record.slot !== 'factory') record = { ...FACTORY, highest: record.highest, news: 'fell-back' };
  if (record !== kept && existsSync(folder)) keep(record);
  return { record, code: undefined };
}

function watchEnd(): void {
  let hasCrashed = false;
  process.on('uncaughtExceptionMonitor', () => {
    hasCrashed = true;
  });
  process.on('exit', (status) => {
    if (hasCrashed) return;
    const record = readBootRecord(folder);
    const after = endedInOrder(record, status);
    if (after !== record) keep(after);
  });
}

function run(code: string): void {
  const require = createRequire(factory);
  const module = { exports: {} };
  const names = ['exports', 'require', 'module', '__filename', '__dirname'];
  const main = compileFunction(code.replace(/^#!.*/, ''), names, {
    filename: factory,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  main.call(module.exports, module.exports, require, module, factory, dirname(factory));
}

// Beside `run`, commands for people (config check, dump, self-test) take the same firmware and count no start.
const word = process.argv[2];
const isService = word === undefined || word === 'run' || word.startsWith('-');
const keyFile = process.env.S3MP_IMAGE_RELEASE_KEY_FILE ?? DEFAULT_KEY;
if (existsSync(keyFile)) process.env.S3MP_IMAGE_RELEASE_KEY_FILE = keyFile;
const { record, code } = isService ? choose(keyFile) : look(keyFile);
// The firmware offers images only under a launcher that looks into the same folder.
if (isService) process.env.S3MP_LAUNCHED = `${record.slot}:${folder}`;
process.argv[1] = factory;
if (code === undefined) createRequire(factory)(factory);
else {
  if (isService) watchEnd();
  run(code);
}
