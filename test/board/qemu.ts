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
/** The power driver reads registers that the emulator does not have, and would end the kernel. */
const KERNEL_WORDS = 'panic=-1 initcall_blacklist=bcm2835_pm_driver_init';

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
  readonly onLine: (line: string) => void;
}

export class Board {
  private readonly qemu: ChildProcess;
  private readonly monitor: Monitor;

  private constructor(qemu: ChildProcess, monitor: Monitor) {
    this.qemu = qemu;
    this.monitor = monitor;
  }

  static async start(options: BoardOptions): Promise<Board> {
    const { folder, initramfs, card } = options;
    const socket = join(folder, 'monitor');
    const tree = join(folder, 'board.dtb');
    cpSync(join(ARMEL, 'boot', 'bcm2835-rpi-zero.dtb'), tree);
    // A Zero's only USB port is a host when something is plugged in, and its console is on the second UART here.
    patchTree(tree, '/soc/usb@7e980000', 'dr_mode', 'host');
    patchTree(tree, '/soc/serial@7e215040', 'status', 'okay');
    const args = [
      ['-M', 'raspi0', '-display', 'none', '-no-reboot'],
      ['-kernel', join(ARMEL, 'boot', 'kernel.img'), '-dtb', tree],
      ['-append', `${options.words} console=ttyS1,115200 ${KERNEL_WORDS}`],
      initramfs === undefined ? [] : ['-initrd', initramfs],
      card === undefined ? [] : ['-drive', `if=sd,format=raw,file=${card}`],
      ['-chardev', `serial,id=uart,path=${options.uart}`, '-serial', 'chardev:uart', '-serial', 'stdio'],
      ['-netdev', `tap,id=lan,ifname=${options.tap},script=no,downscript=no`, '-device', 'usb-net,netdev=lan'],
      ['-qmp', `unix:${socket},server=on,wait=off`, '-monitor', 'none'],
    ].flat();
    const qemu = spawn('qemu-system-arm', args, { stdio: ['pipe', 'pipe', 'pipe'] });
    let errors = '';
    qemu.stderr.on('data', (chunk) => (errors += chunk));
    createInterface({ input: qemu.stdout }).on('line', options.onLine);
    return new Board(qemu, await Monitor.open(socket, () => (qemu.exitCode === null ? undefined : errors)));
  }

  /** Level of a pin as the GPIO block has it. */
  async pin(number: number): Promise<boolean> {
    const answer = await this.monitor.ask(`xp /1wx 0x${GPIO_LEVELS.toString(16)}`);
    const levels = /: 0x([0-9a-f]{8})/.exec(answer)?.[1];
    if (levels === undefined) throw new Error(`the monitor answers ${answer}`);
    return ((Number.parseInt(levels, 16) >>> number) & 1) === 1;
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

function patchTree(file: string, node: string, name: string, value: string): void {
  const { status, stderr } = spawnSync('fdtput', ['-t', 's', file, node, name, value], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`fdtput ${node} ${name}: ${stderr}`);
}

const MONITOR_TRIES = 200;
const MONITOR_PAUSE_MS = 50;

/** QEMU's machine protocol, of which only the human commands are used, one at a time. */
class Monitor {
  private readonly socket: Socket;
  private answer: ((text: string) => void) | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(socket: Socket) {
    this.socket = socket;
    createInterface({ input: socket }).on('line', (line) => {
      const message = JSON.parse(line) as { return?: unknown; error?: { desc: string } };
      if (message.return === undefined && message.error === undefined) return;
      this.answer?.(message.error ? `error: ${message.error.desc}` : String(message.return));
    });
    socket.on('error', () => this.answer?.('error: the emulator is gone'));
  }

  /** @param ended  what the emulator wrote, once it has ended */
  static async open(path: string, ended: () => string | undefined): Promise<Monitor> {
    for (let tries = 1; ; tries++) {
      const socket = await new Promise<Socket | undefined>((resolve) => {
        const trial = connect(path, () => resolve(trial));
        trial.once('error', () => resolve(undefined));
      });
      if (socket) {
        const monitor = new Monitor(socket);
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
      this.answer = resolve;
      this.socket.write(JSON.stringify(message));
    });
  }

  close(): void {
    this.socket.destroy();
  }
}
