/** An emulated board in its world: power on and off, the house behind the contact, what the head end reads and commands. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodePng } from '#hw/sim/png';
import { SimSsd1306 } from '#hw/sim/ssd1306';
import { type ApiCommand, type ApiReading, type ApiValue, until } from '../e2e/platform.ts';
import { type PtyPair, type PymodbusSlave, startPtyPair, startPymodbusSlave } from '../interop/pymodbus.ts';
import { SimDs3231 } from './ds3231.ts';
import { Board } from './qemu.ts';
import { type I2cTarget, UsbI2c } from './usb-i2c.ts';
import { BOARD_ADDRESS, houseRegisters, METER_ID, startWorld, TAP, type World } from './world.ts';

export const RELAY_PIN = 17;
/** Steps of a board that shares its processor with others. */
const STEP_MS = 120_000;
const WATCH_MS = 100;
const PANEL_ADDRESS = 0x3c;
const PANEL_HEIGHT = 64;
const PICTURE_SCALE = 4;
const CLOCK_ADDRESS = 0x68;
/** Of the head end's log, when a step was not seen. */
const LOG_LINES = 8;
/** A picture on the panel that has not changed for so long is whole. */
const STILL_MS = 2_500;
/** An outcome that is unknown, since the answer was late, is read back by the head end and becomes one of these. */
const ENDS = ['verified', 'failed', 'expired'];

/** What a board boots from. */
export interface Medium {
  readonly initramfs: string;
  readonly card?: string;
  /** Kernel command line of the next start. */
  readonly words: () => string;
  /** The display is the panel on the I²C bus. */
  readonly hasPanel?: boolean;
  /** What happens to a meter that hangs: the watchdog resets the board, or the system starts the process anew. */
  readonly whenHung: 'reset' | 'restart';
  /** Hash of what a running board must not change, from its second start on. */
  readonly fingerprint?: () => string;
}

/** A line of the transcript: who speaks, and what. */
export type Say = (who: string, what: string) => void;

export class Rig {
  readonly world: World;
  /** Levels that the pin went to since the power came. */
  moves: boolean[] = [];
  /** Times that the board has reset itself since the power came. */
  resets = 0;
  private readonly folder: string;
  private readonly say: Say;
  private readonly pty: PtyPair;
  private readonly slave: PymodbusSlave;
  private readonly i2c: UsbI2c;
  private readonly panel: SimSsd1306;
  private board: Board | undefined;
  private watcher: Promise<void> = Promise.resolve();
  private panicked = false;
  /** The console since the power came. */
  private heard: string[] = [];
  private startedAt = 0;
  private commands = 0;

  private constructor(
    folder: string,
    say: Say,
    pty: PtyPair,
    slave: PymodbusSlave,
    i2c: UsbI2c,
    panel: SimSsd1306,
    world: World,
  ) {
    this.folder = folder;
    this.say = say;
    this.pty = pty;
    this.slave = slave;
    this.i2c = i2c;
    this.panel = panel;
    this.world = world;
  }

  /** @param folder  for everything that is written */
  static async start(folder: string, bundles: string, say: Say): Promise<Rig> {
    const stops: (() => Promise<void>)[] = [];
    try {
      const pty = await startPtyPair(folder);
      stops.push(() => pty.stop());
      const slave = await startPymodbusSlave(pty.meter, houseRegisters(true));
      stops.push(() => slave.stop());
      const panel = new SimSsd1306('ssd1306', PANEL_HEIGHT);
      const targets = new Map<number, I2cTarget>([
        [PANEL_ADDRESS, { write: (bytes) => panel.write(bytes), read: (length) => new Array<number>(length).fill(0) }],
        [CLOCK_ADDRESS, new SimDs3231()],
      ]);
      const i2c = await UsbI2c.start(join(folder, 'usb'), targets);
      stops.push(() => i2c.stop());
      return new Rig(folder, say, pty, slave, i2c, panel, await startWorld(folder, bundles));
    } catch (error) {
      for (const stop of stops) await stop();
      throw error;
    }
  }

  async powerOn({ words, initramfs, card }: Medium): Promise<void> {
    const board = await Board.start({
      folder: this.folder,
      uart: this.pty.bus,
      tap: TAP,
      words: words(),
      initramfs,
      ...(card === undefined ? {} : { card }),
      usb: this.i2c.path,
      onLine: (line) => {
        this.panicked ||= /Kernel panic/.test(line);
        this.heard.push(line);
        // What programs say, without the kernel's own lines.
        const said = /^\S*?\[ *\d+\.\d+\] (\w\S*\[\d+\]|board|pin|meter): *(.*?)\s*$/.exec(line);
        if (said) this.say('board', `${said[1]!.replace(/\[\d+\]$/, '')}: ${said[2]}`);
        else if (this.panicked) this.say('board', line);
      },
      onReset: () => {
        this.resets++;
        this.startedAt = performance.now();
        this.say('host', 'the board has reset itself');
      },
    });
    this.board = board;
    this.startedAt = performance.now();
    this.say('host', 'power on');
    this.moves = [];
    this.resets = 0;
    this.heard = [];
    this.watcher = this.watch(board).catch((error) => {
      if (this.board === board) this.say('host', `the monitor: ${error.message}`);
    });
  }

  /** Pulls the plug. */
  async powerOff(): Promise<void> {
    const { board } = this;
    this.board = undefined;
    await this.watcher;
    await board?.stop();
    await this.slave.set(houseRegisters(true));
  }

  async stop(): Promise<void> {
    await this.powerOff();
    await this.world.stop();
    await this.i2c.stop();
    await this.slave.stop();
    await this.pty.stop();
  }

