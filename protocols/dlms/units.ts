/**
 * Physical units of COSEM registers (IEC 62056-6-2, table of `unit` enumerations): the number on the wire and the symbol
 * for people. Units that electricity and heat meters use; any other number reads as `unit N`.
 */

export const Unit = {
  second: 7,
  degreeCelsius: 9,
  watt: 27,
  voltAmpere: 28,
  voltAmpereReactive: 29,
  wattHour: 30,
  voltAmpereHour: 31,
  voltAmpereReactiveHour: 32,
  ampere: 33,
  volt: 35,
  hertz: 44,
  percent: 56,
  count: 255,
} as const;

const SYMBOLS = new Map<number, string>([
  [1, 'a'],
  [2, 'mo'],
  [3, 'wk'],
  [4, 'd'],
  [5, 'h'],
  [6, 'min'],
  [Unit.second, 's'],
  [8, '°'],
  [Unit.degreeCelsius, '°C'],
  [11, 'm'],
  [13, 'm³'],
  [19, 'l'],
  [20, 'kg'],
  [23, 'Pa'],
  [24, 'bar'],
  [25, 'J'],
  [Unit.watt, 'W'],
  [Unit.voltAmpere, 'VA'],
  [Unit.voltAmpereReactive, 'var'],
  [Unit.wattHour, 'Wh'],
  [Unit.voltAmpereHour, 'VAh'],
  [Unit.voltAmpereReactiveHour, 'varh'],
  [Unit.ampere, 'A'],
  [34, 'C'],
  [Unit.volt, 'V'],
  [38, 'Ω'],
  [Unit.hertz, 'Hz'],
  [Unit.percent, '%'],
  [70, 'dBm'],
  [Unit.count, ''],
]);

/** Symbol of a unit number; a plain number (255) has the empty symbol. */
export function unitSymbol(unit: number): string {
  return SYMBOLS.get(unit) ?? `unit ${unit}`;
}

/** `raw * 10^scaler` without the rounding of a multiplication by 0.1: 23012 and -2 give exactly 230.12. */
export function scale(raw: number, scaler: number): number {
  return scaler < 0 ? raw / 10 ** -scaler : raw * 10 ** scaler;
}
