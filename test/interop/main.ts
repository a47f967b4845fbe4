/**
 * `npm run interop [-- NAME…]`: what works beside which foreign program. Prints a table and writes dist/interop.jsonl; the
 * area `dlms` also makes docs/interop/dlms.md when all of its peers are there. Exit status 1 when a cell fails, 2 for an
 * unknown name.
 */

import { spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cell } from './dlms-cells.ts';
import { absentCell, featureNames, matrixPeers } from './dlms-matrix.ts';
import { dlmsPage } from './dlms-page.ts';

const root = join(__dirname, '..', '..', '..');
const FILE = join(root, 'dist', 'interop.jsonl');

type Result = Omit<Cell, 'area'> & { readonly area: string };

const results: Result[] = [];

function report(result: Result): void {
  results.push(result);
  appendFileSync(FILE, `${JSON.stringify(result)}\n`);
  const { area, peer, version, feature, result: word, why } = result;
  const line = [area.padEnd(6), peer.padEnd(21), version.padEnd(9), feature.padEnd(44), word.padEnd(6), why];
  console.log(line.join(' ').trimEnd());
}

async function dlms(): Promise<void> {
  const cells: Cell[] = [];
  const peers = matrixPeers();
  for (const peer of peers)
    for (const feature of featureNames) {
      const cell = peer.version === undefined ? absentCell(peer.name, feature) : await peer.run(feature);
      cells.push(cell);
      report(cell);
    }
  if (peers.every(({ version }) => version !== undefined))
    writeFileSync(join(root, 'docs', 'interop', 'dlms.md'), dlmsPage(cells));
}

/** An area whose cells are the interop tests of these files: one a test file, absent when it skips. */
function files(area: string, peer: string, prefix: RegExp): () => Promise<void> {
  return async () => {
    const tests = readdirSync(__dirname).filter((file) => prefix.test(file));
    for (const file of tests.sort()) {
      const { status, stdout, stderr } = spawnSync(process.execPath, ['--enable-source-maps', join(__dirname, file)], {
        encoding: 'utf8',
        timeout: 120_000,
        env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
      });
      const skip = /^SKIP (.*)$/m.exec(stdout)?.[1];
      const count = [...stdout.matchAll(/Passed:\s+(\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
      const result = status !== 0 ? 'fail' : skip && count === 0 ? 'absent' : 'pass';
      const why = result === 'fail' ? (stdout + stderr).trim().slice(-300) : (skip ?? `${count} tests`);
      report({ area, peer, version: '', feature: file.replace('.test.js', ''), result, why });
    }
  };
}

const AREAS: Readonly<Record<string, () => Promise<void>>> = {
  modbus: files('modbus', 'pymodbus', /^modbus.*\.test\.js$/),
  dlms,
  scion: files('scion', 'official SCION', /^(scion|official).*\.test\.js$/),
  async sig() {
    const why = 'the platform has no SCION-IP gateway';
    report({ area: 'sig', peer: 'official SCION', version: '', feature: 'SCION-IP gateway', result: 'absent', why });
  },
};

async function main(): Promise<number> {
  const names = process.argv.slice(2);
  const unknown = names.find((name) => !Object.hasOwn(AREAS, name));
  if (unknown !== undefined) {
    console.error(`interop: no area ${unknown}; there are ${Object.keys(AREAS).join(', ')}`);
    return 2;
  }
  mkdirSync(join(root, 'dist'), { recursive: true });
  writeFileSync(FILE, '');
  for (const [name, run] of Object.entries(AREAS)) if (names.length === 0 || names.includes(name)) await run();
  const count = (word: string) => results.filter(({ result }) => result === word).length;
  console.log(`${count('pass')} pass, ${count('fail')} fail, ${count('absent')} absent`);
  return count('fail') > 0 ? 1 : 0;
}

void main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
