/** How far a clock is off, in words; for the fleet's messages and for the page. */

/** Name, ms, up to how many ms, decimals, decimals when brief. */
const UNITS = [
  ['s', 1_000, 120_000, 3, 1],
  ['min', 60_000, 7_200_000, 1, 0],
  ['h', 3_600_000, 172_800_000, 1, 0],
  ['days', 86_400_000, Number.POSITIVE_INFINITY, 1, 0],
] as const;

/** An offset in words: `2.1 h behind`. @param style  `brief`: `2 h behind` */
export function offsetText(offsetMs: number, style: 'exact' | 'brief' = 'exact'): string {
  const amount = Math.abs(offsetMs);
  const [name, size, , exact, brief] = UNITS.find(([, , limit]) => amount < limit) ?? UNITS[3];
  const number = (amount / size).toFixed(style === 'brief' ? brief : exact);
  return `${number} ${name} ${offsetMs < 0 ? 'behind' : 'ahead'}`;
}
