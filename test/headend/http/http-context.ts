/** A running server as a test of the API asks it. */

import * as assert from 'uvu/assert';
import { type ErrorCode, HTTP_STATUS } from '#base/error-codes';
import { checkSchema } from '../../../headend/http/schema.ts';
import * as schemas from '../../../headend/http/schemas.ts';
import { type Answer, type Ask, ask, type HttpRig } from './http-rig.ts';

export interface Context {
  rig: HttpRig;
  go: (question: Ask | string) => Promise<Answer>;
  command: (body: unknown, key?: string, headers?: Record<string, string>) => Promise<Answer>;
}

export function contextOf(rig: HttpRig): Context {
  const go = (question: Ask | string) => ask(rig.port, typeof question === 'string' ? { path: question } : question);
  let keys = 0;
  return {
    rig,
    go,
    command: (body, key = `key-${++keys}`, headers = {}) =>
      go({ method: 'POST', path: '/api/v1/meters/m1/commands', body, headers: { 'idempotency-key': key, ...headers } }),
  };
}

export function isProblem(answer: Answer, code: ErrorCode, pointer?: string): void {
  assert.is(answer.json?.code, code, answer.text.slice(0, 200));
  assert.is(answer.status, HTTP_STATUS[code]);
  assert.is(answer.headers['content-type'], 'application/problem+json');
  checkSchema(answer.json, schemas.PROBLEM);
  if (pointer !== undefined) assert.is(answer.json.pointer, pointer);
}

export async function untilDone(context: Context, id: string): Promise<Answer> {
  for (;;) {
    const answer = await context.go(`/api/v1/commands/${id}`);
    if (['verified', 'failed', 'expired'].includes(answer.json.state)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
