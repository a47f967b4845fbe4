/**
 * Configuration of a device: one table of keys, from which come the TOML file's keys, the environment variables, the
 * command-line flags, the checks, the defaults and the printed reference. Precedence: flag > environment > file >
 * default. `serial.url` is `url` in `[serial]` of the file, S3MP_SERIAL_URL and `--serial-url`.
 */

import { readFileSync } from 'node:fs';
import { parse } from 'smol-toml';
import { ConfigError, invalidConfig, messageOf } from '#base/errors';
import { nearest } from '#hw/nearest';

export type KeyType = 'string' | 'integer' | 'number' | 'boolean' | 'strings' | 'tables';

export interface KeySpec {
  readonly type: KeyType;
  /** One line for people. */
  readonly help: string;
  readonly default?: unknown;
  readonly min?: number;
  readonly max?: number;
  readonly choices?: readonly string[] | undefined;
  /** What a text, or each of a list, must look like, a pattern or what tests it; and in words, behind "expected". */
  readonly form?: readonly [pattern: { test(text: string): boolean }, words: string];
  /** The value is a secret: masked wherever the configuration is shown. */
  readonly secret?: boolean;
}

export type ConfigSpec = Readonly<Record<string, KeySpec>>;

/** A key that is a text, one of `choices` where they are given. Without a default it may be left out. */
export const text = (help: string, preset?: string, choices?: readonly string[]): KeySpec => ({
  type: 'string',
  help,
  default: preset,
  choices,
});

/** A key that is a whole number from `min` to `max`. */
export const whole = (help: string, preset: number, min: number, max: number): KeySpec => ({
  type: 'integer',
  help,
  default: preset,
  min,
  max,
});

export type ConfigSource = 'default' | 'file' | 'environment' | 'flag';

/** A resolved configuration. Getters name the type, and a key of another type is a programming error. */
export class Config {
  readonly #values: ReadonlyMap<string, unknown>;
  readonly #sources: ReadonlyMap<string, ConfigSource>;
  readonly spec: ConfigSpec;

  constructor(spec: ConfigSpec, values: ReadonlyMap<string, unknown>, sources: ReadonlyMap<string, ConfigSource>) {
    this.spec = spec;
    this.#values = values;
    this.#sources = sources;
  }

