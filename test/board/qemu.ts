/**
 * A whole Raspberry Pi Zero in qemu-system-arm: its kernel from Debian, the PL011 UART on a pseudo terminal of this
 * machine, the console on the mini UART, Ethernet by USB on a tap device. The monitor reads the registers of the GPIO
 * block, so that a pin is seen without asking anything that runs on the board.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ARMEL } from './armel.ts';

/** Physical address of GPLEV0, the levels of pins 0 to 31 (BCM2835 ARM Peripherals, 6.1). */
const GPIO_LEVELS = 0x2020_0034;
/** Of the system timer (12.1 there): status, the counter's lower half, and compare register 3, which is the kernel's tick. */
const TIMER_STATUS = 0x2000_3000;
const TIMER_COUNTER = 0x2000_3004;
const TIMER_COMPARE = 0x2000_3018;
const TICK_PENDING = 1 << 3;
/** Flags and raw interrupts of the PL011 (13.4 there); reading them changes nothing. */
const UART_FLAGS = 0x2020_1018;
const UART_INTERRUPTS = 0x2020_103c;
/** The tick is due every 4 ms; 71 minutes long a compare register that was missed lies behind the counter. */
const TICK_LATE_US = 1_000_000;
const COMPARE_WRAPS_US = 2 ** 31;
/**
 * The board's clock runs with its instructions, 4 ns each, and with the machine's clock while it has nothing to do. With a
 * clock that runs on while the emulator waits for a processor, the kernel, which reads the counter and writes the next
 * tick's time into the compare register, is overtaken by the counter between the two: the emulator then sees that time as
 * 71 minutes ahead, and nothing that waits for time goes on. With a rate that follows the machine (`auto`) the
 * meter's own time limits run out on a busy one.
 */
const CLOCK = ['-icount', 'shift=2'];

export interface BoardOptions {
  /** For its files. */
  readonly folder: string;
  /** Pseudo terminal that the PL011 is connected to. */
  readonly uart: string;
  /** Tap device that the USB Ethernet adapter is plugged into. */
  readonly tap: string;
  /** Kernel command line before the console. */
  readonly words: string;
  readonly initramfs?: string;
  /** Image of an SD card; its size must be a power of two. */
  readonly card?: string;
  /** Socket of a USB device (usbredir) that is plugged in beside the network adapter; the emulator puts a hub between. */
  readonly usb?: string;
  readonly onLine: (line: string) => void;
  /** The board has reset itself and boots again. */
  readonly onReset: () => void;
}

export class Board {
  private readonly qemu: ChildProcess;
  private readonly monitor: Monitor;
  private spokeAt = performance.now();

  private constructor(qemu: ChildProcess, monitor: Monitor) {
    this.qemu = qemu;
    this.monitor = monitor;
  }

