/**
 * Our border router and end host beside official SCION services. `official.sh` builds and starts this program:
 *
 *   SCION_BIN=FOLDER test/interop/official.sh [--no-bfd] [--sibling ours|official] [--official-only] [--keep]
 *
 * Three ASes in a row: official routers, control services, daemons and echo responders everywhere, except that the router of
 * the AS in the middle is our gateway.js. `--official-only` puts an official router there too, which tells faults of this
 * program from faults of ours; `--sibling` splits the middle between two routers, ours and a second one. Prints a transcript; exit status 0 only when every step passed.
 */

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '#base/errors';
import {
  configurationOf,
  type OfficialAs,
  type OfficialNetwork,
  routerNames,
  writeNetwork,
} from './official-network.ts';
import { runTool, Service, type ToolResult } from './official-process.ts';
import { STEPS } from './official-steps.ts';

export interface Official {
  readonly network: OfficialNetwork;
  readonly options: {
    readonly bfd: boolean;
    readonly officialOnly: boolean;
    /** Whose the second router of the middle is; undefined when there is none. */
    readonly sibling: 'ours' | 'official' | undefined;
  };
  /** `110-router`, `111-control`, … */
  service(name: string): Service;
  /** Runs an official tool and prints command and output. */
  scion(args: readonly string[], limitMs?: number): Promise<ToolResult>;
  /** Runs an official tool again and again until `accept` does not throw; prints the last run only. */
  scionUntil(args: readonly string[], limitMs: number, accept: (result: ToolResult) => void): Promise<void>;
  /** Runs our gateway.js and prints command and output. */
  gateway(args: readonly string[], limitMs?: number): Promise<ToolResult>;
  /** Prints a line of the transcript. */
  say(text: string): void;
}

const WHOLE_LIMIT_MS = 240_000;
const FIRST_NET = 251;
const LAST_NET = 254;
const CLAIM_PORT = 30_000;

const { values: flags } = parseArgs({
  options: {
    'no-bfd': { type: 'boolean', default: false },
    'official-only': { type: 'boolean', default: false },
    sibling: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});

const say = (text: string) => void process.stdout.write(`${text}\n`);
const services = new Map<string, Service>();

process.on('exit', () => {
  for (const service of services.values()) service.kill();
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));

/** Takes a 127.N.0.0/16 that no other run uses. */
async function claimNet(): Promise<number> {
  for (let net = FIRST_NET; net <= LAST_NET; net++) {
    const taken = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(true));
      server.listen({ host: `127.${net}.0.1`, port: CLAIM_PORT, exclusive: true }, () => {
        server.unref();
        resolve(false);
      });
    });
    if (!taken) return net;
  }
  throw new Error('every network from 127.251 to 127.254 is in use');
}

/** Whether this machine has an IPv6 loopback address. */
function hasIpv6(): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '::1', port: 0 }, () => server.close(() => resolve(true)));
  });
}

function addServices(as: OfficialAs, bin: string, gateway: string, folder: string): void {
  const add = (kind: keyof typeof configurationOf, program: string) => {
    const name = `${as.number}-${kind}`;
    const args = ['--config', configurationOf[kind](as)];
    services.set(name, new Service({ name, program: join(bin, program), args, logFile: join(folder, `${name}.log`) }));
  };
  const addOurs = (kind: 'router' | 'sibling', routerName: string) => {
    const name = `${as.number}-${kind}`;
    const args = [gateway, 'run', '--as-directory', as.folder, '--router-name', routerName, '--log-level', 'debug'];
    // The official control service holds the address at which the gateway would serve segments.
    const environment = { S3MP_PATH_SERVICE_ENABLED: 'false' };
    const logFile = join(folder, `${name}.log`);
    services.set(name, new Service({ name, program: process.execPath, args, environment, logFile }));
  };
  const [first, second] = routerNames(as);
  if (as.number === 111 && !flags['official-only']) addOurs('router', first);
  else add('router', 'router');
  if (as.sibling !== undefined) {
    if (flags.sibling === 'ours' && !flags['official-only']) addOurs('sibling', second);
    else add('sibling', 'router');
  }
  for (const kind of ['control', 'daemon', 'dispatcher'] as const) add(kind, kind);
}

function show(shown: string, args: readonly string[], result: ToolResult): void {
  say(`    $ ${shown} ${args.map((arg) => (/[ *]/.test(arg) ? `'${arg}'` : arg)).join(' ')}`);
  const text = `${result.stdout}${result.stderr}`.trimEnd();
  if (text !== '') say(text.replace(/^(?=.)/gm, '      '));
  if (result.status !== 0) say(`      (exit status ${result.status ?? 'none: it took too long'})`);
}

