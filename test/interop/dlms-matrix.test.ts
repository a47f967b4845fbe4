/**
 * The interop matrix with the Java peers, so that each feature is tried with them too; the clients in Python have tests of
 * their own. `npm run interop -- dlms` runs all of it and prints it.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';
import { FEATURES, featureNames, matrixPeers } from './dlms-matrix.ts';

const HINT = 'needs Java: mvn -f test/interop/java process-classes';

for (const peer of matrixPeers().filter(({ name }) => name.includes('Java'))) {
  if (!needs('gurux-java', peer.version !== undefined, HINT)) continue;
  const Peer = suite(`dlms matrix: ${peer.name}`);
  for (const feature of featureNames)
    Peer(FEATURES[feature], async () => {
      const { result, why } = await peer.run(feature);
      assert.is.not(result, 'fail', why);
    });
  Peer.run();
}
