/** Each test that the conformance page counts on exists. (`docs.test.ts` holds the page itself against the tables.) */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CLASSES, classEvidence, type Evidence, MECHANISMS, SERVICES, TRANSPORTS } from './evidence.ts';

const root = join(__dirname, '..', '..', '..');
const Page = suite('conformance evidence');

Page('every test that it counts on exists under that name', () => {
  const all: Evidence[] = [...Object.values(SERVICES), ...Object.values(MECHANISMS), ...Object.values(TRANSPORTS)];
  for (const id of Object.keys(CLASSES)) all.push(classEvidence(Number(id)));
  for (const evidence of all)
    for (const [file, name] of Object.values(evidence)) {
      const path = join(root, 'test', file);
      assert.ok(existsSync(path), file);
      const source = readFileSync(path, 'utf8');
      assert.ok(
        name === '' || ["('", '("', '(`', ": '"].some((before) => source.includes(before + name)),
        `${file}: ${name}`,
      );
    }
});

Page.run();
