/**
 * Keeps a folder of state to one process: two meters on one folder would use the same invocation counters twice. The lock
 * is an abstract socket of Linux, named by the folder's device and inode, so it ends with its process, however that ends.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { ConfigError, invalidConfig } from '#base/errors';
import { makeFolder } from '#hw/medium';

/**
 * Holds a folder, which is made when there is none. One that cannot be used is held by nobody: the storage says so.
 * @returns what lets go of it
 * @throws ConfigError `socket.in-use` while another process holds it, `config.invalid` in a place that holds no folders
 */
export async function holdFolder(folder: string): Promise<() => void> {
  let name: string;
  try {
    makeFolder(folder);
    const { dev, ino } = statSync(folder);
    name = `\0s3mp ${dev} ${ino}`;
  } catch (error) {
    // Disks fail in other ways: here nothing could ever be stored.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw invalidConfig(`state.directory ${folder}: no folder can be made there; give one on a disk`, { folder });
    return () => {};
  }
  const server = createServer((socket) => socket.destroy()).unref();
  await new Promise<void>((resolve, reject) => {
    server.once('error', ({ code }: NodeJS.ErrnoException) => {
      const inUse = 'is in use by a meter that runs: stop it, or give this one another state.directory';
      if (code === 'EADDRINUSE') reject(new ConfigError('socket.in-use', `${folder} ${inUse}`, { folder }));
      // Where there are no such sockets there is no lock.
      else resolve();
    });
    server.listen(name, resolve);
  });
  return () => void server.close();
}

/**
 * For commands of people: files that another user makes in the state folder the meter could not open.
 * @throws ConfigError `usage.invalid` with what to type
 */
export function checkOwner(folder: string): void {
  const uid = existsSync(folder) ? statSync(folder).uid : process.getuid!();
  if (uid === process.getuid!()) return;
  const users = readFileSync('/etc/passwd', 'latin1');
  const name = new RegExp(`^([^:]+):[^:]*:${uid}:`, 'm').exec(users)?.[1] ?? `#${uid}`;
  throw new ConfigError('usage.invalid', `${folder} belongs to ${name}: type sudo -u ${name} before this command`);
}
