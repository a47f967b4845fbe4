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

export function delayText(ms: number | null): string {
  if (ms === null) return DASH;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
