/**
 * A meter without any key is enrolled, read, commanded and revoked: firmware, gateways and head end are the bundles in their
 * own processes, the person is this test.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { deviceNode, Lab } from '#hw/lab/lab';
import { LabProcess } from '#hw/lab/process';
import { HEADEND_AS, METER_AS } from '#hw/lab/topology';
import { Household } from '#hw/sim/household';
import { SimMeter, type SimSlave, startSimSlave } from '#hw/sim/or-we-514';
import { readRelayValue } from '#hw/sim/relay';
import { GUARD_MS } from '#test/guard';
import { BUNDLES, until } from './platform.ts';

const Enrolment = suite('enrolment');
const folder = mkdtempSync(join(tmpdir(), 's3mp-enrolment-'));
const inside = (...names: string[]) => join(folder, ...names);
const headendScript = join(BUNDLES, 'headend.js');

let lab: Lab;
let slave: SimSlave | undefined;
let meterHost: string;
let meter: LabProcess;
let headend: LabProcess | undefined;
let url = '';
let logs = '';

const meterArgs = () => [
  ...['--meter-serial', '77', '--serial-url', `tcp://${lab.addresses.energyMeter(1)}:1502`],
  ...['--relay-driver', 'sim', '--relay-path', inside('relay'), '--clock-source', 'system'],
  ...['--display-driver', 'sim', '--display-path', inside('display'), '--state-directory', inside('state')],
  ...['--scion-topology', lab.topologyFile(METER_AS.ia), '--scion-address', meterHost],
];

function device(name: string, script: string, node: string, args: readonly string[]): LabProcess {
  const spec = { name, node, nodeFlags: [], script: join(BUNDLES, script), args, logFile: inside(`${name}.log`) };
  return new LabProcess(spec, (line) => {
    logs += `${JSON.stringify(line)}\n`;
  });
}

/** Runs the head end's command line. @param input  what the person types */
function command(args: readonly string[], input = ''): Promise<{ status: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const all = [headendScript, ...args, '--config', inside('headend.toml')];
    const child = execFile(process.execPath, all, { timeout: GUARD_MS }, (error, out, err) => {
      logs += err;
      resolve({ status: error === null ? 0 : Number(error.code), out, err });
    });
    child.stdin!.end(input);
  });
}

const serving = (...args: string[]) => command([...args, '--url', url]);

async function startHeadend(commandKey?: string): Promise<void> {
  await headend?.stop();
  const args = ['serve', '--config', inside('headend.toml')];
  if (commandKey) args.push('--dlms-command-key-file', commandKey);
  headend = device('headend', 'headend.js', process.execPath, args);
  url = String((await headend.start()).url);
}

const read = () => serving('read', 'flat-1');

interface AuditFacts {
  readonly actor: string;
  readonly action: string;
  readonly meter: string | null;
}

/** What the audit of the running head end holds. */
async function audited(): Promise<AuditFacts[]> {
  const headers = { authorization: `Bearer ${readFileSync(inside('token'), 'utf8').trim()}` };
  const answer = await fetch(new URL('api/v1/audit', url), { headers });
  const { lines } = (await answer.json()) as { lines: { line: string }[] };
  return lines.map(({ line }) => JSON.parse(line) as AuditFacts);
}

