/** The lab as a new user runs it: `node dist/lab.js`, two at once, steered from outside, ending by itself. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BUNDLES, until } from './platform.ts';

interface Run {
  readonly child: ChildProcess;
  readonly text: () => string;
  readonly ended: Promise<number | null>;
}

function lab(...args: string[]): Run {
  const child = spawn(process.execPath, [join(BUNDLES, 'lab.js'), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  const add = (chunk: unknown) => {
    text += chunk;
  };
  child.stdout!.on('data', add);
  child.stderr!.on('data', add);
  return { child, text: () => text, ended: new Promise((resolve) => child.on('close', resolve)) };
}

const pageOf = (run: Run) => until('the address of the page', () => /^page: +(http\S+)$/m.exec(run.text())?.[1]);
const folderOf = (run: Run) => /files and logs in (\S+)/.exec(run.text())?.[1];

/** Processes whose command line mentions a folder. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(folder);
      } catch {
        return false;
      }
    });
}

async function readOnce(page: string): Promise<Response> {
  const api = new URL('api/v1/', page);
  const { meters } = (await (await fetch(new URL('meters', api))).json()) as { meters: { id: string }[] };
  const headers = { 'content-type': 'application/json' };
  return await fetch(new URL(`meters/${meters[0]!.id}/readings`, api), { method: 'POST', headers, body: '{}' });
}

async function leavesNothing(run: Run, folder: string): Promise<void> {
  assert.is(await run.ended, 0, run.text());
  assert.equal(processesOf(folder), []);
  assert.not.ok(existsSync(folder), `${folder} is left`);
}

const LabTest = suite('lab');

LabTest('two labs run at once, answer, are steered, end on a signal with 0 and leave nothing behind', async () => {
  const runs = [lab('--port', '0'), lab('--port', '0', '--meters', '3')];
  const pages = await Promise.all(runs.map(pageOf));
  assert.is.not(pages[0], pages[1]);
  for (const page of pages) {
    await until('a reading', async () => (await readOnce(page)).status === 200);
  }
  const list = (await (await fetch(new URL('api/v1/meters', pages[1]))).json()) as { meters: unknown[] };
  assert.is(list.meters.length, 3);

  const folders = await Promise.all(runs.map((run) => until('the folder', () => folderOf(run))));
  const first = ['--lab', folders[0]!];
  const cut = lab('cut', 'lte', ...first);
  assert.is(await cut.ended, 0, cut.text());
  const status = lab('status', ...first);
  assert.is(await status.ended, 0);
  assert.match(status.text(), /lte +CUT/);
  assert.match(status.text(), /meter-1 +running/);
  const unknown = lab('cut', 'carrier-pigeon', ...first);
  assert.is(await unknown.ended, 2);
  assert.match(unknown.text(), /no link carrier-pigeon; links: leased, lte, fibre, backup, trunk, abroad-a, abroad-b/);
  const which = lab('status');
  assert.is(await which.ended, 2);
  assert.match(which.text(), /several labs run/);

  assert.ok(processesOf(folders[0]!).length > 3);
  for (const run of runs) run.child.kill('SIGTERM');
  for (const [i, run] of runs.entries()) await leavesNothing(run, folders[i]!);
});

LabTest('a lab for some seconds says so, ends by itself with 0 and leaves nothing behind', async () => {
  const run = lab('--port', '0', '--for', '3');
  await until('how it ends', () => /ends by itself/.test(run.text()));
  await leavesNothing(run, folderOf(run)!);
});

LabTest('a taken page port is a clear error', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const run = lab('--port', String(port));
  assert.is(await run.ended, 2);
  assert.match(run.text(), new RegExp(`${port}.*in use`));
  server.close();
});

LabTest('Ctrl-C ends everything, also before the lab is ready', async () => {
  for (const ready of [false, true]) {
    const run = lab('--port', '0');
    if (ready) await pageOf(run);
    else await until('the first line', () => run.text().includes('starting the lab'));
    run.child.kill('SIGINT');
    assert.is(await run.ended, 0, run.text());
  }
});

LabTest.run();
