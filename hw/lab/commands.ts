/** Commands that a running lab carries out, for people (`npm run lab -- …`) and tests. */

import { resolve } from 'node:path';
import { ConfigError } from '#base/errors';
import type { Lab } from '#hw/lab/lab';
import { type LineProfile, type LinkStatus, PROFILES } from '#hw/lab/link-emulator';

/**
 * Carries out one command.
 * @throws ConfigError `usage.invalid` for an unknown command, link, process or change
 */
export async function labCommand(lab: Lab, command: string, args: readonly string[]): Promise<unknown> {
  const name = args[0] ?? '';
  switch (command) {
    case 'status':
      return statusText(lab);
    case 'links':
      return lab.links.status();
    case 'cut':
      lab.links.cut(name);
      return `${name} is cut`;
    case 'heal':
      lab.links.heal(name);
      return `${name} carries again`;
    case 'set':
      lab.links.change(name, parseChanges(args.slice(1)));
      return linkLine(lab.links.status().find((l) => l.name === name)!);
    case 'stall': {
      const ms = numberOf('MS', args[1] ?? '', 60_000);
      lab.links.stall(name, ms);
      return `${name} holds everything back for ${ms} ms`;
    }
    case 'profile': {
      const profile = PROFILES[args[1] ?? ''];
      if (!profile) throw usage(`no profile ${args[1]}; profiles: ${Object.keys(PROFILES).join(', ')}`);
      lab.links.change(name, profile);
      return linkLine(lab.links.status().find((l) => l.name === name)!);
    }
    case 'pcap':
      lab.links.capture(name, args[1] === 'off' ? undefined : resolve(args[1] ?? `${name}.pcap`));
      return args[1] === 'off' ? `${name}: capture ended` : `${name}: capturing into ${resolve(args[1] ?? '')}`;
    case 'kill':
      await lab.process(name).stop('SIGKILL');
      return `${name} is killed`;
    case 'restart':
      await lab.process(name).stop();
      await lab.process(name).start();
      return `${name} runs again`;
    default:
      throw usage(`unknown command ${command}`);
  }
}

const FIELDS: Readonly<Record<string, { field: keyof LineProfile; max: number }>> = {
  delay: { field: 'delayMs', max: 60_000 },
  jitter: { field: 'jitterMs', max: 60_000 },
  loss: { field: 'loss', max: 1 },
  rate: { field: 'rate', max: 1e12 },
  burst: { field: 'burst', max: 1 },
  'burst-length': { field: 'burstLength', max: 1e6 },
  'burst-loss': { field: 'burstLoss', max: 1 },
};

/** `delay=80 loss=0.05` as a change of a line. */
function parseChanges(words: readonly string[]): Partial<LineProfile> {
  const changes: Partial<Record<keyof LineProfile, number>> = {};
  for (const word of words) {
    const [key = '', text = ''] = word.split('=');
    const known = FIELDS[key];
    if (!known) throw usage(`unknown change ${word}; known: ${Object.keys(FIELDS).join(', ')}`);
    changes[known.field] = numberOf(word, text, known.max);
  }
  return changes;
}

function numberOf(what: string, text: string, max: number): number {
  const value = Number(text);
  if (text === '' || !(value >= 0 && value <= max)) throw usage(`${what}: expected a number from 0 to ${max}`);
  return value;
}

function statusText(lab: Lab): string {
  const lines = lab.links.status().map(linkLine);
  for (const [name, process] of lab.processes) {
    lines.push(`${name.padEnd(12)} ${process.running ? `running, pid ${process.pid}` : 'not running'}`);
  }
  return lines.join('\n');
}

function linkLine({ name, cut, stalledMs, profile, ab, ba }: LinkStatus): string {
  const { delayMs, jitterMs, loss, rate, burst, burstLength } = profile;
  const bursts = burst > 0 ? `, bursts ${burst} of ${burstLength} packets` : '';
  const stall = stalledMs > 0 ? `, stalled for ${stalledMs} ms more` : '';
  const line = `delay ${delayMs} ms, jitter ${jitterMs} ms, loss ${loss}${bursts}, rate ${rate || 'unlimited'}${stall}`;
  const lost = ab.lost + ba.lost + ab.swallowedByCut + ba.swallowedByCut + ab.overflowed + ba.overflowed;
  return `${name.padEnd(12)} ${cut ? 'CUT' : 'up '}  ${line}; carried ${ab.forwarded} and ${ba.forwarded}, lost ${lost} packets`;
}

function usage(message: string): ConfigError {
  return new ConfigError('usage.invalid', message);
}
