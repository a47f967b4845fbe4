/** Path policy: hop predicates, ACLs (geofence), sequences. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '#base/errors';
import { emptyPath } from '#scion/combinator';
import { parseIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';
import { parseHopPredicate, parsePolicy, parseSequence, whyForbidden } from '#scion/policy';

const Policy = suite('path policy');

/** A path from texts such as `1-ff00:0:111#41`. */
function pathOf(...interfaces: string[]): ScionPath {
  const list = interfaces.map((text) => {
    const [ia, id] = text.split('#');
    return { ia: parseIsdAs(ia!), id: Number(id) };
  });
  return { ...emptyPath(list[0]!.ia, 1472), interfaces: list };
}

const home = pathOf('1-ff00:0:112#1', '1-ff00:0:110#2', '1-ff00:0:110#3', '1-ff00:0:111#4');
const abroad = pathOf(
  '1-ff00:0:112#1',
  '1-ff00:0:110#2',
  '1-ff00:0:110#5',
  '2-ff00:0:210#6',
  '2-ff00:0:210#7',
  '1-ff00:0:120#8',
  '1-ff00:0:120#9',
  '1-ff00:0:111#10',
);

Policy('a geofence keeps paths inside the ISD and says why another one is refused', () => {
  const fence = parsePolicy(['+ 1', '-']);
  assert.is(whyForbidden(fence, home), undefined);
  assert.is(whyForbidden(fence, abroad), '2-ff00:0:210#6 is denied by "-"');
});

Policy('the first matching entry decides, per interface', () => {
  assert.is(
    whyForbidden(parsePolicy(['- 1-ff00:0:110', '+ 1', '-']), home),
    '1-ff00:0:110#2 is denied by "- 1-ff00:0:110"',
  );
  assert.is(whyForbidden(parsePolicy(['- 1-ff00:0:133', '+']), home), undefined);
  assert.ok(whyForbidden(parsePolicy(['- 1-ff00:0:110#3', '+']), home));
  assert.is(whyForbidden(parsePolicy(['- 1-ff00:0:110#9', '+']), home), undefined);
});

Policy('two interfaces in a predicate mean inbound and outbound', () => {
  assert.ok(whyForbidden(parsePolicy(['- 1-ff00:0:110#2,0', '+']), home));
  assert.ok(whyForbidden(parsePolicy(['- 1-ff00:0:110#7,3', '+']), home));
  assert.is(whyForbidden(parsePolicy(['- 1-ff00:0:110#3,2', '+']), home), undefined);
});

Policy('without a policy, and inside the own AS, everything is allowed', () => {
  assert.is(whyForbidden(parsePolicy([]), abroad), undefined);
  assert.is(whyForbidden(parsePolicy(['-']), emptyPath(1n, 1472)), undefined);
});

for (const acl of [
  ['+ 1'],
  ['+', '- 1'],
  ['- 0', '+'],
  ['* 1', '-'],
  ['+ 1-ff00:0', '-'],
  ['+ 70000', '-'],
  ['+ 1-0#4', '-'],
  ['+1', '-'],
]) {
  Policy(`refuses the ACL ${JSON.stringify(acl)}`, () => {
    assert.throws(
      () => parsePolicy(acl),
      (e: unknown) => e instanceof ConfigError && e.code === 'config.invalid',
    );
  });
}

Policy('hop predicates', () => {
  assert.equal(parseHopPredicate('0'), { isd: 0, as: 0n, interfaces: [] });
  assert.equal(parseHopPredicate('1-0'), { isd: 1, as: 0n, interfaces: [] });
  assert.equal(parseHopPredicate('1-ff00:0:110#1,2'), { isd: 1, as: 0xff00_0000_0110n, interfaces: [1, 2] });
});

Policy('a sequence becomes the official regular expression', () => {
  assert.is(
    parseSequence('1-ff00:0:133#1 1+ 2-ff00:0:1? 2-ff00:0:233#1').source,
    '^(((((1-ff00:0:133#((([0-9]+),1)|(1,([0-9]+)))) +)(((1-(([0-9]+)|([0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+))#([0-9]+),([0-9]+)) +))+)(((2-ff00:0:1#([0-9]+),([0-9]+)) +))?)((2-ff00:0:233#((([0-9]+),1)|(1,([0-9]+)))) +))$',
  );
  assert.ok(
    parseSequence('1-ff00:0:133#1 1+ 2-ff00:0:1? 2-ff00:0:233#1').test(
      '1-ff00:0:133#0,1 1-ff00:0:120#2,1 2-ff00:0:233#1,0 ',
    ),
  );
});

Policy('| binds tighter than one hop after another', () => {
  const sequence = parsePolicy([], '1-ff00:0:112 1-ff00:0:110|1-ff00:0:120 1-ff00:0:111');
  assert.is(whyForbidden(sequence, home), undefined);
  assert.ok(whyForbidden(sequence, abroad));
  assert.is(whyForbidden(parsePolicy([], '1-ff00:0:112 (0 0)* 1-ff00:0:110 1-ff00:0:111'), home), undefined);
  assert.is(whyForbidden(parsePolicy([], '0*'), abroad), undefined);
});

for (const text of ['(1', '1)', '?', '1 |', '1-ff00:0:110#', 'a'])
  Policy(`refuses the sequence ${text}`, () => {
    assert.throws(
      () => parsePolicy([], text),
      (e: unknown) => e instanceof ConfigError && e.code === 'config.invalid',
    );
  });

Policy.run();