  string(key: string): string {
    return this.#required<string>(key);
  }
  optionalString(key: string): string | undefined {
    return this.#values.get(key) as string | undefined;
  }
  number(key: string): number {
    return this.#required<number>(key);
  }
  boolean(key: string): boolean {
    return this.#required<boolean>(key);
  }
  strings(key: string): readonly string[] {
    return (this.#values.get(key) as readonly string[] | undefined) ?? [];
  }
  tables(key: string): readonly Readonly<Record<string, unknown>>[] {
    return (this.#values.get(key) as readonly Record<string, unknown>[] | undefined) ?? [];
  }
  /** Whether nobody has set the key. */
  isDefault(key: string): boolean {
    return !this.#sources.has(key);
  }
  has(key: string): boolean {
    return this.#values.get(key) !== undefined;
  }

  #required<T>(key: string): T {
    const value = this.#values.get(key);
    if (value === undefined) {
      throw invalidConfig(
        `${key} is not set: give --${flagOf(key)}, ${environmentOf(key)} or ${key} in the file (${this.spec[key]?.help})`,
        { key },
      );
    }
    return value as T;
  }

  /** Every key with its value and where it came from; secrets masked. */
  resolved(): { key: string; value: unknown; source: ConfigSource; help: string }[] {
    return Object.entries(this.spec).map(([key, spec]) => ({
      key,
      value: spec.secret && this.#values.get(key) !== undefined ? '***' : (this.#values.get(key) ?? null),
      source: this.#sources.get(key) ?? 'default',
      help: spec.help,
    }));
  }
}

/** The help of a key, with its choices. */
export const helpOf = ({ help, choices }: KeySpec): string => (choices ? `${help} (${choices.join(', ')})` : help);

export const flagOf = (key: string): string => key.replace(/[._]/g, '-');
export const environmentOf = (key: string): string => `S3MP_${key.replace(/[.-]/g, '_').toUpperCase()}`;

export interface ConfigInputs {
  readonly file?: string | undefined;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Values of command-line flags by flag name (`serial-url`). */
  readonly flags?: Readonly<Record<string, unknown>>;
}

/**
 * Resolves a configuration.
 * @throws ConfigError `config.unreadable` (file) or `config.invalid` (unknown key with its nearest match, wrong type, range)
 */
export function loadConfig(spec: ConfigSpec, inputs: ConfigInputs): Config {
  const values = new Map<string, unknown>();
  const sources = new Map<string, ConfigSource>();
  for (const [key, { default: preset }] of Object.entries(spec)) if (preset !== undefined) values.set(key, preset);

  const set = (key: string, value: unknown, source: ConfigSource, where: string) => {
    values.set(key, checked(key, spec[key]!, value, where));
    sources.set(key, source);
  };

  if (inputs.file !== undefined) {
    for (const [key, value] of fileKeys(inputs.file, spec)) set(key, value, 'file', `${inputs.file}: ${key}`);
  }
  for (const key of Object.keys(spec)) {
    const text = inputs.environment?.[environmentOf(key)];
    if (text !== undefined) set(key, fromText(spec[key]!, text, environmentOf(key)), 'environment', environmentOf(key));
  }
  for (const key of Object.keys(spec)) {
    const given = inputs.flags?.[flagOf(key)];
    if (given === undefined) continue;
    const value = typeof given === 'string' ? fromText(spec[key]!, given, `--${flagOf(key)}`) : given;
    set(key, value, 'flag', `--${flagOf(key)}`);
  }
  return new Config(spec, values, sources);
}

function fileKeys(file: string, spec: ConfigSpec): [string, unknown][] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError('config.unreadable', `cannot read the configuration: ${messageOf(error)}`, { file }, error);
  }
  let tree: unknown;
  try {
    tree = parse(text);
  } catch (error) {
    const line = (error as { line?: number }).line ?? 0;
    const reason = messageOf(error).split('\n')[0]!;
    throw invalidConfig(`${file}${line ? `, line ${line}` : ''}: ${reason}`, { file, line }, error);
  }
  const found: [string, unknown][] = [];
  const walk = (node: Record<string, unknown>, prefix: string) => {
    for (const [name, value] of Object.entries(node)) {
      const key = prefix + name;
      if (Object.hasOwn(spec, key)) found.push([key, value]);
      else if (isTable(value) && Object.keys(spec).some((k) => k.startsWith(`${key}.`))) walk(value, `${key}.`);
      else {
        const guess = nearest(key, Object.keys(spec));
        throw invalidConfig(`${file}: unknown key ${key}${guess ? `; did you mean ${guess}?` : ''}`, {
          file,
          key,
        });
      }
    }
  };
  walk(tree as Record<string, unknown>, '');
  return found;
}

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

function fromText(spec: KeySpec, text: string, where: string): unknown {
  switch (spec.type) {
    case 'string':
      return text;
    case 'strings':
      return text.split(',').filter((s) => s !== '');
    case 'boolean':
      if (text === 'true' || text === '1') return true;
      if (text === 'false' || text === '0') return false;
      return text;
    case 'integer':
    case 'number':
      return text.trim() === '' ? text : Number(text);
    case 'tables':
      throw invalidConfig(`${where}: this key can only be set in the configuration file`);
  }
}

function checked(key: string, spec: KeySpec, value: unknown, where: string): unknown {
  const shown = spec.secret ? 'a secret' : JSON.stringify(value);
  const fail = (expected: string): never => {
    throw invalidConfig(`${where}: expected ${expected}, got ${shown}`, { key });
  };
  switch (spec.type) {
    case 'string':
      if (typeof value !== 'string') return fail('a text');
      if (spec.choices && !spec.choices.includes(value)) return fail(`one of ${spec.choices.join(', ')}`);
      if (value === '' && spec.default !== '') return fail('a text that is not empty');
      return spec.form && !spec.form[0].test(value) ? fail(spec.form[1]) : value;
    case 'boolean':
      return typeof value === 'boolean' ? value : fail('true or false');
    case 'integer':
    case 'number': {
      const number = typeof value === 'bigint' ? Number(value) : value;
      if (typeof number !== 'number' || !Number.isFinite(number)) return fail('a number');
      if (spec.type === 'integer' && !Number.isInteger(number)) return fail('a whole number');
      if (spec.min !== undefined && number < spec.min) return fail(`at least ${spec.min}`);
      if (spec.max !== undefined && number > spec.max) return fail(`at most ${spec.max}`);
      return number;
    }
    case 'strings':
      if (!Array.isArray(value) || !value.every((v) => typeof v === 'string')) return fail('a list of texts');
      return value.every((v) => spec.form?.[0].test(v) ?? true) ? value : fail(`a list, each ${spec.form![1]}`);
    case 'tables':
      return Array.isArray(value) && value.every(isTable) ? value : fail(`a list of tables ([[${key}]])`);
  }
}
