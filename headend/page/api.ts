/**
 * The page's way to the head end: JSON calls and the event stream. The stream is read with fetch, since an EventSource
 * cannot carry a token. A token comes in the fragment of the address, which no server and no log sees, and moves at once
 * into the session's storage.
 */

import type { ProblemBody } from '../http/wire.ts';

const TOKEN_KEY = 's3mp.token';
/** Heartbeats come every ten seconds; silence beyond this means that the connection is dead. */
const SILENCE_MS = 25_000;
const LONGEST_PAUSE_MS = 10_000;

export class ApiError extends Error {
  readonly problem: ProblemBody;
  constructor(problem: ProblemBody) {
    super(problem.detail);
    this.problem = problem;
  }
  get isDenied(): boolean {
    return this.problem.status === 401 || this.problem.status === 403;
  }
}

export function takeTokenFromAddress(): void {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) return;
  setToken(token);
  history.replaceState(null, '', location.pathname);
}

export function currentToken(): string {
  return sessionStorage.getItem(TOKEN_KEY) ?? '';
}

/** @param token  empty for none */
export function setToken(token: string): void {
  if (token.trim() === '') sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, token.trim());
}

function authorization(): Record<string, string> {
  const token = currentToken();
  return token !== '' ? { authorization: `Bearer ${token}` } : {};
}

/** @throws ApiError with the head end's problem, or one of status 0 when it cannot be reached */
export async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const isWrite = method === 'POST' || method === 'PUT';
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers: { ...authorization(), ...(isWrite ? { 'content-type': 'application/json' } : {}), ...headers },
      ...(isWrite ? { body: JSON.stringify(body ?? {}) } : {}),
      cache: 'no-store',
    });
  } catch {
    throw new ApiError(localProblem('The head end cannot be reached'));
  }
  if (response.ok) return (response.status === 204 ? undefined : await response.json()) as T;
  throw new ApiError(await problemOf(response));
}

async function problemOf(response: Response): Promise<ProblemBody> {
  try {
    return (await response.json()) as ProblemBody;
  } catch {
    return { ...localProblem(`The head end answered ${response.status}`), status: response.status };
  }
}

function localProblem(detail: string): ProblemBody {
  return { type: 'about:blank', title: 'No connection', status: 0, detail, code: 'page.disconnected' };
}

/** A key that no other command has; randomUUID would need a secure context. */
export function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

export type StreamPhase = 'connecting' | 'open' | 'lost' | 'denied';

export interface StreamHandlers {
  readonly phase: (phase: StreamPhase) => void;
  readonly event: (name: string, data: unknown) => void;
}

/** Keeps a stream open for ever; resumes behind the last event it has seen. */
export class EventStream {
  private readonly handlers: StreamHandlers;
  private lastId: string | undefined;
  private abort: AbortController | undefined;
  private pauseMs = 500;
  private wake: () => void = () => {};

  constructor(handlers: StreamHandlers) {
    this.handlers = handlers;
    void this.run();
  }

  /** Tries again now: the token or the network may have changed. */
  restart(): void {
    this.pauseMs = 500;
    this.abort?.abort();
    this.wake();
  }

  private async run(): Promise<never> {
    for (;;) {
      const denied = await this.once().catch(() => false);
      this.handlers.phase(denied ? 'denied' : 'lost');
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        // A denial does not cure itself: wait for a token.
        if (!denied) setTimeout(resolve, this.pauseMs);
      });
      this.pauseMs = Math.min(LONGEST_PAUSE_MS, this.pauseMs * 2);
    }
  }

  /** @returns true when the head end refused */
  private async once(): Promise<boolean> {
    this.handlers.phase('connecting');
    this.abort = new AbortController();
    const { signal } = this.abort;
    const resume: Record<string, string> = this.lastId === undefined ? {} : { 'last-event-id': this.lastId };
    const response = await fetch('/api/v1/stream', { headers: { ...authorization(), ...resume }, signal });
    if (!response.ok || response.body === null) return response.status === 401 || response.status === 403;
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let text = '';
    for (;;) {
      const silence = setTimeout(() => this.abort?.abort(), SILENCE_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return false;
      text += decoder.decode(value, { stream: true });
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        this.take(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  }

  private take(block: string): void {
    let name = 'message';
    let data = '';
    for (const line of block.split('\n')) {
      if (line.startsWith('event: ')) name = line.slice(7);
      else if (line.startsWith('data: ')) data = line.slice(6);
      else if (line.startsWith('id: ')) this.lastId = line.slice(4);
    }
    if (data === '') return;
    if (name === 'hello') {
      this.pauseMs = 500;
      this.handlers.phase('open');
    }
    this.handlers.event(name, JSON.parse(data));
  }
}