function printer(program: string, shown: string, leading: readonly string[]) {
  return async (args: readonly string[], limitMs = 20_000): Promise<ToolResult> => {
    const result = await runTool(program, [...leading, ...args], { limitMs });
    show(shown, args, result);
    return result;
  };
}

async function runUntil(
  program: string,
  shown: string,
  args: readonly string[],
  limitMs: number,
  accept: (result: ToolResult) => void,
): Promise<void> {
  const until = performance.now() + limitMs;
  for (;;) {
    const result = await runTool(program, args);
    try {
      accept(result);
      return show(shown, args, result);
    } catch (error) {
      if (performance.now() < until) continue;
      show(shown, args, result);
      throw error;
    }
  }
}

async function main(): Promise<number> {
  const bin = process.env.SCION_BIN;
  const gateway = process.env.S3MP_GATEWAY ?? join(__dirname, '..', 'gateway.js');
  if (bin === undefined || bin === '') throw new Error('SCION_BIN must name the folder with the official programs');
  for (const name of ['router', 'control', 'daemon', 'dispatcher', 'scion', 'scion-pki'])
    if (!existsSync(join(bin, name))) throw new Error(`${join(bin, name)} is missing`);
  if (!existsSync(gateway)) throw new Error(`${gateway} is missing: run npm run build`);

  const folder = mkdtempSync(join(tmpdir(), 's3mp-official-'));
  const { sibling } = flags;
  if (sibling !== undefined && sibling !== 'ours' && sibling !== 'official')
    throw new Error(`--sibling ${sibling}: expected ours or official`);
  const options = { bfd: !flags['no-bfd'], officialOnly: flags['official-only'], sibling } as const;
  const ipv6 = await hasIpv6();
  const net = await claimNet();
  const { stdout: version } = await runTool(join(bin, 'scion'), ['version']);
  say(
    `official services: ${version.trim().replace(/\s+/g, ' ')}; ours: gateway.js ${S3MP_VERSION}, Node ${process.version}`,
  );
  say(
    `networks 127.${net}.0.0/16, BFD ${options.bfd ? 'on' : 'off'}, IPv6 link ${ipv6 ? 'yes' : 'no'}, files in ${folder}`,
  );
  if (sibling !== undefined) say(`the middle has two routers; the second one is ${sibling}`);
  const network = writeNetwork({ folder, bin, net, bfd: options.bfd, sibling: sibling !== undefined, ipv6 });
  for (const as of network.all) addServices(as, bin, gateway, folder);
  for (const service of services.values()) service.start();

  const official: Official = {
    network,
    options,
    service: (name) => services.get(name)!,
    scion: printer(join(bin, 'scion'), 'scion', []),
    scionUntil: (args, limitMs, accept) => runUntil(join(bin, 'scion'), 'scion', args, limitMs, accept),
    gateway: printer(process.execPath, 'gateway.js', [gateway]),
    say: (text) => say(`    ${text}`),
  };
  let failed = 0;
  let passed = 0;
  for (const { name, needsOurs, needsBfd, fatal, run } of STEPS) {
    if ((needsOurs && options.officialOnly) || (needsBfd && !options.bfd)) {
      say(`\n--- ${name}: left out`);
      continue;
    }
    say(`\n--- ${name}`);
    const from = performance.now();
    try {
      await run(official);
      passed++;
      say(`ok  ${((performance.now() - from) / 1000).toFixed(1)} s`);
    } catch (error) {
      failed++;
      say(`FAILED: ${messageOf(error)}`);
      if (fatal) break;
    }
    for (const service of services.values()) {
      if (service.running || service.stopped) continue;
      failed++;
      say(`FAILED: ${service.spec.name} ended by itself:\n${service.logTail()}`);
      service.start();
    }
  }
  say(`\n${passed} steps passed, ${failed} failed`);
  await Promise.all([...services.values()].map((service) => service.stop()));
  if (flags.keep || failed > 0) say(`files and logs are in ${folder}`);
  else rmSync(folder, { recursive: true, force: true });
  return failed === 0 && passed > 0 ? 0 : 1;
}

const limit = setTimeout(() => {
  say(`FAILED: not done after ${WHOLE_LIMIT_MS / 1000} s`);
  process.exit(1);
}, WHOLE_LIMIT_MS);
limit.unref();

main().then(
  (status) => process.exit(status),
  (error) => {
    say(`FAILED: ${messageOf(error)}`);
    process.exit(1);
  },
);
