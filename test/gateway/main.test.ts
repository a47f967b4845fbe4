/** The gateway as users start it: the bundle in a process of its own. */

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { GUARD_MS } from '#test/guard';
import { CORE, LEAF, TwoAses } from './two-ases.ts';

const bundle = join(__dirname, '..', '..', 'gateway.js');
const Gateway = suite<{ ases: TwoAses }>('gateway.js');

Gateway.before(async (context) => {
  assert.ok(existsSync(bundle), 'build the bundles first: node build.mjs');
  context.ases = await TwoAses.create();
});
Gateway.after(({ ases }) => ases.remove());

const gateway = (...args: string[]) =>
  spawnSync(process.execPath, [bundle, ...args], { encoding: 'utf8', timeout: GUARD_MS });

interface Line {
  message: string;
  [field: string]: unknown;
}

/** Starts a gateway and waits for its ready line. */
function start(directory: string) {
  const child = spawn(process.execPath, [bundle, '--as-directory', directory, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  const ready = new Promise<Line>((resolve, reject) => {
    let text = '';
    child.stderr.on('data', (chunk) => {
      text += chunk;
      const line = text.split('\n').find((l) => l.includes('"ready"'));
      if (line !== undefined) resolve(JSON.parse(line) as Line);
    });
    void exited.then((status) => reject(new Error(`exit ${status}: ${text}`)));
  });
  return { child, ready, exited };
}

Gateway('starts from the directory of an AS, says ready, and stops with 0 on SIGTERM and SIGINT', async ({ ases }) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { child, ready, exited } = start(ases.directory(CORE));
    const line = await ready;
    assert.is(line.as, CORE.isdAs);
    assert.is(line.internal, `${ases.router(CORE).host}:30042`);
    assert.is(line.paths, `${ases.addresses.controlService(CORE.number)}:30252`);
    child.kill(signal);
    assert.is(await exited, 0);
  }
});

Gateway('a second gateway on the same addresses exits with 2 and names the address', async ({ ases }) => {
  const { child, ready, exited } = start(ases.directory(LEAF));
  await ready;
  const second = gateway('--as-directory', ases.directory(LEAF));
  child.kill('SIGTERM');
  assert.is(await exited, 0);
  assert.is(second.status, 2);
  assert.match(second.stderr, `${ases.router(LEAF).host}:30042 is already in use`);
});

Gateway('mistakes in the command line or the files exit with 2 and say what is wrong', ({ ases }) => {
  const cases: [string[], RegExp][] = [
    [['--as-direktory', 'x'], /did you mean --as-directory/],
    [['rum'], /did you mean run/],
    [['--as-directory', '/nonexistent'], /cannot read \/nonexistent\/topology.json/],
    [['--as-directory', ases.directory(CORE), '--router-name', 'br9'], /no border router br9; AS 1-ff00:0:110 has: br/],
  ];
  for (const [args, message] of cases) {
    const { status, stderr, stdout } = gateway(...args);
    assert.is(status, 2, stderr);
    assert.match(stderr, message);
    assert.is(stdout, '');
  }
});

Gateway('a broken topology or key is named', async () => {
  const broken = await TwoAses.create();
  try {
    const directory = broken.directory(CORE);
    writeFileSync(join(directory, 'keys', 'master0.key'), 'not base64!');
    assert.match(gateway('--as-directory', directory).stderr, /master0.key: expected a master key as base64/);
    rmSync(join(directory, 'keys', 'master0.key'));
    const missing = gateway('--as-directory', directory);
    assert.match(missing.stderr, /cannot read .*master0.key/);
    assert.is(missing.status, 2);
    writeFileSync(join(directory, 'topology.json'), '{"isd_as": "1-0"}');
    const topology = gateway('--as-directory', directory);
    assert.match(topology.stderr, /topology.json: isd_as: expected an ISD-AS/);
    assert.is(topology.status, 2);
  } finally {
    broken.remove();
  }
});

Gateway('config check prints every key with its source', () => {
  const { status, stdout } = gateway('config', 'check', '--as-directory', '/tmp/as', '--json');
  assert.is(status, 0);
  const lines = stdout
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l) as { key: string; value: unknown; source: string });
  const directory = lines.find((l) => l.key === 'as.directory');
  assert.equal([directory?.value, directory?.source], ['/tmp/as', 'flag']);
});

Gateway.run();
