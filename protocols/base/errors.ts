/**
 * The one base class of our errors. Callers test `code` (table in `error-codes.ts`), never the message; the message
 * names the thing, the value and the limit for a person, and never holds a secret.
 */

import { type ErrorCode, exitStatusOf } from '#base/error-codes';

export type ErrorContext = Readonly<Record<string, string | number | boolean | null>>;

export class S3mpError extends Error {
  readonly code: ErrorCode;
  readonly context: ErrorContext;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'S3mpError';
    this.code = code;
    this.context = context;
  }

  /** Process exit status that a command line gives for this error. */
  get exitStatus(): number {
    return exitStatusOf(this.code);
  }
}

/** Input bytes that break a format: `what` was read at byte `at`, `expected` says what would have been right. */
export class DecodeError extends S3mpError {
  constructor(
    what: string,
    at: number,
    expected: string,
    code: 'decode.truncated' | 'decode.invalid' = 'decode.invalid',
  ) {
    super(code, `${what} at byte ${at}: expected ${expected}`, { what, at, expected });
    this.name = 'DecodeError';
  }
}

/** What `read` decodes; undefined when the bytes are no such thing. Other errors go on. */
export function decoded<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

export class ModbusError extends S3mpError {
  override name = 'ModbusError';
}

export class DlmsError extends S3mpError {
  override name = 'DlmsError';
}

export class ScionError extends S3mpError {
  override name = 'ScionError';
}

export class ConfigError extends S3mpError {
  override name = 'ConfigError';
}

/** What a configuration says cannot be: `config.invalid`. */
export function invalidConfig(message: string, context?: ErrorContext, cause?: unknown): ConfigError {
  return new ConfigError('config.invalid', message, context, cause);
}

/** What a file of the configuration holds cannot be: `config.invalid`. */
export function invalidFile(file: string, why: string, cause?: unknown): ConfigError {
  return invalidConfig(`${file}: ${why}`, { file }, cause);
}

/** The text of anything thrown, for a log line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