  /** The house: what flows depends on the level of the pin, whatever the firmware says. */
  private async watch(board: Board): Promise<void> {
    for (let level = false; this.board === board; ) {
      const high = await board.pin(RELAY_PIN);
      if (high !== level) {
        level = high;
        this.moves.push(high);
        this.say('pin', `GPIO ${RELAY_PIN} is ${high ? 'high: the contact opens' : 'low: the contact closes'}`);
        await this.slave.set(houseRegisters(!high));
      }
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
    }
  }

  /** The meter's process stops as one that hangs. */
  async freeze(): Promise<void> {
    const answer = await fetch(`http://${BOARD_ADDRESS}/cgi-bin/freeze`);
    expect((await answer.text()).trim() === 'stopped', 'a process of the meter to stop');
  }

  /** Waits for the panel to show something whole, and else than before (PNG). */
  async picture(before: Uint8Array = new Uint8Array(0)): Promise<Uint8Array> {
    let shown: Uint8Array = before;
    let since = 0;
    const picture = await until(
      'another picture on the panel',
      () => {
        const found = this.panel.isOn ? encodePng(this.panel.picture, PICTURE_SCALE) : undefined;
        if (!found || Buffer.compare(found, before) === 0) return undefined;
        // A picture comes page by page.
        if (Buffer.compare(found, shown) !== 0) since = performance.now();
        shown = found;
        return performance.now() - since > STILL_MS && found;
      },
      STEP_MS,
    );
    this.say('panel', `another picture; ${this.panel.received} bytes came over I²C`);
    return picture;
  }

  /** Waits for a line of the console. */
  async hears(line: RegExp, limitMs: number): Promise<void> {
    await until(`the console says ${line.source}`, () => this.heard.some((text) => line.test(text)), limitMs);
  }

  /** What may be the reason that a step was not seen. */
  async explain(): Promise<void> {
    if (!this.board) return;
    const condition = await this.board.condition().catch((error: Error) => error.message);
    this.say('host', `not seen; the board: ${condition}`);
    const log = readFileSync(join(this.folder, 'headend.log'), 'utf8').trimEnd().split('\n');
    for (const line of log.slice(-LOG_LINES)) this.say('head end', line);
  }

  /** Level of the relay's pin in the chip. */
  pin(): Promise<boolean> {
    return this.board!.pin(RELAY_PIN);
  }

  private async request<T>(method: string, path: string, body?: unknown, headers = {}): Promise<T> {
    const url = new URL(`api/v1/${path}`, this.world.pageUrl);
    const init = { method, headers: { 'content-type': 'application/json', ...headers } };
    const response = await fetch(url, body === undefined ? init : { ...init, body: JSON.stringify(body) });
    return (await response.json()) as T;
  }

  read(): Promise<ApiReading> {
    return this.request('POST', `meters/${METER_ID}/readings`, {});
  }

  /**
   * Waits for the head end's first reading without a doubt since the power came.
   * @param isCrash  the meter has ended as a crash does: its energy is held, and doubtful, until the register counts
   */
  async firstReading(limitMs: number, isCrash = false): Promise<ApiReading> {
    const isHeld = ({ name }: ApiValue) => isCrash && name === 'Active energy import';
    let last = '';
    const reading = await until(
      'a good reading of the head end',
      async () => {
        expect(!this.panicked, 'a kernel without panic');
        const found = await this.read();
        if (found.values?.every((value) => value.quality === 'good' || isHeld(value))) return found;
        const said = found.values ? 'doubtful values' : JSON.stringify(found);
        if (said !== last) this.say('head end', said);
        last = said;
        return undefined;
      },
      limitMs,
    );
    const seconds = ((performance.now() - this.startedAt) / 1000).toFixed(0);
    this.say('host', `first good reading ${seconds} s after power on`);
    this.tell(reading);
    return reading;
  }

  tell(reading: ApiReading): void {
    const chosen = reading.values.filter(({ name }) => /Voltage|Current|Frequency|Net|energy/.test(name));
    const values = chosen.map(({ name, value, unit }) => `${name} ${value} ${unit}`).join(', ');
    this.say('head end', `over ${reading.path.hops}: ${values}`);
  }

  /** A signed command to its end; throws unless its effect was read back and the pin has followed. */
  async command(type: 'connect' | 'disconnect'): Promise<void> {
    const headers = { 'idempotency-key': `board-${++this.commands}` };
    const body = { type, reason: 'trial on the emulated board' };
    const { id } = await this.request<ApiCommand>('POST', `meters/${METER_ID}/commands`, body, headers);
    this.say('head end', `${type}, signed`);
    let isLate = false;
    const end = await until(
      `${type} ends`,
      async () => {
        const found = await this.request<ApiCommand>('GET', `commands/${id}`);
        if (found.state === 'unknown' && !isLate)
          this.say('head end', `${type} unknown: no answer in time, reading back`);
        isLate ||= found.state === 'unknown';
        return ENDS.includes(found.state) ? found : undefined;
      },
      STEP_MS,
    );
    const { controlState, outputState, powerAfterW } = end.evidence ?? {};
    this.say('head end', `${type} ${end.state}: ${JSON.stringify({ controlState, outputState, powerAfterW })}`);
    expect(end.state === 'verified', `${type} is verified`);
    const wanted = type === 'disconnect';
    await until(`GPIO ${RELAY_PIN} obeys`, async () => (await this.pin()) === wanted, STEP_MS);
    await until('the house has seen it', () => this.moves.at(-1) === wanted, STEP_MS);
  }
}

export function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`not seen: ${what}`);
}
