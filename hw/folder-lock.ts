/**
 * Keeps a folder of state to one process of this machine: two meters on one folder would use the same invocation counters
 * twice. Two sockets that nobody speaks to are the lock; both end with their process, however that ends.
 *
 * - An abstract one of Linux, named by the folder's device and inode. It needs no place on the disk, and of two that start at
 *   once one has it; but it is not seen from another network namespace.
 * - One in the folder, which is seen from every container that the folder is mounted in. What a killed process or a power
 *   failure leaves of it refuses connections, whatever process has its number by then, and is removed. Each process has a name
 *   of its own and looks for others only after it listens, so that of two at least one sees the other; both may give up.
 *
 * A disk without room has no place for the second one; elsewhere than on Linux there is neither, and nobody holds the folder.
 */

import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect, createServer, type ListenOptions, type Server } from 'node:net';
import { ConfigError, invalidConfig } from '#base/errors';
import { makeFolder } from '#hw/medium';

const PREFIX = '.held-';

/**
 * Holds a folder, which is made when there is none. One that cannot be used is held by nobody: the storage says so.
 * @returns what lets go of it
 * @throws ConfigError `socket.in-use` while another process holds it, `config.invalid` in a place that holds no folders
 */
export async function holdFolder(folder: string): Promise<() => void> {
  let name: string;
  let directory: number;
  try {
    makeFolder(folder);
    const { dev, ino } = statSync(folder);
    name = `\0s3mp ${dev} ${ino}`;
    directory = openSync(folder, 'r');
  } catch (error) {
    // Disks fail in other ways: here nothing could ever be stored.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw invalidConfig(`state.directory ${folder}: no folder can be made there; give one on a disk`, { folder });
    return () => {};
  }
  const servers: Server[] = [];
  const letGo = () => {
    for (const server of servers.splice(0)) server.close();
    if (directory) closeSync(directory);
    directory = 0;
  };
  // The address of a socket is short; the path of a folder need not be.
  const place = `/proc/self/fd/${directory}/`;
  const own = PREFIX + Math.random();
  try {
    if (await isFree(servers, { path: name })) {
      await isFree(servers, { path: place + own, writableAll: true });
      // Whoever looked between its making and its listening has taken it for dead, and away.
      if ((await isAlone(place, own)) && (servers.length < 2 || existsSync(place + own))) return letGo;
    }
  } catch {
    // The disk fails under the lock.
    return letGo;
  }
  letGo();
  const inUse = 'it is in use by a meter that runs: stop that, or give another state.directory';
  throw new ConfigError('socket.in-use', `${folder}: ${inUse}`, { folder });
}

/** Listens at an address, if there can be such a socket at all. @returns false if another process does */
function isFree(servers: Server[], address: ListenOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy()).unref();
    server.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'EADDRINUSE'));
    server.listen(address, () => {
      servers.push(server);
      resolve(true);
    });
  });
}

/** Looks for other holders in the folder, and removes what dead ones have left. */
async function isAlone(place: string, own: string): Promise<boolean> {
  for (const name of readdirSync(place)) {
    if (!name.startsWith(PREFIX) || name === own) continue;
    if (await isHeld(place + name)) return false;
    rmSync(place + name, { force: true });
  }
  return true;
}

/** Whether a process listens there; what cannot be told counts. */
function isHeld(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED'));
  });
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