  static async start(options: BoardOptions): Promise<Board> {
    const { folder, initramfs, card, usb } = options;
    const socket = join(folder, 'monitor');
    const tree = join(folder, 'board.dtb');
    cpSync(join(ARMEL, 'boot', 'bcm2835-rpi-zero.dtb'), tree);
    // A Zero's only USB port is a host when something is plugged in, and its console is on the second UART here.
    patchTree(tree, '/soc/usb@7e980000', 'dr_mode', 'host');
    patchTree(tree, '/soc/serial@7e215040', 'status', 'okay');
    // Of the power block, reset and power-off are modelled; the bridges of its power domains (`asb`) are not.
    patchTree(tree, '/soc/watchdog@7e100000', 'reg-names', 'pm');
    patchTree(tree, '/soc/watchdog@7e100000', 'reg', '0x7e100000', '0x114');
    const args = [
      ['-M', 'raspi0', '-display', 'none', ...CLOCK],
      ['-kernel', join(ARMEL, 'boot', 'kernel.img'), '-dtb', tree],
      ['-append', `${options.words} console=ttyS1,115200 panic=-1`],
      initramfs === undefined ? [] : ['-initrd', initramfs],
      card === undefined ? [] : ['-drive', `if=sd,format=raw,file=${card}`],
      ['-chardev', `serial,id=uart,path=${options.uart}`, '-serial', 'chardev:uart', '-serial', 'stdio'],
      ['-netdev', `tap,id=lan,ifname=${options.tap},script=no,downscript=no`, '-device', 'usb-net,netdev=lan'],
      usb === undefined ? [] : ['-chardev', `socket,id=usb,path=${usb}`, '-device', 'usb-redir,chardev=usb'],
      ['-qmp', `unix:${socket},server=on,wait=off`, '-monitor', 'none'],
    ].flat();
    const qemu = spawn('qemu-system-arm', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let errors = '';
    qemu.stderr.on('data', (chunk) => (errors += chunk));
    const ended = () => (qemu.exitCode === null ? undefined : errors);
    const monitor = await Monitor.open(socket, ended, (event) => event === 'RESET' && options.onReset());
    const board = new Board(qemu, monitor);
    createInterface({ input: qemu.stdout }).on('line', (line) => {
      board.spokeAt = performance.now();
      options.onLine(line);
    });
    return board;
  }

  /** Level of a pin as the GPIO block has it. */
  async pin(number: number): Promise<boolean> {
    return (((await this.register(GPIO_LEVELS)) >>> number) & 1) === 1;
  }

  /** How the board is, in words for whoever looks for the reason of its silence. */
  async condition(): Promise<string> {
    const compare = await this.register(TIMER_COMPARE);
    const isPending = ((await this.register(TIMER_STATUS)) & TICK_PENDING) !== 0;
    const lateUs = ((await this.register(TIMER_COUNTER)) - compare) >>> 0;
    const isLost = !isPending && lateUs > TICK_LATE_US && lateUs < COMPARE_WRAPS_US;
    const hex = async (address: number) => `0x${(await this.register(address)).toString(16)}`;
    return [
      `console silent for ${((performance.now() - this.spokeAt) / 1000).toFixed(0)} s`,
      isLost ? `the kernel's tick is lost: due ${(lateUs / 1e6).toFixed(1)} s ago, not pending` : 'the tick runs',
      `UART flags ${await hex(UART_FLAGS)}, interrupts ${await hex(UART_INTERRUPTS)}`,
    ].join('; ');
  }

  private async register(address: number): Promise<number> {
    const answer = await this.monitor.ask(`xp /1wx 0x${address.toString(16)}`);
    const word = /: 0x([0-9a-f]{8})/.exec(answer)?.[1];
    if (word === undefined) throw new Error(`the monitor answers ${answer}`);
    return Number.parseInt(word, 16);
  }

  /** Pulls the plug. */
  async stop(): Promise<void> {
    this.monitor.close();
    if (this.qemu.exitCode !== null || this.qemu.signalCode !== null) return;
    const gone = new Promise((resolve) => this.qemu.once('exit', resolve));
    this.qemu.kill('SIGKILL');
    await gone;
  }
}

/** @param values  a text, or numbers beginning with 0x */
function patchTree(file: string, node: string, name: string, ...values: string[]): void {
  const type = values[0]!.startsWith('0x') ? 'x' : 's';
  const { status, stderr } = spawnSync('fdtput', ['-t', type, file, node, name, ...values], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`fdtput ${node} ${name}: ${stderr}`);
}

const MONITOR_TRIES = 200;
const MONITOR_PAUSE_MS = 50;
const GONE = 'error: the emulator is gone';

/** QEMU's machine protocol, of which only the human commands are used, one at a time. */
class Monitor {
  private readonly socket: Socket;
  private answer: ((text: string) => void) | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private isGone = false;

  private constructor(socket: Socket, onEvent: (name: string) => void) {
    this.socket = socket;
    createInterface({ input: socket }).on('line', (line) => {
      const message = JSON.parse(line) as { return?: unknown; error?: { desc: string }; event?: string };
      if (message.event !== undefined) onEvent(message.event);
      if (message.return === undefined && message.error === undefined) return;
      this.answer?.(message.error ? `error: ${message.error.desc}` : String(message.return));
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isGone = true;
      this.answer?.(GONE);
    });
  }

  /** @param ended  what the emulator wrote, once it has ended */
  static async open(path: string, ended: () => string | undefined, onEvent: (name: string) => void): Promise<Monitor> {
    for (let tries = 1; ; tries++) {
      const socket = await new Promise<Socket | undefined>((resolve) => {
        const trial = connect(path, () => resolve(trial));
        trial.once('error', () => resolve(undefined));
      });
      if (socket) {
        const monitor = new Monitor(socket, onEvent);
        await monitor.send({ execute: 'qmp_capabilities' });
        return monitor;
      }
      const errors = ended();
      if (errors !== undefined || tries === MONITOR_TRIES) throw new Error(`qemu-system-arm did not start: ${errors}`);
      await new Promise((resolve) => setTimeout(resolve, MONITOR_PAUSE_MS));
    }
  }

  ask(command: string): Promise<string> {
    const result = this.queue.then(() =>
      this.send({ execute: 'human-monitor-command', arguments: { 'command-line': command } }),
    );
    this.queue = result.catch(() => {});
    return result;
  }

  private send(message: object): Promise<string> {
    return new Promise((resolve) => {
      if (this.isGone) return resolve(GONE);
      this.answer = resolve;
      this.socket.write(JSON.stringify(message));
    });
  }

  close(): void {
    this.socket.destroy();
  }
}
