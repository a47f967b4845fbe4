/**
 * A serial line through the native part of the serialport package, which opens and configures the port and says when it is
 * readable; bytes are read and written at its file descriptor at once, into one fixed buffer, since streams and the thread
 * pool behind them cost a tenth of the bus time at 115200 baud. Of the package nothing else is used.
 * It is loaded at the first use only, from `prebuilds/` beside the bundle, where the package itself would look below package
 * folders: where it cannot be, `DriverMissing` says so.
 */

import { existsSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '#base/errors';
import { isBusy, type Line, READ_SIZE, type SerialSettings } from '#hw/serial/line';

type Done<T> = (error: Error | null, value: T) => void;

/** What the native part offers on Linux. */
interface Binding {
  open(path: string, options: object, done: Done<number>): void;
  flush(fd: number, done: Done<void>): void;
  close(fd: number, done: Done<void>): void;
  readonly Poller: new (fd: number, listener: (error: Error | null) => void) => NativePoller;
}

interface NativePoller {
  /** Arms it for one event. */
  poll(events: number): void;
  stop(): void;
  destroy(): void;
}

const READABLE = 1;
const OPEN_OPTIONS = { dataBits: 8, lock: true, hupcl: false, vmin: 1, vtime: 0 };
const NO_FLOW_CONTROL = { rtscts: false, xon: false, xoff: false, xany: false };

/** The native part cannot be loaded here: not installed, not built for this machine, or broken. */
export class DriverMissing extends Error {}

/** The build for this processor and C library; an image in a slot has the prebuilds of the folder above. */
function loadBinding(): Binding {
  const folders = [__dirname, join(__dirname, '..')].map((folder) =>
    join(folder, 'prebuilds', `${process.platform}-${process.arch}`),
  );
  const libc = existsSync('/etc/alpine-release') ? 'musl' : 'glibc';
  const { arm_version: arm } = process.config.variables as { arm_version?: string };
  try {
    for (const folder of folders.filter(existsSync)) {
      const fits = readdirSync(folder).filter((file) => file.endsWith(`.${libc}.node`));
      const best = fits.find((file) => file.includes(`armv${arm}`)) ?? fits[0];
      if (best) return require(join(folder, best));
    }
    throw new Error(`no native serial driver in ${folders.join(' or ')}`);
  } catch (error) {
    throw new DriverMissing(`serialport cannot be loaded: ${messageOf(error).split('\n')[0]}`);
  }
}

/** @throws DriverMissing; or the native part's own Error, when the port cannot be opened */
export async function openNativeLine(path: string, { baud, parity, stopBits = 1 }: SerialSettings): Promise<Line> {
  const binding = loadBinding();
  const options = { ...OPEN_OPTIONS, ...NO_FLOW_CONTROL, baudRate: baud, parity, stopBits };
  const fd = await promisify(binding.open)(path, options);
  const close = promisify(binding.close);
  // What came before belongs to nobody.
  await promisify(binding.flush)(fd).catch(async (error) => {
    await close(fd).catch(() => {});
    throw error;
  });
  const buffer = new Uint8Array(READ_SIZE);
  let poller: NativePoller | undefined;
  return {
    driver: 'serialport',
    fd,
    listen(onData, onLost) {
      poller = new binding.Poller(fd, (error) => {
        if (!poller) return;
        try {
          if (error) throw error;
          const length = readSync(fd, buffer, 0, READ_SIZE, null);
          if (length === 0) throw new Error('the line was hung up');
          onData(buffer, length);
        } catch (reason) {
          if (!isBusy(reason)) onLost(reason);
        }
        poller?.poll(READABLE);
      });
      poller.poll(READABLE);
    },
    close() {
      const old = poller;
      poller = undefined;
      old?.stop();
      old?.destroy();
      return close(fd);
    },
  };
}
