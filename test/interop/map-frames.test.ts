/** The golden frames of the register maps are what pymodbus encodes from the manufacturers' sheets. */

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';
import vectors from '../vectors/modbus-maps.json';
import { hasPymodbus } from './pymodbus.ts';

const Frames = suite('golden frames of the register maps');

Frames('pymodbus encodes these bytes', () => {
  const script = join(process.cwd(), 'test', 'interop', 'map-frames.py');
  const printed = execFileSync('/usr/bin/python3', [script], { encoding: 'utf8' });
  assert.equal(JSON.parse(printed), vectors);
});

if (needs('pymodbus', hasPymodbus(), 'apt-get install python3-pymodbus python3-serial-asyncio')) Frames.run();
