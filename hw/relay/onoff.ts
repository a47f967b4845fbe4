/** GPIO by the optional addon onoff, which knows nothing of chip bases: it gets the number that sysfs uses. */

import { messageOf } from '#base/errors';
import type { OutputLine } from '#hw/relay/output';
import { findGpio } from '#hw/relay/sysfs';

interface OnoffGpio {
  direction(): string;
  setDirection(direction: string): void;
  readSync(): number;
  writeSync(value: number): void;
}
type OnoffModule = { Gpio: new (gpio: number, direction: string, options: object) => OnoffGpio };

/** @throws Error when the addon cannot be loaded, or as `findGpio` */
export async function onoffOutput(root: string, pin: number, label?: string): Promise<OutputLine> {
  const { number, chip } = findGpio(root, pin, label);
  // Neither the compiler nor the bundler may look for a package that need not be there.
  const name = 'onoff';
  const { Gpio } = (await import(name).catch((error) => {
    throw new Error(`onoff cannot be loaded (${messageOf(error).split('\n')[0]}); use the led or sysfs driver`);
  })) as OnoffModule;
  let gpio: OnoffGpio | undefined;
  return {
    name: `onoff GPIO ${pin} (${number} on ${chip})`,
    claim(high) {
      const direction = high ? 'high' : 'low';
      gpio = new Gpio(number, direction, { reconfigureDirection: false });
      if (gpio.direction() !== 'out') gpio.setDirection(direction);
    },
    write: (high) => gpio!.writeSync(high ? 1 : 0),
    read: () => gpio!.readSync() !== 0,
  };
}
