/**
 * Prometheus' text format 0.0.4 for metrics that are asked for when they are read. Whoever counts keeps plain numbers;
 * this only prints them.
 */

export interface Sample {
  /** Names and values of the labels, in the order in which they are printed. */
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

export interface MetricFamily {
  /** `s3mp_router_input_pkts_total` */
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  /** One sentence for people. */
  readonly help: string;
  readonly samples: readonly Sample[];
}

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

const escapeValue = (text: string): string =>
  text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

function labelText(labels: Sample['labels']): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(String(value))}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** The families as text, one line a sample. A family without samples is left out. */
export function metricsText(families: readonly MetricFamily[]): string {
  let text = '';
  for (const { name, type, help, samples } of families) {
    if (samples.length === 0) continue;
    text += `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`;
    for (const { labels, value } of samples) text += `${name}${labelText(labels)} ${value}\n`;
  }
  return text;
}
