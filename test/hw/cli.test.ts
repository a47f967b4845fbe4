import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ScionError } from '#base/errors';
import { configCheckVerb, type Program, runProgram } from '#hw/cli';

/** Runs a program with its streams caught. */
async function run(argv: string[]): Promise<{ status: number; out: string; err: string }> {
  const caught = { out: '', err: '' };
  const { write: writeOut } = process.stdout;
  const { write: writeErr } = process.stderr;
  const into = (stream: 'out' | 'err') =>
    ((text: string) => {
      caught[stream] += text;
      return true;
    }) as typeof process.stdout.write;
  process.stdout.write = into('out');
  process.stderr.write = into('err');
  try {
    return { status: await runProgram(PROGRAM, argv), ...caught };
  } finally {
    process.stdout.write = writeOut;
    process.stderr.write = writeErr;
  }
}

const PROGRAM: Program = {
  name: 'device',
  summary: 'a device',
  version: '1.2.3',
  config: { 'serial.url': { type: 'string', help: 'serial port' } },
  defaultVerb: 'run',
  verbs: {
    run: {
      summary: 'run it',
      run: async ({ config, out }) => out(`url ${config.optionalString('serial.url')}`) as undefined,
    },
    'config check': configCheckVerb(),
    'log list': { summary: 'list it', run: async () => undefined },
    'log clear': { summary: 'clear it', run: async () => undefined },
    ping: {
      summary: 'ping a host',
      positionals: ['DST'],
      flags: { count: { type: 'string', help: 'how many' } },
      run: async ({ positionals }) => {
        throw new ScionError('path.none', `no path to ${positionals[0]}`);
      },
    },
  },
};

const Cli = suite('cli');

Cli('the default verb runs with flags only, and a verb of two words is found', async () => {
  assert.is((await run(['--serial-url', 'x'])).out, 'url x\n');
  assert.match((await run(['config', 'check', '--serial-url', 'x'])).out, /serial\.url = "x".*# flag: serial port/);
});

Cli('help and version succeed on stdout', async () => {
  const help = await run(['ping', '--help']);
  assert.is(help.status, 0);
  for (const word of ['ping DST', 'ping a host', '--count', '--log-level', 'config --help'])
    assert.ok(help.out.includes(word), word);
  assert.not.match(help.out, /--serial-url/);
  for (const argv of [
    ['--help'],
    ['run', '--help'],
    ['config', '--help'],
    ['log', '--help'],
    ['config', 'check', '--help'],
  ]) {
    const { status, out } = await run(argv);
    assert.is(status, 0);
    for (const word of ['ping DST', 'config check', '--serial-url', '--log-level']) assert.ok(out.includes(word), word);
  }
  assert.equal(await run(['--version']), { status: 0, out: 'device 1.2.3\n', err: '' });
});

Cli('an unknown flag, command, level or argument is exit 2 with a hint', async () => {
  for (const [argv, hint] of [
    [['--serial-ulr', 'x'], /did you mean --serial-url\?/],
    [['pong'], /unknown command pong; did you mean ping\?/],
    [['config'], /unknown command config; did you mean config check\?/],
    [['config', 'chekc'], /unknown command config chekc; did you mean config check\?/],
    [['confg', 'check'], /did you mean config check\?/],
    [['ping'], /missing argument DST/],
    [['ping', 'a', 'b'], /unexpected argument b/],
    [['--log-level', 'loud'], /error, warn, info, debug/],
    [['--serial-url'], /serial-url/],
    [['--config', '/nowhere/x.toml'], /cannot read the configuration/],
  ] as [string[], RegExp][]) {
    const { status, out, err } = await run(argv);
    assert.is(status, 2, argv.join(' '));
    assert.is(out, '');
    assert.match(err, hint);
  }
});

Cli('an error carries its exit status and, with --json, its code', async () => {
  assert.is((await run(['ping', 'x'])).status, 3);
  assert.equal(JSON.parse((await run(['ping', 'x', '--json'])).err), { error: 'path.none', message: 'no path to x' });
});

Cli.run();
