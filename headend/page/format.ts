/** How numbers, ages and times look on the page. */

const DASH = '–';

/** Decimals that a value of a unit always shows, so that a column of readings stands still. */
const DECIMALS: Readonly<Record<string, number>> = { V: 2, A: 3, Hz: 2 };

/** A value as it was read: no grouping, the decimals of its unit and at most three, a dash for no data. */
export function valueText(value: number | null, unit = ''): string {
  if (value === null) return DASH;
  const plain = String(Math.round(value * 1000) / 1000);
  const shown = (plain.split('.')[1] ?? '').length;
  return (shown < (DECIMALS[unit] ?? 0) ? value.toFixed(DECIMALS[unit]) : plain).replace('-', '−');
}

export function ageText(ms: number): string {
  if (ms < 1000) return 'just now';
  const seconds = Math.floor(ms / 1000);
  if (seconds < 120) return `${seconds} s ago`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ago` : `${Math.floor(hours / 24)} days ago`;
}

/** Time of day in the browser's zone; the day too when it is not today. */
export function clockText(iso: string): string {
  const at = new Date(iso);
  const time = at.toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  return at.toDateString() === new Date().toDateString() ? time : `${at.toLocaleDateString()} ${time}`;
}

/** How far a clock is off: `2.1 h behind`. */
export function offsetText(ms: number): string {
  const amount = Math.abs(ms);
  const side = ms < 0 ? 'behind' : 'ahead';
  if (amount < 120_000) return `${(amount / 1000).toFixed(1)} s ${side}`;
  if (amount < 7_200_000) return `${Math.round(amount / 60_000)} min ${side}`;
  return amount < 172_800_000
    ? `${Math.round(amount / 3_600_000)} h ${side}`
    : `${Math.round(amount / 86_400_000)} days ${side}`;
}

export function delayText(ms: number | null): string {
  if (ms === null) return DASH;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
