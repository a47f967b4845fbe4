/** Path policy: hop predicates, ACLs (geofence), sequences. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '#base/errors';
import { emptyPath } from '#scion/combinator';
import { formatAs, parseIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';
import { parseHopPredicate, parsePolicy, whyForbidden } from '#scion/policy';
import { parseSequence, type SequenceNode, sequenceMatches } from '#scion/sequence';

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
  ['+  1', '-'],
  ['+ ', '-'],
  [' +'],
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

const ANY_AS = '(([0-9]+)|([0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+))';

/** The regular expression that the official parser makes of a sequence. */
function officialExpression(node: SequenceNode): string {
  if ('left' in node) {
    const between = node.kind === 'or' ? '|' : '';
    return `(${officialExpression(node.left)}${between}${officialExpression(node.right)})`;
  }
  if ('of' in node) return `(${officialExpression(node.of)})${node.kind}`;
  const { isd, as, interfaces } = node.hop;
  const id = (n: number) => (n === 0 ? '([0-9]+)' : `${n}`);
  const [first = 0, second] = interfaces;
  const ids =
    interfaces.length === 1 ? `((${id(0)},${id(first)})|(${id(first)},${id(0)}))` : `${id(first)},${id(second ?? 0)}`;
  return `((${id(isd)}-${as === 0n ? ANY_AS : formatAs(as)}#${ids}) +)`;
}

Policy('a sequence is read as the official parser reads it', () => {
  const sequence = parseSequence('1-ff00:0:133#1 1+ 2-ff00:0:1? 2-ff00:0:233#1');
  assert.is(
    officialExpression(sequence.root),
    '(((((1-ff00:0:133#((([0-9]+),1)|(1,([0-9]+)))) +)(((1-(([0-9]+)|([0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+))#([0-9]+),([0-9]+)) +))+)(((2-ff00:0:1#([0-9]+),([0-9]+)) +))?)((2-ff00:0:233#((([0-9]+),1)|(1,([0-9]+)))) +))',
  );
  const path = pathOf('1-ff00:0:133#1', '1-ff00:0:120#2', '1-ff00:0:120#1', '2-ff00:0:233#1');
  assert.ok(sequenceMatches(sequence, path.interfaces));
});

Policy('blanks separate only where they must, and the longest token counts', () => {
  const same = (a: string, b: string) => assert.equal(parseSequence(a).root, parseSequence(b).root);
  same('1-ff00:0:110 #1 , 2(0)*', '1-ff00:0:110#1,2 0*');
  same('01', '0 1');
  same('1-ff00:0:0110', '1-ff00:0:0 110');
  same('1-01', '1-0 1');
  assert.ok(whyForbidden(parsePolicy([], '0-0#7'), home));
  assert.is(whyForbidden(parsePolicy([], '0 0-0#3 0'), home), undefined);
});

Policy('a sequence that would drown a backtracking matcher takes no time', () => {
  const hops = Array.from({ length: 62 }, (_, i) => `1-ff00:0:${i.toString(16)}#${i + 1}`);
  const long = pathOf(...hops);
  const nested = parseSequence(`${'('.repeat(100)}0*${')*'.repeat(100)} 2-1`);
  const many = parseSequence(`${'0* '.repeat(300)}2-1`);
  const begun = process.hrtime.bigint();
  assert.not(sequenceMatches(nested, long.interfaces));
  assert.not(sequenceMatches(many, long.interfaces));
  assert.ok(Number(process.hrtime.bigint() - begun) / 1e6 < 1000);
});

Policy('| binds tighter than one hop after another', () => {
  const sequence = parsePolicy([], '1-ff00:0:112 1-ff00:0:110|1-ff00:0:120 1-ff00:0:111');
  assert.is(whyForbidden(sequence, home), undefined);
  assert.ok(whyForbidden(sequence, abroad));
  assert.is(whyForbidden(parsePolicy([], '1-ff00:0:112 (0 0)* 1-ff00:0:110 1-ff00:0:111'), home), undefined);
  assert.is(whyForbidden(parsePolicy([], '0*'), abroad), undefined);
});

for (const text of [
  ' ',
  '(1',
  '1)',
  '?',
  '1 |',
  '1-ff00:0:110#',
  'a',
  '1#2',
  '1-FF00:0:110',
  '70000',
  '1-1#70000',
  '()',
  '0 '.repeat(1001),
])
  Policy(`refuses the sequence ${text.slice(0, 20)}`, () => {
    assert.throws(
      () => parsePolicy([], text),
      (e: unknown) => e instanceof ConfigError && e.code === 'config.invalid',
    );
  });

Policy.run();
