/**
 * `self-test --scan`: which energy meters answer at which setting of the bus, and the lines of the configuration to write
 * for them. What it prints on stdout is such a configuration; what was found stands there as comments.
 */

import { ConfigError } from '#base/errors';
import { stopRequested, type VerbContext } from '#hw/cli';
import type { Config } from '#hw/config';
import { settingsText } from '#hw/serial/line';
import { durationText, type Found, scanBus } from './bus-scan.ts';

/** @returns exit status: 3 when nothing answers, 5 when it was stopped */
export async function scanCommand({ config, flags, json, out }: VerbContext): Promise<number> {
  const [, first, last] = /^(\d+)-(\d+)$/.exec(String(flags.units ?? '1-10')) ?? [];
  if (!(Number(first) >= 1 && Number(first) <= Number(last) && Number(last) <= 247))
    throw new ConfigError('usage.invalid', `--units ${flags.units}: expected FIRST-LAST between 1 and 247`);
  const say = (text: string) => void process.stderr.write(`${text}\n`);
  let isStopped = false;
  void stopRequested().then(() => {
    isStopped = true;
  });
  const { found, left, leftMs } = await scanBus({
    config,
    units: Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i),
    all: flags.all === true,
    isStopped: () => isStopped,
    onProgress: say,
  });
  for (const each of found) {
    if (json) out(JSON.stringify({ ...each, map: each.map ?? null }));
    else out(foundLine(each, isStopped));
  }
  const settings = [...new Set(found.map(settingsText))];
  const tables = settings.map((setting) =>
    serialTable(
      config,
      found.filter((each) => settingsText(each) === setting),
    ),
  );
  if (json) out(JSON.stringify({ serial: tables, settingsLeft: left }));
  else for (const [i, table] of tables.entries()) for (const line of tableLines(table)) out(i > 0 ? `# ${line}` : line);
  if (isStopped) say(`stopped; ${left} settings were not asked`);
  else if (found.length === 0)
    say(
      'nothing answers: A and B swapped, no power, another unit (--units 1-247)? Some meters only answer for registers that they have: --serial-map sdm630',
    );
  else if (left > 0) say(`${left} settings were not asked: --all goes on, ${durationText(leftMs)}`);
  return isStopped ? 5 : found.length > 0 ? 0 : 3;
}

function foundLine({ unit, map, alike = [], identity, values, ...setting }: Found, isStopped: boolean): string {
  const none = isStopped ? 'which register map fits is not known yet' : 'no register map fits';
  const what = [map ?? none, ...alike].join(' or ');
  const which = identity === undefined ? '' : `, identity ${identity} (0x${identity.toString(16)})`;
  return `# ${settingsText(setting)}, unit ${unit}: ${what}${which}${values ? `; ${values}` : ''}`;
}

/** Keys of `[serial]` for the meters at one setting. */
function serialTable(config: Config, found: readonly Found[]) {
  const { baud, parity, stopBits, unit } = found[0]!;
  const driver = config.string('serial.driver');
  const [own, ...further] = found.filter(({ map }) => map !== undefined);
  return {
    url: config.string('serial.url'),
    ...(driver === 'auto' ? {} : { driver }),
    baud,
    parity,
    ...(stopBits > 1 ? { stop_bits: stopBits } : {}),
    unit: own?.unit ?? unit,
    ...(own ? { map: own.map } : {}),
    ...(further.length > 0 ? { further: further.map((each) => `${each.unit}:${each.map}`) } : {}),
  };
}

const tableLines = (table: object): string[] => [
  '[serial]',
  ...Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
];
