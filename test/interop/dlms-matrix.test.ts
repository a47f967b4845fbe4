/**
 * The interop matrix with the Java peers, so that each feature is tried with them too; the clients in Python have tests of
 * their own for most. `npm run interop -- dlms` runs all of it and prints it.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';
import { FEATURES, type Feature } from './dlms-cells.ts';
import { featureNames, matrixPeers } from './dlms-matrix.ts';

const JAVA_HINT = 'needs Java: mvn -f test/interop/java process-classes';
const PYTHON_HINT = 'needs Python: pip install -r test/interop/requirements.txt, S3MP_PYTHON';
/** What no test of its own tries with the clients in Python. */
const OTHERS: readonly Feature[] = ['sha256', 'sha1', 'md5'];

for (const peer of matrixPeers()) {
  const isJava = peer.name.includes('Java');
  const name = isJava ? 'gurux-java' : peer.name === 'dlms-cosem' ? 'dlms-cosem' : 'gurux';
  if (!needs(name, peer.version !== undefined, isJava ? JAVA_HINT : PYTHON_HINT)) continue;
  const Peer = suite(`dlms matrix: ${peer.name}`);
  for (const feature of isJava ? featureNames : OTHERS)
    Peer(FEATURES[feature], async () => {
      const { result, why } = await peer.run(feature);
      assert.is.not(result, 'fail', why);
    });
  Peer.run();
}
