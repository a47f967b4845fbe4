/**
 * Command line of a device: verbs, flags, help, exit status. Results go to stdout, everything else to stderr.
 * Exit status: 0 ok, 1 failure, 2 usage or configuration, 3 unreachable, 4 denied, 5 partial.
 */

import { basename } from 'node:path';
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { ConfigError, messageOf, S3mpError } from '#base/errors';
import { type Config, type ConfigSpec, flagOf, helpOf, loadConfig } from '#hw/config';
import { createLog, LOG_LEVELS, type Log, type LogLevel } from '#hw/log';
import { nearest } from '#hw/nearest';

export interface FlagSpec {
  readonly type: 'string' | 'boolean';
  readonly help: string;
  /** Word for the value in the help, `FILE`. */
  readonly value?: string;
}

export interface VerbContext {
  readonly config: Config;
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
  readonly json: boolean;
  readonly log: Log;
  /** Prints one result line on stdout. */
  out(text: string): void;
}

export interface Verb {
  readonly summary: string;
  /** Words of the positional arguments, `['DST']`; the count is exact, a `?` at the end makes the last one optional. */
  readonly positionals?: readonly string[];
  readonly flags?: Readonly<Record<string, FlagSpec>>;
  /** @returns exit status, nothing for 0 */
  run(context: VerbContext): Promise<number | undefined>;
}

export interface Program {
  readonly name: string;
  readonly summary: string;
  readonly version: string;
  readonly config: ConfigSpec;
  /** Verbs by name; a name may hold a blank (`config check`). */
  readonly verbs: Readonly<Record<string, Verb>>;
  readonly defaultVerb: string;
}

const COMMON_FLAGS: Readonly<Record<string, FlagSpec>> = {
  help: { type: 'boolean', help: 'show this help' },
  version: { type: 'boolean', help: 'show the version' },
  config: { type: 'string', value: 'FILE', help: 'read the configuration from a TOML file' },
  'log-level': { type: 'string', value: 'LEVEL', help: `how much to log on stderr: ${LOG_LEVELS.join(', ')}` },
  json: { type: 'boolean', help: 'results on stdout and logs on stderr as JSON lines' },
};

/** Runs the program on `argv` (without node and script) and returns the exit status; prints errors itself. */
export async function runProgram(program: Program, argv: readonly string[]): Promise<number> {
  let json = argv.includes('--json');
  // Whoever reads the results has had enough of them (`dump | head`).
  if (process.stdout.listenerCount('error') === 0) {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') process.stderr.write(`cannot write the results: ${error.message}\n`);
      process.exit(error.code === 'EPIPE' ? 0 : 1);
    });
  }
  try {
    const { verbName, verb, rest } = pickVerb(program, argv);
    const specs = { ...COMMON_FLAGS, ...configFlags(program.config), ...verb.flags };
    const { flags, positionals } = parseFlags(rest, specs, program.name);
    json = flags.json === true;
    if (flags.help) {
      process.stdout.write(helpText(program, verbName, verb));
      return 0;
    }
    if (flags.version) {
      process.stdout.write(`${program.name} ${program.version}\n`);
      return 0;
    }
    checkPositionals(program, verbName, verb, positionals);
    const level = (flags['log-level'] ?? 'info') as LogLevel;
    if (!LOG_LEVELS.includes(level)) throw usage(`--log-level ${level}: expected one of ${LOG_LEVELS.join(', ')}`);
    const config = loadConfig(program.config, {
      file: flags.config as string | undefined,
      environment: process.env,
      flags,
    });
    const log = createLog(program.name, { level, json });
    const out = (text: string) => void process.stdout.write(`${text}\n`);
    return (await verb.run({ config, flags, positionals, json, log, out })) ?? 0;
  } catch (error) {
    return reportError(program.name, error, json);
  }
}

/** Prints an error for a person, or as one JSON object, and returns its exit status. */
export function reportError(name: string, error: unknown, json: boolean): number {
  const known = error instanceof S3mpError;
  const code = known ? error.code : 'internal';
  if (json) process.stderr.write(`${JSON.stringify({ error: code, message: messageOf(error) })}\n`);
  else process.stderr.write(`${name}: ${messageOf(error)} (${code})\n`);
  if (!known && error instanceof Error && process.env.S3MP_DEBUG) process.stderr.write(`${error.stack}\n`);
  return known ? error.exitStatus : 1;
}

/**
 * The verb `config check`, the same on every device: prints the resolved configuration, secrets masked.
 * @param judge  throws what no key by itself can tell
 */
export const configCheckVerb = (judge: (config: Config) => void = () => {}): Verb => ({
  summary: 'print the resolved configuration and where each value comes from',
  async run({ config, json, out }) {
    judge(config);
    for (const { key, value, source, help } of config.resolved()) {
      if (json) out(JSON.stringify({ key, value, source }));
      else out(`${`${key} = ${JSON.stringify(value)}`.padEnd(48)} # ${source}: ${help}`);
    }
    return 0;
  },
});

/** Resolves when the process is asked to stop: SIGTERM, SIGINT, or the end of a parent that holds an IPC channel. */
export function stopRequested(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
    if (process.channel) process.once('disconnect', () => resolve());
  });
}

function usage(message: string): ConfigError {
  return new ConfigError('usage.invalid', message);
}

