/** Repeated, late and replayed frames of ciphered associations, and the invocation counters that tell them apart. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, readU32, toHex } from '#base/bytes';
import { MemoryCounter } from '#dlms/client-security';
import { CounterBook, type CounterStorage, MAX_COUNTER } from '#dlms/counters';
import { parseObis } from '#dlms/obis';
import { EventCode } from '#dlms/well-known';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import { KEYS, testMeter, testSecurity } from '../../interop/dlms-meter.ts';
import {
  ask,
  connect,
  DISCONNECT,
  failure,
  give,
  LDN,
  NAME,
  RECONNECT,
  reasons,
  sealed,
  secure,
} from './secure-line.ts';

const Replay = suite('dlms replay');

Replay('a repeated latest datagram is answered again, an older or lower one is a replay', () => {
  const meter = secure();
  const { client, run, session, sent, got } = connect(meter);
  run(client.associate());
  assert.equal(give(session, sent[1]!), got[1], 'the handshake, too');
  run(client.action(DISCONNECT));
  const disconnect = sent.at(-1)!;
  assert.equal(give(session, disconnect), got.at(-1));
  assert.equal(give(session, disconnect, 200_000), got.at(-1), 'no matter how late');
  run(client.action(RECONNECT));
  assert.ok(meter.relay.connected);
  const moves = meter.relay.moves.length;
  const counter = readU32(disconnect, WRAPPER_SIZE + 3);
  const answer = toHex(give(session, disconnect), WRAPPER_SIZE);
  assert.is(answer, `d80106${(counter + 2).toString(16).padStart(8, '0')}`);
  assert.is(meter.relay.moves.length, moves);
  assert.ok(reasons(meter).includes('replayed'));
  assert.equal(give(session, sent.at(-1)!), got.at(-1), 'a replay does not push the latest request out');
  const forged = sealed(LDN, 99, { key: KEYS.master });
  assert.is(ask(session, forged), 'd80105');
  assert.equal(give(session, sent.at(-1)!), got.at(-1), 'nor does a forged one');
});

Replay('an AARQ that is replayed or forged neither opens nor ends an association', () => {
  const meter = secure();
  const { client, run, session, sent } = connect(meter);
  run(client.associate());
  run(client.get(NAME));
  const replay = toHex(give(session, sent[0]!, 60_000), WRAPPER_SIZE);
  assert.match(replay, /^d80106/);
  const forged = sent[0]!.slice();
  forged[forged.length - 1]! ^= 1;
  assert.is(toHex(give(session, forged), WRAPPER_SIZE), 'd80105');
  assert.is(run(client.get(NAME)).type, 'octet-string');
  // The same from elsewhere: neither.
  const elsewhere = meter.server.session('attacker')!;
  assert.match(toHex(give(elsewhere, sent[0]!), WRAPPER_SIZE), /^d80106/);
  assert.is(ask(elsewhere, LDN), 'd80101');
});

/** Runs an exchange up to the point where a request's answer is lost: gives the frame, takes nothing. */
function begun(operation: Generator<Uint8Array, void, Uint8Array>): Uint8Array {
  return (operation.next().value as Uint8Array).slice();
}

Replay('late copies of a handshake are dropped: no answer, no event, no failure counted', () => {
  const meter = secure();
  const { client, run, session, sent } = connect(meter);
  run(client.associate());
  const [aarq, proof] = sent as [Uint8Array, Uint8Array];
  assert.is(give(session, aarq).length, 0, 'the AARQ, while the answer to the challenge is the latest');
  run(client.get(NAME));
  const { length } = meter.events;
  for (const late of [aarq, proof]) assert.is(give(session, late, 5000).length, 0);
  assert.is(meter.events.length, length);
  assert.is(run(client.get(NAME)).type, 'octet-string', 'the association goes on');
  for (const replay of [aarq, proof]) assert.match(toHex(give(session, replay, 60_000), WRAPPER_SIZE), /^d80106/);
  assert.equal(reasons(meter), ['replayed', 'replayed'], 'much later it is a replay');
});

Replay('an AARQ that stayed unanswered is sent again as it is, so that a late AARE leads to an association', () => {
  const meter = secure();
  const { client, run, session, sent } = connect(meter);
  const first = begun(client.associate(1000));
  const late = give(session, first);
  const again = begun(client.associate(6000));
  assert.equal(again, first);
  assert.ok(client.takes(again, late));
  run(client.associate(6500));
  assert.equal(sent[0], first);
  assert.is(run(client.get(NAME)).type, 'octet-string');
  assert.equal(
    meter.events.map(({ kind }) => kind),
    ['association-opened'],
  );

  const { client: slow, session: other } = connect(meter, { title: asciiBytes('S3H00002') }, { key: 'slow' });
  const old = begun(slow.associate(0));
  give(other, old);
  assert.not.equal(begun(slow.associate(20_001)), old, 'the server has stopped waiting for its challenge');
  const { client: stream } = connect(meter, { title: asciiBytes('S3H00003') }, { key: 'stream' });
  assert.not.equal(begun(stream.associate()), begun(stream.associate()), 'a stream brings nothing late');
});

