/** The meter's server and model alone, over TCP, for the bench: prints its port; the end of stdin ends it. */

import { listen, testMeter } from '../interop/dlms-meter.ts';

/** Longer than a bench runs without traffic. */
const IDLE_MS = 0;

void listen(testMeter(), { idleMs: IDLE_MS }).then(({ port }) => {
  console.log(port);
  process.stdin.on('end', () => process.exit(0)).resume();
});