function pickVerb(program: Program, argv: readonly string[]): { verbName: string; verb: Verb; rest: string[] } {
  const words: number[] = [];
  for (let i = 0; i < argv.length && words.length < 2; i++) {
    if (argv[i]!.startsWith('-')) break;
    words.push(i);
  }
  for (let count = words.length; count > 0; count--) {
    const name = words
      .slice(0, count)
      .map((i) => argv[i])
      .join(' ');
    const verb = Object.hasOwn(program.verbs, name) ? program.verbs[name] : undefined;
    if (verb) return { verbName: name, verb, rest: argv.slice(count) };
  }
  if (words.length > 0) {
    const names = Object.keys(program.verbs);
    const [family, ...further] = names.filter((name) => name.startsWith(`${argv[0]} `));
    if (family && argv[1] === '--help') {
      const verbName = further.length > 0 ? program.defaultVerb : family;
      return { verbName, verb: program.verbs[verbName]!, rest: argv.slice(1) };
    }
    const said = words.map((i) => argv[i]).join(' ');
    const guess = nearest(said, names) ?? family ?? nearest(argv[0]!, names);
    throw usage(
      `unknown command ${family ? said : argv[0]}${guess ? `; did you mean ${guess}?` : ''} (commands: ${names.join(', ')})`,
    );
  }
  return { verbName: program.defaultVerb, verb: program.verbs[program.defaultVerb]!, rest: [...argv] };
}

function configFlags(spec: ConfigSpec): Record<string, FlagSpec> {
  const flags: Record<string, FlagSpec> = {};
  for (const [key, { type, help }] of Object.entries(spec)) {
    if (type === 'tables') continue;
    flags[flagOf(key)] = { type: type === 'boolean' ? 'boolean' : 'string', value: type.toUpperCase(), help };
  }
  return flags;
}

function parseFlags(argv: readonly string[], specs: Readonly<Record<string, FlagSpec>>, name: string) {
  const options: ParseArgsOptionsConfig = {};
  for (const [flag, { type }] of Object.entries(specs)) options[flag] = { type };
  for (const word of argv) {
    if (word === '--') break;
    const flag = /^--(?:no-)?([^=]+)/.exec(word)?.[1];
    if (flag !== undefined && !Object.hasOwn(specs, flag) && !Object.hasOwn(specs, `no-${flag}`)) {
      const guess = nearest(flag, Object.keys(specs));
      throw usage(`unknown flag --${flag}${guess ? `; did you mean --${guess}?` : ''} (${name} --help lists all)`);
    }
  }
  try {
    const parsed = parseArgs({ args: [...argv], options, allowPositionals: true, allowNegative: true, strict: true });
    return { flags: parsed.values as Record<string, string | boolean | undefined>, positionals: parsed.positionals };
  } catch (error) {
    throw usage(messageOf(error));
  }
}

function checkPositionals(program: Program, verbName: string, verb: Verb, given: readonly string[]): void {
  const wanted = verb.positionals ?? [];
  const least = wanted.filter((w) => !w.endsWith('?')).length;
  if (given.length >= least && given.length <= wanted.length) return;
  const line = `${program.name} ${verbName} ${wanted.join(' ')}`.trim();
  if (given.length > wanted.length) throw usage(`unexpected argument ${given[wanted.length]}; usage: ${line}`);
  throw usage(`missing argument ${wanted[given.length]}; usage: ${line}`);
}

function helpText(program: Program, verbName: string, verb: Verb): string {
  const file = basename(process.argv[1] ?? program.name);
  const flagLine = ([flag, { value, type, help }]: [string, FlagSpec]) =>
    `  --${`${flag}${type === 'string' ? ` ${value ?? 'VALUE'}` : ''}`.padEnd(30)} ${help}\n`;
  const defaults = (key: string) =>
    program.config[key]?.default === undefined ? '' : ` (default ${JSON.stringify(program.config[key]!.default)})`;
  const flagsOf = () =>
    Object.entries({ ...verb.flags, ...COMMON_FLAGS })
      .map(flagLine)
      .join('');
  const line = `${file} ${[verbName, ...(verb.positionals ?? [])].join(' ')}`;
  if (verbName !== program.defaultVerb && !verbName.startsWith('config '))
    return `usage: ${line} [FLAGS]\n\n${verb.summary}\n\nflags:\n${flagsOf()}\nEvery configuration key is a flag too: ${file} config --help\n`;
  let text = `${program.name} ${program.version}: ${program.summary}\n\n`;
  text += `usage: ${file} [COMMAND] [FLAGS]\n       ${line}\n\ncommands:\n`;
  for (const [name, { summary, positionals }] of Object.entries(program.verbs)) {
    const mark = name === program.defaultVerb ? ' (default)' : '';
    text += `  ${`${name} ${(positionals ?? []).join(' ')}`.padEnd(32)} ${summary}${mark}\n`;
  }
  text += `\nflags of ${verbName}:\n${flagsOf()}`;
  text += '\nconfiguration (flag, or S3MP_… in the environment, or key in the TOML file):\n';
  for (const [key, spec] of Object.entries(program.config)) {
    const { type } = spec;
    const help = helpOf(spec);
    if (type === 'tables') text += `${`  [[${key}]]`.padEnd(34)} ${help} (file only)\n`;
    else
      text += flagLine([
        flagOf(key),
        { type: type === 'boolean' ? 'boolean' : 'string', value: type.toUpperCase(), help: help + defaults(key) },
      ]);
  }
  return text;
}
