/**
 * Runs the bundled test files: one process a file, two at a time, each killed after its limit.
 *
 * Tests of protocols/, hw/ and firmware/ run with the project's pinned Node and with the machine's own, since the meter
 * and the concentrator run on the older one. A file that runs no test is a failure. The last line is the sum.
 *
 *   node dist/test/run.js [NAME]    only files whose path contains NAME
 */

import { spawn, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Ends a file that hangs; on a slow machine beside other work the longest ones take several minutes. */
const LIMIT_MS = 900_000;
const PARALLEL = 2;
const directory = __dirname;

interface Job {
  readonly file: string;
  readonly node: string;
  readonly label: string;
}

interface Sum {
  passed: number;
  failed: number;
  skipped: number;
}

function testFiles(): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.test.js'))
    .filter((f) => f.includes(process.argv[2] ?? ''))
    .sort();
}

function versionOf(node: string): string {
  return spawnSync(node, ['-p', 'process.version'], { encoding: 'utf8' }).stdout?.trim() ?? '';
}

/** The machine's own Node, when it differs from the one that runs this and is new enough for the devices. */
function ownNode(): { path: string; version: string } | undefined {
  const path = process.env.npm_node_execpath;
  if (!path || path === process.execPath) return undefined;
  const version = versionOf(path);
  const [major = 0, minor = 0] = version.slice(1).split('.').map(Number);
  if (version === process.version || major < 20 || (major === 20 && minor < 19)) return undefined;
  return { path, version };
}

function plan(): Job[] {
  const own = ownNode();
  console.log(`Node ${process.version}${own ? ` and ${own.version}` : ' only (the machine has no other)'}`);
  const jobs: Job[] = [];
  for (const file of testFiles()) {
    jobs.push({ file, node: process.execPath, label: file });
    if (own && /^(protocols|hw|firmware)\//.test(file))
      jobs.push({ file, node: own.path, label: `${file} (${own.version})` });
  }
  return jobs;
}

/** Reads uvu's summary. `Passed: 3` and `Total: 4`; skips come from uvu and from `needs()`. */
function parse(output: string, sum: Sum): { total: number; passed: number } {
  const number = (label: string) =>
    [...output.matchAll(new RegExp(`^\\s*${label}:\\s+(\\d+)`, 'gm'))].reduce((n, m) => n + Number(m[1]), 0);
  const total = number('Total');
  const passed = number('Passed');
  const skipped = number('Skipped') + (output.match(/^SKIP /gm)?.length ?? 0);
  sum.passed += passed;
  sum.skipped += skipped;
  return { total, passed };
}

async function run(job: Job, sum: Sum): Promise<void> {
  const started = Date.now();
  const child = spawn(job.node, ['--enable-source-maps', join(directory, job.file)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, FORCE_COLOR: '0', NO_COLOR: '1' },
    detached: true,
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  let killed = false;
  const timer = setTimeout(() => {
    killed = true;
    process.kill(-child.pid!, 'SIGKILL');
  }, LIMIT_MS);
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(timer);

  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours
  const plain = output.replace(/\x1b\[[0-9;]*m/g, '');
  const { total, passed } = parse(plain, sum);
  const skips = plain.match(/^SKIP .*/gm) ?? [];
  const problem = killed
    ? `killed after ${LIMIT_MS / 1000} s`
    : total === 0 && skips.length === 0
      ? 'ran no test'
      : passed < total
        ? `${total - passed} of ${total} failed`
        : status !== 0
          ? `exit ${status}`
          : '';
  const failed = problem === '' ? 0 : Math.max(1, total - passed);
  sum.failed += failed;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  console.log(
    `${problem ? 'FAIL' : 'ok  '} ${job.label}  ${passed}/${total}  ${seconds} s${problem ? `  ${problem}` : ''}`,
  );
  for (const skip of skips) console.log(`     ${skip}`);
  if (problem) console.log(plain.replace(/^/gm, '     | '));
}

async function main(): Promise<void> {
  const jobs = plan();
  const sum: Sum = { passed: 0, failed: 0, skipped: 0 };
  let next = 0;
  const worker = async () => {
    while (next < jobs.length) await run(jobs[next++]!, sum);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  if (jobs.length === 0) {
    console.log(`no test file below ${relative(process.cwd(), directory)} matches`);
    sum.failed++;
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  process.exitCode = sum.failed > 0 ? 1 : 0;
}

void main();
