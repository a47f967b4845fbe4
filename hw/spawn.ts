import type { ChildProcess, SpawnOptions } from 'node:child_process';

/** Node's `spawn`. Its module is loaded at the first command: a meter that runs none does not keep it in memory. */
export function spawn(command: string, words: readonly string[], options: SpawnOptions): ChildProcess {
  return process.getBuiltinModule('node:child_process').spawn(command, words, options);
}
