/**
 * What an emulated Pi Zero must show: it comes up into the meter by itself, reads a foreign energy meter over its UART,
 * answers the head end over SCION and a foreign client over TCP, and opens and closes its contact when it is told to. Each
 * step says what it saw; the first that does not see it throws.
 */

import { spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { ApiCommand, ApiReading } from '../e2e/platform.ts';
import { until } from '../e2e/platform.ts';
import { type ClientPeer, runClient } from '../interop/dlms-peers.ts';
import { startPtyPair, startPymodbusSlave } from '../interop/pymodbus.ts';
import { ARMEL } from './armel.ts';
import { Board } from './qemu.ts';
import { BOARD_ADDRESS, DLMS_PORT, houseRegisters, METER_ID, startWorld, TAP } from './world.ts';

const RELAY_PIN = 17;
const BOOT_MS = 70_000;
const STEP_MS = 20_000;
const WATCH_MS = 100;

export interface ScenarioOptions {
  /** For everything that is written. */
  readonly folder: string;
  readonly bundles: string;
  /** Files of the board's init, in the project. */
  readonly guest: string;
  readonly gurux: ClientPeer | undefined;
  /** A line of the transcript: who speaks, and what. */
  readonly say: (who: string, what: string) => void;
}

export interface ScenarioResult {
  /** The display's picture (PNG), where the display twin makes one. */
  readonly pictures: ReadonlyMap<string, Uint8Array>;
}

export async function runScenario(options: ScenarioOptions): Promise<ScenarioResult> {
  const { folder, bundles, say, gurux } = options;
  const pictures = new Map<string, Uint8Array>();
  const stops: (() => Promise<void>)[] = [];
  let closing = false;
  try {
    const pty = await startPtyPair(folder);
    stops.push(() => pty.stop());
    const slave = await startPymodbusSlave(pty.meter, houseRegisters(true));
    stops.push(() => slave.stop());
    const world = await startWorld(folder, bundles);
    stops.push(() => world.stop());
    say('host', 'gateways of 1-ff00:0:110 and 1-ff00:0:111 and the head end run; pymodbus is the energy meter');

    const initramfs = writeInitramfs(options, world.files);
    const console: string[] = [];
    const board = await Board.start({
      folder,
      uart: pty.bus,
      tap: TAP,
      words: 'quiet rdinit=/init',
      initramfs,
      onLine: (line) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: what a console may send
        const text = line.replace(/[\x00-\x08\x0b-\x1f\x7f\ufffd]/g, '');
        console.push(text);
        if (!/Division by zero in kernel|^\s*$/.test(text)) say('board', text);
      },
    });
    stops.push(() => board.stop());
    const startedAt = performance.now();
    say('host', 'power on');

    // The house: what flows depends on the level of the pin, whatever the firmware says.
    let level = false;
    const watcher = (async () => {
      while (!closing) {
        const high = await board.pin(RELAY_PIN);
        if (high !== level) {
          level = high;
          say('pin', `GPIO ${RELAY_PIN} is ${high ? 'high: the contact opens' : 'low: the contact closes'}`);
          await slave.set(houseRegisters(!high));
        }
        await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
      }
    })().catch((error) => closing || say('host', `the monitor: ${error.message}`));
    stops.push(async () => {
      closing = true;
      await watcher;
    });

    const request = async <T>(method: string, path: string, body?: unknown, headers = {}): Promise<T> => {
      const url = new URL(`api/v1/${path}`, world.pageUrl);
      const init = { method, headers: { 'content-type': 'application/json', ...headers } };
      const response = await fetch(url, body === undefined ? init : { ...init, body: JSON.stringify(body) });
      return (await response.json()) as T;
    };
    const read = () => request<ApiReading>('POST', `meters/${METER_ID}/readings`, {});
    const tell = (reading: ApiReading, name: RegExp) =>
      reading.values
        .filter((v) => name.test(v.name))
        .map((v) => `${v.name} ${v.value} ${v.unit}`)
        .join(', ');

    const first = await until(
      'a good reading of the head end',
      async () => {
        const reading = await read();
        return reading.values?.every(({ quality }) => quality === 'good') ? reading : undefined;
      },
      BOOT_MS,
    );
    say('host', `first good reading ${((performance.now() - startedAt) / 1000).toFixed(0)} s after power on`);
    say('head end', `over ${first.path.hops}: ${tell(first, /Voltage|Current|Frequency|Net|Energy|import/i)}`);
    expect(first.values.find((v) => v.obis === '1-0:32.7.0.255')?.value === 231.42, 'the voltage of the foreign meter');

    if (gurux?.version !== undefined) {
      const plan = { password: world.password, steps: [['view'], ['registers'], ['release']] };
      const [opened, view, registers] = await runClient(gurux.client, DLMS_PORT, plan, BOARD_ADDRESS);
      expect(opened?.associated !== undefined, `an association of Gurux: ${opened?.error}`);
      const [volts] = registers!.result['1.0.32.7.0.255'];
      say('Gurux', `${gurux.version} over TCP: ${view!.result.length} objects, voltage ${volts.toFixed(2)} V`);
      expect(Math.round(volts * 100) === 23_142, 'the same voltage');
    }
    await picture('connected');

    await command('disconnect', true);
    const off = await read();
    say('head end', tell(off, /Voltage|Net|Current/i));
    expect(off.values.find((v) => v.obis === '1-0:16.7.0.255')?.value === 0, 'no power behind the open contact');
    await picture('disconnected');
    await command('connect', false);
    const moves = console
      .filter((line) => line.startsWith('kernel:'))
      .flatMap((line) => / out (hi|lo) /.exec(line)?.[1] ?? []);
    expect(moves.join() === 'lo,hi,lo', `the kernel saw the pin go lo, hi, lo and nothing else: ${moves}`);

    async function command(type: string, high: boolean): Promise<void> {
      const body = { type, reason: 'trial on the emulated board' };
      const headers = { 'idempotency-key': `board-${type}` };
      const { id } = await request<ApiCommand>('POST', `meters/${METER_ID}/commands`, body, headers);
      say('head end', `${type}, signed`);
      const ends = ['verified', 'failed', 'expired', 'unknown'];
      const end = await until(
        `${type} ends`,
        async () => {
          const now = await request<ApiCommand>('GET', `commands/${id}`);
          return ends.includes(now.state) ? now : undefined;
        },
        STEP_MS,
      );
      say('head end', `${type} ${end.state}: ${JSON.stringify(end.evidence)}`);
      expect(end.state === 'verified', `${type} is verified`);
      expect((await board.pin(RELAY_PIN)) === high, `GPIO ${RELAY_PIN} is ${high ? 'high' : 'low'}`);
    }

    /** The display twin's picture, from the board's own web server. */
    async function picture(name: string): Promise<void> {
      const answer = await fetch(`http://${BOARD_ADDRESS}/display.png`).catch(() => undefined);
      if (answer?.ok) pictures.set(name, new Uint8Array(await answer.arrayBuffer()));
    }
    return { pictures };
  } finally {
    closing = true;
    for (const stop of stops.reverse()) await stop();
  }
}

