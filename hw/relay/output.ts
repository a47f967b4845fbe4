/** One output of the machine, high or low, and files of sysfs. */

import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';

export interface OutputLine {
  /** For people: `sysfs GPIO 17 (529 on pinctrl-bcm2835)`. */
  readonly name: string;
  /**
   * Claims the line without a needless edge: an exported output keeps its level, any other line becomes an output that
   * begins with `high`; unknown, with the level that it has, or low where it has none.
   * @throws Error, with an errno code when a second try may succeed
   */
  claim(high: boolean | undefined): void;
  write(high: boolean): void;
  /** Level as the kernel reads it back. */
  read(): boolean;
}

/** Writes a file of sysfs, which must exist. */
export function writeNode(file: string, text: string): void {
  const descriptor = openSync(file, constants.O_WRONLY);
  try {
    writeSync(descriptor, text);
  } finally {
    closeSync(descriptor);
  }
}

/** Text of a file of sysfs. */
export function readNode(file: string): string {
  return readFileSync(file, 'latin1').trim();
}
