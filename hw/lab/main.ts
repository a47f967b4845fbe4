/**
 * `npm start` and `npm run lab`: runs a lab, or steers one that runs.
 */

import { dirname } from 'node:path';
import { ConfigError, S3mpError } from '#base/errors';
import { type Program, runProgram, stopRequested, type Verb, type VerbContext } from '#hw/cli';
import { labCommand } from '#hw/lab/commands';
import { runningLabs, sendControl, serveControl } from '#hw/lab/control';
import { Lab } from '#hw/lab/lab';

const DEFAULT_PORT = 8080;
const PORTS_TRIED = 50;

const runVerb: Verb = {
  summary: 'start the whole platform on this PC; Ctrl-C ends it',
  async run(context) {
    const stop = stopRequested();
    const seconds = context.config.number('for');
    const progress = (text: string) => void process.stderr.write(`${text}\n`);
    progress('starting the lab: energy meters, firmware, five ASes, link emulator, head end …');
    let stopped = false;
    void stop.then(() => {
      stopped = true;
    });
    let lab: Lab;
    try {
      lab = await startOnFreePort(context);
    } catch (error) {
      // Ctrl-C reaches the devices too: what they say of it is no failure of the lab.
      if (stopped) return 0;
      throw error;
    }
    const control = await serveControl(lab.folder, (command, args) => labCommand(lab, command, args));
    context.out(`page:    ${lab.pageUrl}`);
    const token = new URL(lab.pageUrl!).hash.replace('#token=', '');
    if (token !== '') progress(`token:   ${token} (for the API: Authorization: Bearer …)`);
    progress(`api:     ${new URL('/api/v1/meters', lab.pageUrl).href.replace(/#.*/, '')}`);
    progress(`lab:     number ${lab.addresses.lab}, files and logs in ${lab.folder}`);
    progress(
      `links:   ${lab.links.names.join(', ')}; steer them with: npm run lab -- status | cut LINK | heal LINK | set LINK delay=80`,
    );
    progress(seconds > 0 ? `ends by itself after ${seconds} s` : 'Ctrl-C ends it');

    let stopTimer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<void>((resolve) => {
      if (seconds > 0) stopTimer = setTimeout(resolve, seconds * 1000);
    });
    await Promise.race([stop, timeUp]);
    clearTimeout(stopTimer);
    progress('stopping …');
    control.close();
    await lab.stop();
    return 0;
  },
};

/** The wanted page port, or without one the first free port from 8080 on. */
async function startOnFreePort(context: VerbContext): Promise<Lab> {
  const { config, log } = context;
  const wanted = config.has('port') ? config.number('port') : undefined;
  for (let port = wanted ?? DEFAULT_PORT; ; port++) {
    try {
      return await Lab.start({
        meters: config.number('meters'),
        headend: { host: config.string('host'), port },
        bundles: dirname(process.argv[1]!),
        dlmsTcp: true,
        seed: config.number('seed'),
        onLog: (name, line) => {
          if (line.level !== 'warn' && line.level !== 'error') return;
          const { time: _time, level, component: _component, message, ...fields } = line;
          log[level](`${name}: ${message}`, fields as Record<string, string>);
        },
        onUnexpectedExit: (name, status) => log.error(`${name} ended`, { status }),
      });
    } catch (error) {
      const taken = error instanceof S3mpError && error.code === 'socket.in-use';
      if (!taken || wanted !== undefined || port >= DEFAULT_PORT + PORTS_TRIED) throw error;
      process.stderr.write(`port ${port} is taken, trying ${port + 1}\n`);
    }
  }
}

/** A verb that is carried out by a running lab. */
function steer(command: string, summary: string, positionals: readonly string[]): Verb {
  return {
    summary,
    positionals,
    flags: { lab: { type: 'string', value: 'FOLDER', help: 'which lab, when several run (its folder or number)' } },
    async run({ flags, positionals: args, json, out }) {
      const result = await sendControl(await pickLab(flags.lab as string | undefined), command, args);
      if (json || typeof result !== 'string') out(JSON.stringify(result));
      else if (result) out(result);
      return 0;
    },
  };
}

async function pickLab(wanted: string | undefined): Promise<string> {
  const all = await runningLabs();
  const labs = wanted === undefined ? all : all.filter((f) => f === wanted || f.includes(`s3mp-lab-${wanted}-`));
  if (labs.length === 0) throw new ConfigError('usage.invalid', 'no such lab runs; start one with npm start');
  if (labs.length > 1)
    throw new ConfigError('usage.invalid', `several labs run, choose one with --lab: ${labs.join(', ')}`);
  return labs[0]!;
}

const program: Program = {
  name: 'lab',
  summary: 'the whole platform on one PC',
  version: S3MP_VERSION,
  config: {
    port: {
      type: 'integer',
      help: `port of the web page; the first free one from ${DEFAULT_PORT} on when left out`,
      min: 0,
      max: 65_535,
    },
    host: {
      type: 'string',
      help: 'address of the web page; others than loopback need a token, which is printed',
      default: '127.0.0.1',
    },
    meters: { type: 'integer', help: 'number of meters', default: 1, min: 1, max: 100 },
    for: { type: 'number', help: 'seconds after which it ends by itself; 0 = never', default: 0, min: 0 },
    seed: { type: 'integer', help: 'seed of the household load, loss and jitter', default: 1 },
  },
  defaultVerb: 'run',
  verbs: {
    run: runVerb,
    status: steer('status', 'links with their counters, processes', []),
    cut: steer('cut', 'cut a link', ['LINK']),
    heal: steer('heal', 'heal a link', ['LINK']),
    stall: steer('stall', 'hold back everything on a link for a while', ['LINK', 'MS']),
    set: steer('set', 'change a link: delay=MS jitter=MS loss=0…1 burst=0…1 burst-length=PACKETS rate=BIT/S', [
      'LINK',
      'CHANGE',
      'CHANGE?',
      'CHANGE?',
      'CHANGE?',
    ]),
    profile: steer('profile', 'give a link the behaviour of none, leased, lte or powerline', ['LINK', 'PROFILE']),
    pcap: steer('pcap', 'capture a link into a file; "off" ends it', ['LINK', 'FILE']),
    kill: steer('kill', 'kill a process', ['PROCESS']),
    restart: steer('restart', 'start a process again', ['PROCESS']),
  },
};

void runProgram(program, process.argv.slice(2)).then((status) => process.exit(status));
