/**
 * GPIO by the kernel's sysfs files, which need no addon. Newer kernels number the lines of the Pi's chip from 512 on, so
 * the chip is found by its label and its base added to the BCM number. The direction `high` or `low` sets level and
 * direction in one step. A line is left exported: unexporting it would let go of the level.
 */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type OutputLine, readNode, writeNode } from '#hw/relay/output';

/** Labels of the chip with the header's pins: Pi 0 to 3, Pi 4, Pi 5. A Pi 3B+ has a second chip, an expander. */
const CHIP_LABELS = ['pinctrl-bcm2835', 'pinctrl-bcm2711', 'pinctrl-rp1'];

export interface GpioLine {
  readonly number: number;
  readonly chip: string;
}

/**
 * Finds a BCM line among the chips of sysfs.
 * @param label  label of the chip where it is none of the Pi's
 * @throws Error when there is no such chip or it has no such line
 */
export function findGpio(root: string, pin: number, label?: string): GpioLine {
  const folder = join(root, 'class/gpio');
  if (!existsSync(folder))
    throw new Error(`${folder} is missing: this kernel has no GPIO by sysfs; use the led driver`);
  const wanted = label === undefined ? CHIP_LABELS : [label];
  const seen: string[] = [];
  for (const name of readdirSync(folder)) {
    if (!name.startsWith('gpiochip')) continue;
    const chip = readNode(join(folder, name, 'label'));
    seen.push(chip);
    if (!wanted.includes(chip)) continue;
    const lines = Number(readNode(join(folder, name, 'ngpio')));
    if (pin >= lines) throw new Error(`${chip} has lines 0 to ${lines - 1}, no line ${pin}`);
    return { number: Number(readNode(join(folder, name, 'base'))) + pin, chip };
  }
  throw new Error(
    `no GPIO chip ${wanted.join(' or ')} in ${folder}, found ${seen.join(', ') || 'none'}; set relay.chip`,
  );
}

/** @throws Error as `findGpio` */
export function sysfsOutput(root: string, pin: number, label?: string): OutputLine {
  const { number, chip } = findGpio(root, pin, label);
  const gpio = join(root, 'class/gpio');
  const node = (name: string) => join(gpio, `gpio${number}`, name);
  return {
    name: `sysfs GPIO ${pin} (${number} on ${chip})`,
    claim(high) {
      if (!existsSync(join(gpio, `gpio${number}`))) writeNode(join(gpio, 'export'), String(number));
      // Only what `value` means, not the level, depends on it.
      if (readNode(node('active_low')) !== '0') writeNode(node('active_low'), '0');
      if (readNode(node('direction')) !== 'out') writeNode(node('direction'), high ? 'high' : 'low');
    },
    write: (high) => writeNode(node('value'), high ? '1' : '0'),
    read: () => readNode(node('value')) !== '0',
  };
}
