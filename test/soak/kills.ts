/**
 * Power cuts of the durable log, the state record and the counters: most in process, on a simulated disk (power-cuts.ts);
 * every fiftieth is a real process that is killed while it writes real files. At most the capture in progress is lost, never
 * an older one; the start always succeeds; no counter goes back.
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
import { StateFiles } from '../../firmware/state-files.ts';
import type { Random } from '../random.ts';
import { powerCuts } from './power-cuts.ts';
import { type Soak, scaled } from './soak.ts';

const CUTS = 10_000;
/** One kill of a real process for so many cuts in process. */
const PER_KILL = 50;
const ROW = 19;
const CLIENT = asciiBytes('S3H00001');
const quiet = createLog('test', { level: 'error', write: () => {} });

function rowOf(number: number): Uint8Array {
  const row = new Uint8Array(ROW).fill(number % 251, 8);
  writeU32(row, 0, number * 900);
  writeU32(row, 4, Math.imul(number, 2_654_435_761) >>> 0);
  return row;
}

const openLog = (folder: string) =>
  new DurableLog({ path: join(folder, 'load.log'), rowSize: ROW, rows: 4000, layout: 'kills' });

/** What has been acknowledged, so what must be there after any cut. */
interface Acknowledged {
  rows: number;
  state: number;
  own: number;
  peer: number;
  command: number;
}

/** Opens everything, checks it against what was acknowledged, then works until it is killed. */
function work(folder: string, known: Acknowledged, told: () => void): void {
  const files = new StateFiles(join(folder, 'state'), quiet);
  const settings = files.settings();
  const log = openLog(folder);
  const { book } = openCounterFile(join(folder, 'counters'));
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
  for (let i = 0; ; i++) {
    assert.ok(log.append(rowOf(log.next)), 'the log cannot be written');
    known.rows = log.next;
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
  }
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
  const cuts = powerCuts(random, total - processes);
  const rows = await killProcesses(random, processes);
  assert.ok(rows > 0, 'no process came to write');
  return { done: total, unit: 'cuts and kills', figures: { ...cuts, processes, rows } };
};

/** The process that is killed: says what it has done only after it is on the medium. */
export function beKilled(): void {
  const folder = process.env.S3MP_KILL_FOLDER;
  if (folder === undefined) return;
  const known = JSON.parse(process.env.S3MP_KILL_KNOWN!) as Acknowledged;
  // What the parent did not hear of any more may have happened, too.
  const log = openLog(folder);
  assert.ok(log.next >= known.rows, `${log.next} rows, ${known.rows} acknowledged`);
  known.rows = log.next;
  log.close();
  const files = new StateFiles(join(folder, 'state'), quiet);
  const stored = files.settings().get('n');
  const state = stored ? readU32(stored, 0) : 0;
  assert.ok(state >= known.state, 'state');
  known.state = state;
  files.close();
  work(folder, known, () => process.send!(known));
}