function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`not seen: ${what}`);
}

/** The archive that every boot has, and a second one with the meter, its settings and the board's init. */
function writeInitramfs({ folder, guest }: ScenarioOptions, files: ReadonlyMap<string, string>): string {
  const tree = join(folder, 'overlay');
  const place = (path: string): string => {
    const file = join(tree, path);
    mkdirSync(dirname(file), { recursive: true });
    return file;
  };
  for (const [path, text] of files) writeFileSync(place(path), text, { mode: 0o600 });
  for (const [name, path] of [
    ['init', 'init'],
    ['inittab', 'etc/inittab'],
    ['boot', 'etc/boot'],
    ['watch', 'etc/watch'],
    ['run', 'opt/s3mp/run'],
  ] as const) {
    const file = place(path);
    copyFileSync(join(guest, name), file);
    chmodSync(file, 0o755);
  }
  const list = spawnSync('find', ['.'], { cwd: tree });
  const archive = spawnSync('cpio', ['-o', '-H', 'newc', '--quiet', '-R', '0:0'], { cwd: tree, input: list.stdout });
  if (archive.status !== 0) throw new Error(`cpio: ${archive.stderr}`);
  const file = join(folder, 'initramfs.cpio');
  copyFileSync(join(ARMEL, 'boot', 'initramfs.cpio'), file);
  appendFileSync(file, archive.stdout);
  return file;
}
