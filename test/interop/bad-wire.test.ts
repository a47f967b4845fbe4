/** A twentieth of the soak `noise`: the meter's poll loop and a foreign energy meter on a wire that damages what passes. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';
import { seeded } from '#test/random';
import { noise } from '../soak/noise.ts';
import { hasPymodbus, hasSocat } from './pymodbus.ts';

const ready =
  needs('socat', hasSocat(), 'apt-get install socat') &&
  needs('pymodbus', hasPymodbus(), 'apt-get install python3-pymodbus python3-serial-asyncio');

if (ready) {
  const Wire = suite('a foreign energy meter on a bad wire');

  Wire(
    'noise, late answers and a pause: nothing wrong unmarked, and the second pass after it has all values',
    async () => {
      const seed = Number(process.env.S3MP_SEED ?? Date.now() % 0x1_0000_0000);
      const { figures } = await noise({ random: seeded(seed), seed, share: 0.05, say() {} });
      console.log(JSON.stringify(figures));
      const { damaged, echoes, strayBytes, changes } = figures!;
      assert.ok(
        [damaged, echoes, strayBytes, changes].every((count) => Number(count) > 0),
        'the wire was bad',
      );
    },
  );

  Wire.run();
}
