/**
 * An output that the kernel's gpio-led overlay has claimed at boot: `dtoverlay=gpio-led,gpio=17,label=relay,trigger=none`
 * makes /sys/class/leds/relay. Polarity, pin and level at boot are the overlay's.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type OutputLine, readNode, writeNode } from '#hw/relay/output';

export function ledFolder(root: string, name: string): string {
  return join(root, 'class/leds', name);
}

export function ledOutput(root: string, name: string, pin: number): OutputLine {
  const folder = ledFolder(root, name);
  const read = () => readNode(join(folder, 'brightness')) !== '0';
  const write = (high: boolean) => writeNode(join(folder, 'brightness'), high ? '1' : '0');
  return {
    name: `LED ${name}`,
    claim(high) {
      if (!existsSync(folder))
        throw new Error(`no LED ${name}: add dtoverlay=gpio-led,gpio=${pin},label=${name},trigger=none to config.txt`);
      // Taking a trigger away would switch the output off.
      const trigger = /\[(.*)\]/.exec(readNode(join(folder, 'trigger')))?.[1];
      if (trigger !== 'none') throw new Error(`${folder} obeys trigger ${trigger}; give the overlay trigger=none`);
      if (high !== undefined && read() !== high) write(high);
    },
    write,
    read,
  };
}
