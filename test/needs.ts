/**
 * Optional peers of a test. A missing peer is a printed skip on a person's machine and a failure where CI promised it:
 * the comma-separated list S3MP_REQUIRE names the peers that must be there.
 */

import { spawnSync } from 'node:child_process';
import { GUARD_MS } from '#test/guard';

const required = new Set((process.env.S3MP_REQUIRE ?? '').split(',').filter(Boolean));

/**
 * Says whether `peer` is present; prints the skip that `run.ts` counts when it is not.
 * @param peer  short name, as used in S3MP_REQUIRE
 * @param present  result of looking for it
 * @param why  what to install, for the person who reads the skip
 * @throws Error when the peer is missing but required
 */
export function needs(peer: string, present: boolean, why: string): boolean {
  if (present) return true;
  if (required.has(peer)) throw new Error(`required peer ${peer} is missing: ${why}`);
  console.log(`SKIP ${peer}: ${why}`);
  return false;
}

/** Whether a command runs and exits with 0. */
export function commandWorks(command: string, ...args: string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore', timeout: GUARD_MS }).status === 0;
}

/** The system's Python or the one named by S3MP_PYTHON, where the optional Python peers are installed. */
export const PYTHON = process.env.S3MP_PYTHON ?? '/usr/bin/python3';

/** Whether that Python can import a module. */
export function pythonHas(module: string): boolean {
  return commandWorks(PYTHON, '-c', `import ${module}`);
}
