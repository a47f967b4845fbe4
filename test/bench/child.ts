/** Child processes of benches, and what the kernel says of them. */

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Folder of the bundled benches. */
export const BENCH_FOLDER = __dirname;
/** Folder of the devices' bundles. */
export const BUNDLES = join(__dirname, '..');

/** Starts a Node script and waits for its first output. */
export async function startScript(node: string, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise<void>((resolve, reject) => {
    child.stdout!.once('data', () => resolve());
    child.once('exit', (status) => reject(new Error(`${args.join(' ')} ended with ${status}`)));
  });
  child.stdout!.resume();
  return child;
}

export async function stopChild(child: ChildProcess): Promise<void> {
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGKILL');
  await gone;
}

/** Resident and private (anonymous) memory of a process, MB. */
export function memoryOf(pid: number): { rss: number; anon: number } {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1');
  const megabytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024;
  return { rss: megabytes('VmRSS'), anon: megabytes('RssAnon') };
}
