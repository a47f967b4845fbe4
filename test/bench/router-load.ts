/**
 * Load for a border router, or whatever stands in its place: one process under test between hosts of AS 110 and the link to
 * AS 111, with a window of packets under way so that nothing is lost to full buffers. Used by the bench and by the soak.
 *
 *   flows (sockets) -> process under test -> sink on the far end of the link
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UdpSocket } from '#hw/udp';
import { parseHost } from '#scion/address';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket } from '#scion/packet';
import { CORE, LEAF, type TwoAses } from '../gateway/two-ases.ts';

const PAYLOAD = new Uint8Array(100).fill(0x55);
const WINDOW = 384;
const CLOCK_TICKS = 100;
const PROBE_MS = 100;
const PATIENCE_MS = 15_000;

export interface Target {
  readonly command: string;
  readonly args: readonly string[];
  /** Where the flows send. */
  readonly host: string;
  readonly port: number;
}

/** Folder of the bundles, from a script in dist/bench or dist/soak and from a test in dist/test/soak. */
function bundle(): string {
  return join(process.cwd(), 'dist', 'gateway.js');
}

/** `gateway.js` as the router of AS 110, run by the machine's own Node where npm tells it, as in the field. */
export function gatewayTarget(ases: TwoAses): Target {
  const args = [bundle(), '--as-directory', ases.directory(CORE), '--no-path-service-enabled', '--log-level', 'warn'];
  return { command: process.env.npm_node_execpath ?? process.execPath, args, ...ases.router(CORE) };
}

export class RouterLoad {
  readonly child: ChildProcess;
  private readonly sources: UdpSocket[] = [];
  private readonly packets: Uint8Array[] = [];
  private readonly target: Target;
  private sink: UdpSocket | undefined;
  private arrived = 0;
  private sent = 0;
  private limit = 0;
  private done: () => void = () => {};

  private constructor(target: Target, child: ChildProcess) {
    this.target = target;
    this.child = child;
  }

  /** Starts the process under test and waits until packets pass. @throws Error when none does for 15 s */
  static async start(ases: TwoAses, target: Target, flows: number): Promise<RouterLoad> {
    const child = spawn(target.command, target.args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const load = new RouterLoad(target, child);
    let said = '';
    child.stderr!.on('data', (chunk) => {
      said = `${said}${chunk}`.slice(-2000);
    });
    try {
      await load.open(ases, flows);
      const end = performance.now() + PATIENCE_MS;
      while (load.arrived === 0) {
        if (child.exitCode !== null || performance.now() > end) throw new Error(`no packet passes: ${said}`);
        load.sendOne();
        await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
      }
    } catch (error) {
      await load.stop();
      throw error;
    }
    return load;
  }

  private async open(ases: TwoAses, flows: number): Promise<void> {
    for (let flow = 0; flow < flows; flow++) {
      const source = await UdpSocket.open({ host: ases.addresses.meter(CORE.number, flow), port: 0, onDatagram() {} });
      const out = new Uint8Array(1500);
      const end = encodeUdpPacket(out, 0, {
        flowId: flow + 1,
        src: { ia: parseIsdAs(CORE.isdAs), host: parseHost(source.host), port: source.port },
        dst: { ia: parseIsdAs(LEAF.isdAs), host: parseHost('127.0.0.1'), port: 31000 + flow },
        path: ases.path(),
        payload: PAYLOAD,
      });
      this.sources.push(source);
      this.packets.push(out.slice(0, end));
    }
    this.sink = await UdpSocket.open({
      ...ases.link(LEAF),
      onDatagram: () => {
        this.arrived++;
        if (this.arrived >= this.limit) this.done();
        else if ((this.arrived & 31) === 0) this.push();
      },
    });
  }

  /** Sends `count` packets, the flows in turn, and waits until all have arrived; a lost one is replaced after a pause. */
  async run(count: number): Promise<void> {
    const finished = new Promise<void>((resolve) => {
      this.done = resolve;
    });
    this.arrived = 0;
    this.sent = 0;
    this.limit = count;
    let before = -1;
    const watch = setInterval(() => {
      // Nothing moved: what is missing was lost.
      if (this.arrived === before) this.sent = this.arrived;
      before = this.arrived;
      this.push();
    }, 200);
    this.push();
    await finished;
    clearInterval(watch);
  }

  private push(): void {
    while (this.sent < this.limit && this.sent - this.arrived < WINDOW) this.sendOne();
  }

  private sendOne(): void {
    const flow = this.sent++ % this.sources.length;
    this.sources[flow]!.send(this.packets[flow]!, this.target.host, this.target.port);
  }

  /** User and system time of the process under test, from the kernel's accounting. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
  }

  /** Resident memory of the process under test, MB. */
  residentMb(): number {
    const text = readFileSync(`/proc/${this.child.pid}/status`, 'latin1');
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(text)?.[1]) / 1024;
  }

  async stop(): Promise<void> {
    for (const source of this.sources) await source.close();
    await this.sink?.close();
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    await once(this.child, 'close');
  }
}
