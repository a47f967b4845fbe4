/**
 * Keeps a folder of state to one process: two meters on one folder would use the same invocation counters twice. The lock
 * is an abstract socket of Linux, named by the folder's device and inode, so it ends with its process, however that ends.
 */

import { mkdirSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { ConfigError } from '#base/errors';

/**
 * Holds a folder, which is made when there is none. One that cannot be used is held by nobody: the storage says so.
 * @returns what lets go of it
 * @throws ConfigError `socket.in-use` while another process holds it
 */
export async function holdFolder(folder: string): Promise<() => void> {
  let name: string;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { dev, ino } = statSync(folder);
    name = `\0s3mp ${dev} ${ino}`;
  } catch {
    return () => {};
  }
  const server = createServer().unref();
  await new Promise<void>((resolve, reject) => {
    server.once('error', ({ code }: NodeJS.ErrnoException) => {
      const inUse = 'belongs to a meter that runs: stop it, or give this one another state.directory';
      if (code === 'EADDRINUSE') reject(new ConfigError('socket.in-use', `${folder} ${inUse}`, { folder }));
      // Where there are no such sockets there is no lock.
      else resolve();
    });
    server.listen(name, resolve);
  });
  return () => void server.close();
}
