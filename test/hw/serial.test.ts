/** What a serial port says of itself to the person who has to plug, wire or configure something. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { keepOpen } from '#hw/serial/line';

const Port = suite('serial port');

/** What the port says when opening it, or the open line, fails. */
function said(path: string, failure: string, isOpen: boolean): Promise<string> {
  return new Promise((resolve) => {
    const port = keepOpen(path, { baud: 9600, parity: 'even' }, async () => {
      if (!isOpen) throw new Error(failure);
      return {
        driver: 'test',
        fd: -1,
        listen: (_onData, onLost) => void setImmediate(onLost, new Error(failure)),
        close: async () => {},
      };
    });
    port.onState = (_isOpen, error) => error && void port.close().then(() => resolve(error.message));
  });
}

Port('each cause has its cure, and it is tried again', async () => {
  for (const [path, failure, isOpen, words] of [
    ['/dev/ttyUSB0', 'bad file descriptor', true, /the adapter is gone: bad file descriptor \(plug it in again\)/],
    ['/dev/ttyUSB0', 'EIO: i/o error, read', true, /the adapter is gone/],
    ['/dev/ttyUSB0', 'the line was hung up', true, /the adapter is gone/],
    ['/dev/ttyUSB0', 'Error: No such file or directory, cannot open /dev/ttyUSB0', false, /plugged in\? see ls/],
    ['/dev/serial0', "ENOENT: no such file or directory, open '/dev/serial0'", false, /enable_uart=1/],
    ['/dev/ttyAMA0', 'Error: Permission denied, cannot open /dev/ttyAMA0', false, /group dialout/],
    ['/dev/ttyUSB0', 'Error Resource temporarily unavailable Cannot lock port', false, /another program holds/],
  ] as const) {
    const text = await said(path, failure, isOpen);
    assert.match(text, words);
    assert.match(text, /; trying again in [\d.]+ s$/);
  }
});

Port.run();
