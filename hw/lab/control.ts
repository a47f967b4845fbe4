/**
 * Control of a running lab: JSON lines over a Unix socket in the lab's own folder, which only its user can enter.
 * A request is `{"command": "cut", "arguments": ["lte"]}`, the answer `{"ok": true, "result": …}` or an error.
 */

import { readdirSync } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ConfigError, messageOf, S3mpError } from '#base/errors';

export type ControlHandler = (command: string, args: readonly string[]) => Promise<unknown>;

const FOLDER_PREFIX = 's3mp-lab-';
const SOCKET_NAME = 'control.sock';

/** Folder in which lab number `lab` of this user keeps its files. */
export function labFolderPrefix(lab: number): string {
  return join(tmpdir(), `${FOLDER_PREFIX}${lab}-`);
}

export function serveControl(folder: string, handle: ControlHandler): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    createInterface({ input: socket }).on('line', async (text) => {
      let answer: object;
      try {
        const request = JSON.parse(text) as { command: string; arguments?: string[] };
        answer = { ok: true, result: (await handle(request.command, request.arguments ?? [])) ?? null };
      } catch (error) {
        answer = { ok: false, code: error instanceof S3mpError ? error.code : 'internal', message: messageOf(error) };
      }
      socket.write(`${JSON.stringify(answer)}\n`);
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(join(folder, SOCKET_NAME), () => resolve(server));
  });
}

/** Folders of the labs that run: their control sockets take a connection. What a killed lab left behind does not. */
export async function runningLabs(): Promise<string[]> {
  const folders = readdirSync(tmpdir())
    .filter((name) => name.startsWith(FOLDER_PREFIX))
    .map((name) => join(tmpdir(), name))
    .sort();
  const alive = await Promise.all(folders.map(isAlive));
  return folders.filter((_, index) => alive[index]);
}

function isAlive(folder: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(join(folder, SOCKET_NAME));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * Sends one command to a lab.
 * @throws S3mpError `usage.invalid` when no lab runs there, or the lab's own error
 */
export function sendControl(folder: string, command: string, args: readonly string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(join(folder, SOCKET_NAME));
    socket.once('error', (error) =>
      reject(new ConfigError('usage.invalid', `no lab answers in ${folder}; start one with npm start`, {}, error)),
    );
    createInterface({ input: socket }).once('line', (text) => {
      socket.end();
      const answer = JSON.parse(text) as { ok: boolean; result: unknown; code: S3mpError['code']; message: string };
      if (answer.ok) resolve(answer.result);
      else reject(new S3mpError(answer.code, answer.message));
    });
    socket.write(`${JSON.stringify({ command, arguments: args })}\n`);
  });
}
