/** How far a clock is off, in words. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { offsetText } from '../../../headend/fleet/offset-text.ts';

const Offset = suite('offset text');
const DAY_MS = 86_400_000;

/** ms, exact, brief. */
const OFFSETS: readonly (readonly [number, string, string])[] = [
  [0, '0.000 s ahead', '0.0 s ahead'],
  [-12, '0.012 s behind', '0.0 s behind'],
  [119_000, '119.000 s ahead', '119.0 s ahead'],
  [-150_000, '2.5 min behind', '3 min behind'],
  [-3_600_000, '60.0 min behind', '60 min behind'],
  [90_000_000, '25.0 h ahead', '25 h ahead'],
  [-400 * DAY_MS, '400.0 days behind', '400 days behind'],
];

Offset('offsets in words, in the unit that a person would take', () => {
  for (const [ms, exact, brief] of OFFSETS) {
    assert.is(offsetText(ms), exact);
    assert.is(offsetText(ms, 'brief'), brief);
  }
});

Offset.run();
