/** The meter's bundle as a process of its own, without an energy meter: what it says, how it ends, and a DLMS client of it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { asciiBytes } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import type { Exchange } from '#dlms/exchange';
import { connectDlmsTcp } from '#hw/dlms-tcp';
import { deviceNode } from '#hw/lab/lab';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { GUARD_MS } from '#test/guard';

const BUNDLE = join(__dirname, '..', '..', 'firmware.js');
const PASSWORD = 'process';

export type LogLine = Readonly<Record<string, string>>;

export interface MeterProcess {
  readonly child: ChildProcess;
  /** Lines of the log so far. */
  readonly lines: readonly LogLine[];
  /** Exit status, or the signal that ended it. */
  readonly ended: Promise<number | string | null>;
  /** The first line with this message. @throws Error when the process ends, or a minute has passed, without it */
  said(message: RegExp): Promise<LogLine>;
  /** Runs operations of client 17, one association for all. */
  asClient<T>(work: (client: DlmsClient, run: <R>(operation: Exchange<R>) => Promise<R>) => Promise<T>): Promise<T>;
  kill(): Promise<void>;
}

/** Starts a meter whose files lie in a folder: `state`, `relay`, and what it needs beside them. */
export function startMeterProcess(folder: string, ...more: readonly string[]): MeterProcess {
  return startMeterBelow([], folder, ...more);
}

/** The same through a command that starts it. */
export function startMeterBelow(command: readonly string[], folder: string, ...more: readonly string[]): MeterProcess {
  const topology = join(folder, 'topology.json');
  const password = join(folder, 'password');
  const relay = join(folder, 'relay');
  mkdirSync(relay, { recursive: true });
  writeFileSync(topology, JSON.stringify({ isd_as: '1-ff00:0:110', mtu: 1472, attributes: [], border_routers: {} }));
  writeFileSync(password, PASSWORD, { mode: 0o600 });
  const words = [
    ...['run', '--json', '--serial-url', 'tcp://127.0.0.1:1', '--relay-driver', 'sim', '--relay-path', relay],
    ...['--scion-topology', topology, '--scion-address', '127.0.0.1', '--scion-port', '0'],
    ...['--dlms-tcp-address', '127.0.0.1:0', '--dlms-password-file', password, '--dlms-commands', 'association'],
    ...['--clock-source', 'system', '--state-directory', join(folder, 'state')],
  ];
  const [program, ...all] = [...command, deviceNode(), ...METER_NODE_FLAGS, BUNDLE, ...words, ...more] as [string];
  const child = spawn(program, all, {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const lines: LogLine[] = [];
  const waiting = new Set<() => void>();
  const ended = new Promise<number | string | null>((resolve) =>
    child.once('close', (code, signal) => resolve(signal ?? code)),
  );
  createInterface({ input: child.stderr! }).on('line', (line) => {
    lines.push(JSON.parse(line));
    for (const look of waiting) look();
  });
  const said = (message: RegExp) =>
    new Promise<LogLine>((resolve, reject) => {
      const give = (why: string) => reject(new Error(`${why}: ${JSON.stringify(lines.slice(-5))}`));
      const timer = setTimeout(give, GUARD_MS, `nothing said like ${message}`);
      const look = () => {
        const line = lines.find(({ msg, message: text }) => message.test(msg ?? text ?? ''));
        if (!line) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(line);
      };
      waiting.add(look);
      look();
      void ended.then((status) => give(`it ended with ${status}`));
    });
  return {
    child,
    lines,
    ended,
    said,
    async asClient(work) {
      const [host, port] = (await said(/^ready$/)).tcp!.split(':') as [string, string];
      const channel = await connectDlmsTcp(host, Number(port), 10_000);
      const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
      const run = async <T>(operation: Exchange<T>): Promise<T> => {
        let step = operation.next();
        while (!step.done) step = operation.next(await channel.exchange(step.value));
        return step.value;
      };
      try {
        await run(client.associate());
        return await work(client, run);
      } finally {
        channel.close();
      }
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
