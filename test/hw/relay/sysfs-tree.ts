/**
 * A folder that behaves like the kernel's GPIO files as far as files can: an export makes a line a moment later, a
 * direction `high` or `low` sets the level and reads back as `out`, every change of an output's level is counted.
 */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface FakeChip {
  readonly label: string;
  readonly base: number;
  readonly lines: number;
}

/** Chips of a Pi 3B+ under kernel 6.12: the expander comes first. */
export const PI_3B_PLUS: readonly FakeChip[] = [
  { label: 'raspberrypi-exp-gpio', base: 504, lines: 8 },
  { label: 'pinctrl-bcm2835', base: 512, lines: 54 },
];

export class SysfsTree {
  readonly root = mkdtempSync(join(tmpdir(), 's3mp-sysfs-'));
  /** Levels that outputs took, in order: `529=1`. */
  readonly levels: string[] = [];
  exports = 0;
  readonly #levels = new Map<string, string>();
  readonly #timer: NodeJS.Timeout;

  constructor(chips: readonly FakeChip[]) {
    mkdirSync(this.path(''), { recursive: true });
    writeFileSync(this.path('export'), '');
    for (const { label, base, lines } of chips) {
      mkdirSync(this.path(`gpiochip${base}`));
      this.write(`gpiochip${base}/label`, `${label}\n`);
      this.write(`gpiochip${base}/base`, `${base}\n`);
      this.write(`gpiochip${base}/ngpio`, `${lines}\n`);
    }
    this.#timer = setInterval(() => this.step(), 2);
  }

  path(name: string): string {
    return join(this.root, 'class/gpio', name);
  }

  read(name: string): string {
    return readFileSync(this.path(name), 'latin1').trim();
  }

  write(name: string, text: string): void {
    writeFileSync(this.path(name), text);
  }

  /** What the kernel would do since the last step. */
  step(): void {
    const wanted = this.read('export');
    if (wanted !== '') {
      this.exports++;
      this.write('export', '');
      this.makeLine(wanted);
    }
    for (const line of this.#levels.keys()) {
      const direction = this.read(`gpio${line}/direction`);
      if (direction === 'high' || direction === 'low') {
        this.write(`gpio${line}/value`, direction === 'high' ? '1\n' : '0\n');
        this.write(`gpio${line}/direction`, 'out\n');
      }
      const level = this.read(`gpio${line}/direction`) === 'in' ? '' : this.read(`gpio${line}/value`).slice(0, 1);
      if (level !== this.#levels.get(line) && level !== '') this.levels.push(`${line}=${level}`);
      this.#levels.set(line, level);
    }
  }

  /** An exported line, an input that reads 0. */
  makeLine(line: string): void {
    mkdirSync(this.path(`gpio${line}`), { recursive: true });
    for (const [name, text] of Object.entries({ active_low: '0\n', value: '0\n', direction: 'in\n' }))
      if (!existsSync(this.path(`gpio${line}/${name}`))) this.write(`gpio${line}/${name}`, text);
    this.#levels.set(line, '');
  }

  close(): void {
    clearInterval(this.#timer);
    rmSync(this.root, { recursive: true });
  }
}
