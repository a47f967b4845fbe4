/**
 * Log lines on stderr: `time level component message key=value`, or one JSON object a line. Data in, text at the edge.
 * A warning or error that repeats within ten seconds is counted instead of printed again, so a flood of bad input cannot fill a disk.
 */

import { utcText } from '#base/time-text';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** Whether `debug` lines would be printed; ask before building an expensive one. */
  readonly debugging: boolean;
  child(component: string): Log;
}

const REPEAT_MS = 10_000;
const REPEATS_KEPT = 256;

export interface LogOptions {
  readonly level?: LogLevel;
  readonly json?: boolean;
  readonly write?: (line: string) => void;
  readonly now?: () => number;
}

export function createLog(component: string, options: LogOptions = {}): Log {
  const limit = LOG_LEVELS.indexOf(options.level ?? 'info');
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const now = options.now ?? Date.now;
  const seen = new Map<string, { at: number; count: number }>();

  function print(level: LogLevel, source: string, message: string, fields: LogFields): void {
    if (LOG_LEVELS.indexOf(level) > limit) return;
    const at = now();
    let repeated = 0;
    if (level === 'warn' || level === 'error') {
      const key = `${level}${source}${message}`;
      const last = seen.get(key);
      if (last !== undefined && at - last.at < REPEAT_MS) {
        last.count++;
        return;
      }
      repeated = last?.count ?? 0;
      if (seen.size >= REPEATS_KEPT) seen.delete(seen.keys().next().value!);
      seen.set(key, { at, count: 0 });
    }
    const all = repeated > 0 ? { ...fields, repeated } : fields;
    write(
      options.json
        ? `${JSON.stringify({ time: utcText(at), level, component: source, message, ...all })}\n`
        : `${utcText(at)} ${level.padEnd(5)} ${source} ${message}${fieldsText(all)}\n`,
    );
  }

  function make(source: string): Log {
    return {
      error: (message, fields = {}) => print('error', source, message, fields),
      warn: (message, fields = {}) => print('warn', source, message, fields),
      info: (message, fields = {}) => print('info', source, message, fields),
      debug: (message, fields = {}) => print('debug', source, message, fields),
      debugging: limit >= LOG_LEVELS.indexOf('debug'),
      child: (name) => make(`${source}.${name}`),
    };
  }
  return make(component);
}

function fieldsText(fields: LogFields): string {
  let text = '';
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const plain = String(value);
    text += ` ${key}=${/^[^\s"=]+$/.test(plain) ? plain : JSON.stringify(plain)}`;
  }
  return text;
}
