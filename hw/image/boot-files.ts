/**
 * The text files of the boot partition: config.txt (hardware), cmdline.txt (kernel), and what starts the installation at
 * the first boot. Everything that is ours in a file of somebody else stands between two marker lines, so that it can be
 * replaced and taken out.
 */

import { unusable } from './disk-file.ts';

const BEGIN = '# BEGIN s3mp';
const END = '# END s3mp';

/** config.txt of the meter: UART with parity on the header (not the mini UART, which has none), I²C, watchdog, relay. */
export const METER_CONFIG: readonly string[] = [
  '[all]',
  '# PL011 on the header; Bluetooth goes without. The mini UART has no parity bit.',
  'enable_uart=1',
  'dtoverlay=disable-bt',
  '# display',
  'dtparam=i2c_arm=on,i2c_arm_baudrate=400000',
  'dtparam=watchdog=on',
  '# relay: de-energised from the boot loader on',
  'gpio=17=op,dl',
  'gpu_mem=16',
  'dtparam=audio=off',
  'camera_auto_detect=0',
];

export const GATEWAY_CONFIG_TXT: readonly string[] = [
  '[all]',
  'dtparam=watchdog=on',
  'gpu_mem=16',
  'dtparam=audio=off',
  'camera_auto_detect=0',
];

/** Puts lines between the markers, at the end when there are none yet. Line ends of the file are kept. */
export function withSection(text: string, lines: readonly string[]): string {
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const section = [BEGIN, ...lines, END].join(eol) + eol;
  const from = text.indexOf(BEGIN);
  if (from >= 0) {
    const end = text.indexOf(END, from);
    if (end < 0) throw unusable(`a line "${BEGIN}" has no "${END}": take the half section out of the file`);
    const rest = text.slice(end + END.length).replace(/^\r?\n/, '');
    return text.slice(0, from) + section + rest;
  }
  const gap = text === '' || text.endsWith('\n') ? '' : eol;
  return text + gap + section;
}

/** Takes the section out again. */
export function withoutSection(text: string): string {
  const from = text.indexOf(BEGIN);
  const end = text.indexOf(END, from);
  if (from < 0 || end < 0) return text;
  return text.slice(0, from).replace(/[ \t]+$/, '') + text.slice(end + END.length).replace(/^\r?\n/, '');
}

const words = (cmdline: string) => cmdline.trim().split(/\s+/).filter(Boolean);

/** The kernel's console leaves the UART, which belongs to the energy meter. */
const SERIAL_CONSOLE = /^console=(serial0|ttyAMA0|ttyS0)(,|$)/;
/** What s3mp-setup adds for a read-only root, and adds again after an installation. */
const OVERLAY = 'init=/opt/s3mp/bin/overlay-init';
const INSTALL = /(^|\s)systemd\.run=\S*\/s3mp\/install\.sh(\s|$)/;
const HOOK = /^systemd\.(run|run_success_action|unit)=/;

/**
 * cmdline.txt for a device: one line, without a console on the UART.
 * @param hook  script that the first boot runs once; undefined takes an earlier one of ours out
 * @throws ConfigError `card.unusable` when the file is not one line
 */
export function patchCmdline(text: string, options: { freeUart: boolean; hook: string | undefined }): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  if (lines.length !== 1)
    throw unusable(`cmdline.txt has ${lines.length} lines, the kernel reads one: restore it from the image`);
  let kept = words(text).filter((word) => !(options.freeUart && SERIAL_CONSOLE.test(word)));
  if (INSTALL.test(text)) kept = kept.filter((word) => !HOOK.test(word));
  if (options.hook !== undefined) {
    // Under the overlay the installation would go to RAM and be gone with the next start.
    kept = kept.filter((word) => word !== OVERLAY);
    kept.push(
      `systemd.run=${options.hook}`,
      'systemd.run_success_action=reboot',
      'systemd.unit=kernel-command-line.target',
    );
  }
  return `${kept.join(' ')}\n`;
}

/** Who runs the installation at the next start. */
export type FirstBoot = 'firstrun' | 'cmdline';

/**
 * Which road there is. `firstrun`: the imager has left a script of its own, which systemd runs once. `cmdline`: systemd runs
 * ours, once. cloud-init (trixie's `user-data`) is no road: it runs commands once in the life of an instance, which a card
 * that has been started before has behind it, and a new instance would change host keys and users as well.
 */
export function firstBootOf(has: (name: string) => boolean, cmdline: string): FirstBoot {
  return has('firstrun.sh') && /systemd\.run=\S*\/firstrun\.sh/.test(cmdline) ? 'firstrun' : 'cmdline';
}

/** Puts the installation in front of the imager's own script. */
export function patchFirstRun(text: string, command: string): string {
  const clean = withoutSection(text);
  const at = clean.startsWith('#!') ? clean.indexOf('\n') + 1 : 0;
  return `${clean.slice(0, at)}${BEGIN}\nsh ${command} || true\n${END}\n${clean.slice(at)}`;
}

/**
 * Code name of the Debian release below, from issue.txt, which has the date of the image.
 * @returns undefined when it cannot be told
 */
export function releaseOf(issue: string | undefined, hasUserData: boolean): string | undefined {
  const date = /\b(20\d\d-\d\d-\d\d)\b/.exec(issue ?? '')?.[1];
  if (date === undefined) return hasUserData ? 'trixie' : undefined;
  if (date >= '2025-10-01') return 'trixie';
  return date >= '2023-10-10' ? 'bookworm' : 'bullseye';
}
