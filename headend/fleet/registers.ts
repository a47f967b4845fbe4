/** The registers that the head end treats by name, and the order in which people expect to see them. */

export const OBIS = {
  powerNet: '1-0:16.7.0.255',
  powerImport: '1-0:1.7.0.255',
  powerExport: '1-0:2.7.0.255',
  energyImport: '1-0:1.8.0.255',
  energyExport: '1-0:2.8.0.255',
  voltage: '1-0:32.7.0.255',
  current: '1-0:31.7.0.255',
  frequency: '1-0:14.7.0.255',
} as const;

/** Registers that give the active power, best first. */
export const POWER_CODES: readonly string[] = [OBIS.powerNet, OBIS.powerImport];

/** The value that stands for the meter's active power, undefined when it has no such register. */
export function powerOf<T extends { readonly obis: string }>(values: readonly T[]): T | undefined {
  for (const code of POWER_CODES) {
    const found = values.find((value) => value.obis === code);
    if (found !== undefined) return found;
  }
  return undefined;
}
