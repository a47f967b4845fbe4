/** Errors as problem details (RFC 9457), from the one table of error codes. */

import type { ServerResponse } from 'node:http';
import { HTTP_STATUS } from '#base/error-codes';
import { ERROR_TITLES } from '#base/error-titles';
import { messageOf, S3mpError } from '#base/errors';
import type { ProblemBody } from './wire.ts';

/** A broken request; `pointer` (RFC 6901) names the member of the body or the query that is wrong. */
export class RequestError extends S3mpError {
  override name = 'RequestError';
  readonly pointer: string | undefined;

  constructor(message: string, pointer?: string) {
    super('request.invalid', message, pointer === undefined ? {} : { pointer });
    this.pointer = pointer;
  }
}

/** Internal errors keep their text to the log: a stack or a file name is no business of the client. */
export function problemOf(error: unknown): ProblemBody {
  const known = error instanceof S3mpError ? error : new S3mpError('internal', 'the head end failed; see its log');
  const pointer = error instanceof RequestError ? error.pointer : undefined;
  return {
    type: `urn:s3mp:problem:${known.code}`,
    title: ERROR_TITLES[known.code],
    status: HTTP_STATUS[known.code],
    detail: known.code === 'internal' ? 'the head end failed; see its log' : messageOf(known),
    code: known.code,
    ...(pointer === undefined ? {} : { pointer }),
  };
}

/** Seconds after which a repeat makes sense, for the codes where it does. */
const RETRY_AFTER: Readonly<Record<string, number>> = { 'meter.busy': 1, 'rate.limited': 1 };

export function sendProblem(response: ServerResponse, error: unknown): void {
  const problem = problemOf(error);
  const retryAfter = RETRY_AFTER[problem.code];
  if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter));
  if (problem.code === 'auth.required') response.setHeader('www-authenticate', 'Bearer realm="s3mp"');
  if (error instanceof S3mpError && typeof error.context.allow === 'string') {
    response.setHeader('allow', error.context.allow);
  }
  const body = JSON.stringify(problem);
  response.writeHead(problem.status, {
    'content-type': 'application/problem+json',
    'content-length': String(new TextEncoder().encode(body).length),
  });
  response.end(body);
}
