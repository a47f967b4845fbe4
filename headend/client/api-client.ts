/** The head end's API as a command of the same bundle uses it: over HTTP, with the operator's token. */

import { existsSync } from 'node:fs';
import { type ErrorCode, HTTP_STATUS } from '#base/error-codes';
import { messageOf, S3mpError } from '#base/errors';
import type { Config } from '#hw/config';
import { readSecretFile } from '#hw/files';

export class ApiClient {
  private readonly base: URL;
  private readonly token: string | undefined;

  /** @throws ConfigError when the token's file may not be read */
  constructor(config: Config, url: string | undefined) {
    const host = config.string('http.host');
    const shown = host.includes(':') ? `[${host}]` : host;
    this.base = new URL(url ?? `http://${shown}:${config.number('http.port')}/`);
    const file = config.string('http.token_file');
    this.token = existsSync(file) ? Buffer.from(readSecretFile(file)).toString('utf8') : undefined;
  }

  /**
   * One call.
   * @param path  behind `/api/v1/`
   * @param body  bytes as they are, anything else as JSON
   * @throws S3mpError with the code of the API's problem; `meter.unreachable` becomes exit 3 and so on
   */
  async call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    const all: Record<string, string> = { ...headers };
    const isFile = body instanceof Uint8Array;
    if (body !== undefined) all['content-type'] = isFile ? 'application/octet-stream' : 'application/json';
    if (this.token !== undefined) all.authorization = `Bearer ${this.token}`;
    let response: Response;
    try {
      const sent =
        body === undefined ? {} : { body: isFile ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body) };
      response = await fetch(new URL(`api/v1/${path}`, this.base), { method, headers: all, ...sent });
    } catch (error) {
      const cause = (error as { cause?: unknown }).cause ?? error;
      throw new S3mpError(
        'headend.unreachable',
        `no head end answers at ${this.base.href}: ${messageOf(cause)}; is it running, and is --url right?`,
        {},
        error,
      );
    }
    const answer: unknown = await response.json().catch(() => undefined);
    if (response.ok) return answer as T;
    const problem = answer as { code?: string; detail?: string; title?: string } | undefined;
    const code = problem?.code !== undefined && Object.hasOwn(HTTP_STATUS, problem.code) ? problem.code : 'internal';
    throw new S3mpError(code as ErrorCode, problem?.detail ?? problem?.title ?? `HTTP ${response.status}`);
  }
}