Replay('an AARQ is not answered by what came late from before it', () => {
  const meter = secure();
  const counter = new MemoryCounter(10);
  const { client, run, got } = connect(meter, { counter });
  run(client.associate(0));
  const [aare] = got as [Uint8Array];
  const restarted = connect(meter, { counter: new MemoryCounter(5) }, { key: 'restarted' });
  const operation = restarted.client.associate(0);
  const behind = begun(operation);
  const refusal = give(restarted.session, behind);
  const next = (operation.next(refusal).value as Uint8Array).slice();
  assert.not.equal(next, behind);
  assert.not.ok(restarted.client.takes(next, refusal), 'the counter that it asks for is the one that was taken');
  assert.ok(restarted.client.takes(next, give(restarted.session, next)));

  const anew = begun(client.associate(0));
  const exception = (apdu: string) => fromHex(`000100010001${(apdu.length / 2).toString(16).padStart(4, '0')}${apdu}`);
  assert.not.ok(client.takes(anew, exception('d80101')), 'a lost association is nothing to an AARQ');
  assert.not.ok(client.takes(anew, aare), 'the AARE of the association before');
  assert.ok(client.takes(anew, exception('d80105')));
  assert.ok(client.takes(anew, exception('d80106000000ff')));
});

Replay('a client that a restart put behind is refused without an event, a replay after it is one', () => {
  let record: Uint8Array | undefined;
  const storage: CounterStorage = {
    load: () => record,
    store: (next) => {
      record = next.slice();
    },
  };
  const start = () => testMeter({ security: testSecurity({ counters: new CounterBook(storage) }) });
  const counter = new MemoryCounter(1000);
  const before = connect(start(), { counter });
  before.run(before.client.associate());
  before.run(before.client.get(NAME));

  const meter = start();
  const { client, run, session, sent, got } = connect(meter, { counter });
  const value = (classId: number, obis: string, attribute: number) => {
    const data = run(client.get({ classId, ln: parseObis(obis), attribute }));
    return 'value' in data ? data.value : undefined;
  };
  const fraud = () => [value(7, '0-0:99.98.1.255', 7), value(1, '0-0:96.11.1.255', 2), value(1, '0-0:97.98.0.255', 2)];
  run(client.associate());
  assert.is(toHex(got[0]!, WRAPPER_SIZE), `d80106${(1001 + 256).toString(16).padStart(8, '0')}`);
  assert.equal(reasons(meter), ['behind-restart']);
  assert.equal(fraud(), [0, 0, 0]);

  assert.is(give(session, sent[0]!).length, 0, 'a late copy of it is dropped');
  assert.equal(reasons(meter), ['behind-restart']);
  assert.match(toHex(give(session, sent[0]!, 60_000), WRAPPER_SIZE), /^d80106/);
  assert.equal(reasons(meter), ['behind-restart', 'replayed']);
  assert.equal(fraud(), [1, EventCode.replay, 1 << 3]);

  // Below what a restart can have skipped it is a replay at once.
  const attacked = start();
  const old = connect(attacked, { counter: new MemoryCounter(10) });
  old.run(old.client.associate());
  assert.equal(reasons(attacked), ['replayed']);
});

Replay('a client whose counter is behind is told where to go on, and goes there once', () => {
  const meter = secure();
  const first = connect(meter);
  first.run(first.client.associate());
  first.run(first.client.get(NAME));
  const again = connect(meter, { counter: new MemoryCounter() }, { key: 'restarted' });
  again.run(again.client.associate());
  assert.is(again.run(again.client.get(NAME)).type, 'octet-string');
  const far = meter.server.session('far')!;
  const late = connect(meter, { counter: new MemoryCounter(1_000_000) });
  late.run(late.client.associate());
  const lost = connect(meter, { counter: new MemoryCounter() }, { key: 'lost' });
  const { context } = failure(() => lost.run(lost.client.associate()));
  assert.is(context?.service, 6, 'a jump that is too far is not believed');
  assert.ok(far);
});

Replay('the last counter is taken once, then the keys are used up', () => {
  const meter = secure();
  const { client, run, session } = connect(meter, { counter: new MemoryCounter(MAX_COUNTER - 4) });
  run(client.associate());
  assert.is(run(client.get(NAME)).type, 'octet-string');
  assert.is(failure(() => run(client.get(NAME))).code, 'dlms.counters-used-up');
  assert.is(ask(session, sealed(LDN, MAX_COUNTER)), `d80106ffffffff`);
});

Replay('a server without counters says nothing under its key', () => {
  let isBroken = false;
  const security = testSecurity();
  const { counters } = security.options;
  const next = counters.next.bind(counters);
  counters.next = () => (isBroken ? 0 : next());
  const meter = testMeter({ security });
  const { client, run, session } = connect(meter);
  run(client.associate());
  isBroken = true;
  assert.is(ask(session, sealed(LDN, 77)), 'd80103');
  assert.ok(reasons(meter).includes('counters-used-up'));
  const other = connect(meter, { title: asciiBytes('S3H00002') }, { key: 'other' });
  assert.equal(failure(() => other.run(other.client.associate())).context, { state: 1, service: 3 });
});

Replay.run();
