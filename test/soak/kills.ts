/**
 * Power cuts of the durable log, the state record and the counters: most in process, on a disk that is cut after any byte
 * and keeps any part of what was not synchronized; every hundredth a real process that is killed while it writes real
 * files. At most the capture in progress is lost, never an older one; the start always succeeds; no counter goes back.
 */

import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { asciiBytes, readU32, writeU32 } from '#base/bytes';
import { openCounterFile } from '#hw/counter-store';
import { DurableLog } from '#hw/durable-log';
import { createLog } from '#hw/log';
import { fileMedium, type Medium } from '#hw/medium';
import { StateFiles } from '../../firmware/state-files.ts';
import { PowerCut, SimDisk } from '../hw/sim-disk.ts';
import type { Random } from '../random.ts';
import { type Soak, scaled } from './soak.ts';

const CUTS = 10_000;
/** One kill of a real process for so many cuts in process. */
const PER_KILL = 100;
const ROW = 19;
const CLIENT = asciiBytes('S3H00001');
const quiet = createLog('test', { level: 'error', write: () => {} });

function rowOf(number: number): Uint8Array {
  const row = new Uint8Array(ROW).fill(number % 251, 8);
  writeU32(row, 0, number * 900);
  writeU32(row, 4, Math.imul(number, 2_654_435_761) >>> 0);
  return row;
}

/** What has been acknowledged, so what must be there after any cut. */
export interface Acknowledged {
  rows: number;
  state: number;
  own: number;
  peer: number;
  command: number;
}

/** Opens everything, checks it against what was acknowledged, then works until the power goes. */
export function work(medium: Medium, folder: string, known: Acknowledged, steps: number, told = () => {}): void {
  const openLog = () =>
    new DurableLog({ path: join(folder, 'load.log'), rowSize: ROW, rows: 4000, layout: 'kills', medium });
  const files = new StateFiles(join(folder, 'state'), quiet, medium);
  const settings = files.settings();
  const log = openLog();
  const counters = openCounterFile(join(folder, 'counters'), medium);
  const { book } = counters;
  // A row that was written when the power went may be there or not; its number is the next one either way.
  assert.ok(log.next === known.rows || log.next === known.rows + 1, `${log.next} rows, ${known.rows} acknowledged`);
  for (let i = Math.max(log.first, log.next - 300); i < log.next; i++)
    assert.equal(log.read(i), rowOf(i), `row ${i} of ${log.next}`);
  assert.is(log.readable(log.first, log.next).length, log.next === log.first ? 0 : 1, 'no hole');
  const stored = settings.get('n');
  const state = stored ? readU32(stored, 0) : 0;
  assert.ok(state === known.state || state === known.state + 1, `state ${state}, ${known.state} acknowledged`);
  assert.ok(book.last(CLIENT) >= known.peer && book.command >= known.command, 'a counter went back');
  known.rows = log.next;
  known.state = state;
  for (let i = 0; i < steps; i++) {
    if (log.append(rowOf(log.next))) known.rows = log.next;
    else if (!(medium instanceof SimDisk)) throw new Error('the log cannot be written');
    const value = new Uint8Array(4 + (i % 700));
    writeU32(value, 0, known.state + 1);
    if (settings.set('n', value)) known.state++;
    for (let n = 0; n < 400; n++) {
      const own = book.next();
      if (own === 0) break;
      assert.ok(own > known.own, `counter ${own} after ${known.own}`);
      known.own = own;
    }
    const peer = book.last(CLIENT) + 1 + 200;
    if (book.accept(CLIENT, peer)) known.peer = peer;
    if (book.acceptCommand(book.command + 1)) known.command = book.command;
    told();
    if (medium instanceof SimDisk && medium.budget <= 0) break;
  }
  for (const each of [log, files, counters]) each.close();
}

function cutInProcess(random: Random, rounds: number): number {
  let cuts = 0;
  while (cuts < rounds) {
    const disk = new SimDisk();
    const known: Acknowledged = { rows: 0, state: 0, own: 0, peer: -1, command: 0 };
    for (let life = 0; life < 40 && cuts < rounds; life++) {
      // Cuts while files are made, opened and in the middle of a write; now and then a long life, so that rings turn.
      disk.budget = random.below([300_000, 100, 3_000, 800, 90_000][random.below(5)]!);
      try {
        work(disk, '/d', known, random.below(10) === 0 ? 400 : 20);
      } catch (error) {
        // Making the counters' file is the one thing that may fail, and only without power.
        if (disk.budget > 0) throw error;
        if (!(error instanceof PowerCut) && (error as { code?: string }).code !== 'config.unreadable') {
          // Assertions about what was opened while the power was already off say nothing.
          if (!(error instanceof assert.Assertion)) throw error;
          if (!/acknowledged|hole/.test(error.message)) throw error;
        }
      }
      cuts++;
      disk.restart(random);
    }
    // The last start has power: everything must be there.
    work(disk, '/d', known, 3);
  }
  return cuts;
}

async function killProcesses(random: Random, kills: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-kills-'));
  const known: Acknowledged = { rows: 0, state: 0, own: 0, peer: -1, command: 0 };
  try {
    for (let i = 0; i < kills; i++) {
      const child = fork(__filename, [], {
        env: { ...process.env, S3MP_KILL_FOLDER: folder, S3MP_KILL_KNOWN: JSON.stringify(known) },
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
        execArgv: [],
      });
      let text = '';
      child.stderr!.on('data', (chunk) => (text += chunk));
      // Half of them early, while files are opened; the others in the middle of their work.
      const delay = i % 2 === 0 ? random.below(80) : 0;
      let timer = delay > 0 ? setTimeout(() => child.kill('SIGKILL'), 40 + delay) : undefined;
      child.on('message', (seen) => {
        Object.assign(known, seen);
        timer ??= setTimeout(() => child.kill('SIGKILL'), random.below(120));
      });
      const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on('close', (_, signal) => resolve(signal)));
      assert.is(await ended, 'SIGKILL', text);
      clearTimeout(timer);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return known.rows;
}

export const kills: Soak = async ({ random, share }) => {
  const total = scaled(CUTS, share);
  const processes = Math.max(2, Math.round(total / PER_KILL));
  const done = cutInProcess(random, total - processes);
  const rows = await killProcesses(random, processes);
  assert.ok(rows > 0, 'no process came to write');
  return { done: done + processes, unit: 'cuts and kills', figures: { processes, rows } };
};

/** The process that is killed: says what it has done only after it is on the medium. */
export function beKilled(): void {
  const folder = process.env.S3MP_KILL_FOLDER;
  if (folder === undefined) return;
  const known = JSON.parse(process.env.S3MP_KILL_KNOWN!) as Acknowledged;
  // What the parent did not hear of any more may have happened, too.
  const medium = fileMedium;
  const log = new DurableLog({ path: join(folder, 'load.log'), rowSize: ROW, rows: 4000, layout: 'kills', medium });
  assert.ok(log.next >= known.rows, `${log.next} rows, ${known.rows} acknowledged`);
  known.rows = log.next;
  log.close();
  const files = new StateFiles(join(folder, 'state'), quiet);
  const stored = files.settings().get('n');
  const state = stored ? readU32(stored, 0) : 0;
  assert.ok(state >= known.state, 'state');
  known.state = state;
  files.close();
  work(medium, folder, known, Number.POSITIVE_INFINITY, () => process.send!(known));
}