/** The code as `firmware.js enrol` shows it while the meter runs. */
function shownCode(): Promise<{ code: string; ended: Promise<number | null>; child: ChildProcess }> {
  const child = spawn(deviceNode(), [join(BUNDLES, 'firmware.js'), 'enrol', ...meterArgs()], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return new Promise((resolve, reject) => {
    child.stdout!.on('data', (chunk: Buffer) => {
      const code = /enrolment code {2}(\S+)/.exec(String(chunk))?.[1];
      if (code) resolve({ code, ended, child });
    });
    void ended.then((status) => reject(new Error(`firmware.js enrol ended with ${status} before it showed a code`)));
  });
}

Enrolment.before(async () => {
  lab = await Lab.start({ bundles: BUNDLES });
  meterHost = lab.addresses.meter(METER_AS.number, 1);
  writeFileSync(
    inside('headend.toml'),
    [
      `[http]\nhost = "127.0.0.1"\nport = 0\ntoken_file = "${inside('token')}"`,
      `[store]\nfile = "${inside('headend.db')}"`,
      `[scion]\ntopology = "${lab.topologyFile(HEADEND_AS.ia)}"\naddress = "${lab.addresses.headend(HEADEND_AS.number)}"`,
      `[path]\nacl = ["+ 1", "-"]`,
      `[dlms]\nstarts_file = "${inside('starts')}"`,
      `[pki]\ndirectory = "${inside('pki')}"`,
      `[fleet]\ndirectory = "${inside('meters')}"\n`,
    ].join('\n\n'),
  );
  const household = new Household({ seed: 7, relayFolder: inside('relay') });
  slave = await startSimSlave({ host: lab.addresses.energyMeter(1), port: 1502 }, new SimMeter(1, household));
  meter = device('meter', 'firmware.js', deviceNode(), meterArgs());
  await meter.start();
  await startHeadend();
});
Enrolment.after(async () => {
  await Promise.all([meter?.stop(), headend?.stop()]);
  meter?.close();
  headend?.close();
  await slave?.close();
  await lab?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const typed: string[] = [];

Enrolment('a wrong or mistyped code enrols nothing', async () => {
  const { code, child } = await shownCode();
  child.kill();
  typed.push(code);
  const add = ['meter', 'add', 'flat-1', '--address', `${METER_AS.ia},${meterHost}`];
  const mistyped = await command(add, `${code.slice(0, -1)}${code.endsWith('0') ? '1' : '0'}\n`);
  assert.is(mistyped.status, 2, mistyped.err);
  assert.match(mistyped.err, /group 4 .*mistyped/);
  const wrong = await command(add, '00000-00000-00000-00000\n');
  assert.is(wrong.status, 4, wrong.err);
  assert.match(wrong.err, /does not accept the code/);
  assert.not.ok(existsSync(inside('state', 'pki', 'trust.pem')));
  assert.not.ok(existsSync(inside('meters', 'flat-1.json')));

  // A command is a process of its own: what it counted stands in a file.
  for (let i = 0; i < 3; i++) assert.is((await command(add, '00000-00000-00000-00000\n')).status, 4);
  const early = await command(add, `${code}\n`);
  assert.is(early.status, 4, early.err);
  assert.match(early.err, /was wrong 4 times: the next attempt may be made in (30|2\d) s/);
  assert.not.ok(existsSync(inside('state', 'pki', 'trust.pem')), 'also the right code has to wait');
  assert.equal(
    (await audited()).map(({ action }) => action),
    [...Array(4).fill('enrolment.refused'), 'enrolment.delayed'],
  );
  // Half a minute later.
  rmSync(inside('pki', 'guesses.json'));
});

Enrolment('with the code that it shows, a meter without keys is enrolled and read at once', async () => {
  const { code, ended } = await shownCode();
  assert.is(code, typed[0], 'the code is shown until it is used');
  const display = readFileSync(
    inside('display', readdirSync(inside('display')).find((f) => f.endsWith('.txt'))!),
    'utf8',
  );
  assert.ok(display.replace(/[^0-9A-Z]/g, '').includes(code.slice(0, 11).replace('-', '')), display);
  const { status, out, err } = await serving('meter', 'list');
  assert.equal([status, out], [0, ''], err);
  const add = ['meter', 'add', 'flat-1', '--address', `${METER_AS.ia},${meterHost}`, '--url', url];
  // The meter lets a guesser wait, too.
  const added = await until('an enrolment', async () => {
    const answer = await command(add, `${code.toLowerCase()}\n`);
    if (answer.status !== 0) assert.match(answer.err, /tries no code now/);
    return answer.status === 0 && answer;
  });
  assert.equal((await audited()).at(-1)?.action, 'meter.enrolled');
  assert.match(added.out, /system title {2}53334D000000004D/);
  assert.is(await ended, 0, 'firmware.js enrol ends when the meter is enrolled');
  const reading = await until('a reading', async () => {
    const answer = await read();
    return answer.status === 0 && answer;
  });
  assert.match(reading.out, /^Voltage +2\d\d/m);
  const again = await command(['meter', 'add', 'flat-2', '--address', `${METER_AS.ia},${meterHost}`], `${code}\n`);
  assert.is(again.status, 4, 'the code opens once');
});

Enrolment('the meter is read after its restart, and after the head end has another title', async () => {
  await meter.stop();
  await meter.start();
  await until('a reading', async () => (await read()).status === 0);
  await startHeadend();
  await until('a reading', async () => (await read()).status === 0);
});

Enrolment('a command needs a certified command key, which the head end brings to the meter', async () => {
  const relay = inside('relay');
  const refused = await serving('disconnect', 'flat-1', '--reason', 'no key');
  assert.is(refused.status, 1, refused.err);
  assert.is(readRelayValue(relay), true);
  const made = await command(['pki', 'command-key', 'ops']);
  assert.is(made.status, 0, made.err);
  await startHeadend(inside('pki', 'commands', 'ops.key'));
  await until('a reading', async () => (await read()).status === 0);
  const off = await serving('disconnect', 'flat-1', '--reason', 'test');
  assert.is(off.status, 0, off.err);
  assert.is(readRelayValue(relay), false);
  assert.is((await serving('connect', 'flat-1')).status, 0);
  const revoked = await command(['pki', 'revoke-command', 'ops', '--url', url]);
  assert.is(revoked.status, 0, revoked.err);
  await until('a reading', async () => (await read()).status === 0);
  assert.is((await serving('disconnect', 'flat-1', '--reason', 'revoked key')).status, 1);
  assert.is(readRelayValue(relay), true, 'a revoked command key moves nothing');
});

Enrolment('a revoked meter is not read any more', async () => {
  const { status, out, err } = await command(['meter', 'revoke', 'flat-1', '--reason', 'stolen', '--url', url]);
  assert.is(status, 0, err);
  assert.match(out, /2 certificates revoked, revocation list number 2/);
  const refused = await read();
  assert.is(refused.status, 4, refused.err);
  assert.match(refused.err, /revoked/);
  assert.match((await command(['meter', 'show', 'flat-1'])).out, /^revoked /m);
  const last = (await audited()).at(-1)!;
  assert.equal([last.action, last.meter], ['meter.revoked', 'flat-1']);
  assert.match(last.actor, /^command line of /);
});

Enrolment('a meter that has lost whom it believes shows no code, serves nobody and measures on', async () => {
  await meter.stop();
  const trust = inside('state', 'pki', 'trust.pem');
  const kept = readFileSync(trust, 'utf8');
  writeFileSync(trust, kept.slice(0, 200));
  const stopped = spawn(deviceNode(), [join(BUNDLES, 'firmware.js'), 'enrol', ...meterArgs()]);
  let said = '';
  for (const stream of [stopped.stdout, stopped.stderr]) stream.on('data', (chunk) => (said += chunk));
  assert.is(await new Promise((resolve) => stopped.once('close', resolve)), 2, said);
  assert.match(said, /cannot use its keys or certificates/);
  assert.not.match(said, /enrolment code/);
  await meter.start();
  assert.not.ok(existsSync(inside('state', 'pki', 'code')));
  await until('values on its display', async () => {
    const name = readdirSync(inside('display')).find((f) => f.endsWith('.txt'))!;
    return /\d W\b/.test(readFileSync(inside('display', name), 'utf8'));
  });
  writeFileSync(trust, kept);
});

Enrolment("every file with a secret is its owner's alone, and no code is in a log", () => {
  const secret = /\.key$|trust\.pem$|code$|register\.json$|starts$|counters$|token$/;
  let seen = 0;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!secret.test(name) || !statSync(inside(name)).isFile()) continue;
    seen++;
    assert.is(statSync(inside(name)).mode & 0o777, 0o600, name);
  }
  assert.ok(seen >= 10, `${seen} secret files`);
  assert.not.ok(existsSync(inside('state', 'pki', 'code')), 'the used code is gone');
  assert.is(typed.length, 1);
  const squeezed = (text: string) => text.toUpperCase().replace(/[^0-9A-Z]/g, '');
  const files = readdirSync(folder)
    .filter((f) => f.endsWith('.log'))
    .map((f) => readFileSync(inside(f), 'utf8'));
  for (const text of [logs, ...files]) assert.not.ok(squeezed(text).includes(squeezed(typed[0]!)));
});

Enrolment.run();
