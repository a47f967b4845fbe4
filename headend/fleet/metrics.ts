/**
 * Counters, gauges and histograms in Prometheus' text format 0.0.4. Histograms live in typed arrays: an observation
 * allocates nothing. A label value never comes from outside the head end, so the number of series is bounded.
 */

/** Upper bounds in seconds: 5 ms … 10 s. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

class Histogram {
  readonly counts = new Float64Array(BUCKETS.length + 1);
  sum = 0;

  observe(seconds: number): void {
    let i = 0;
    while (i < BUCKETS.length && seconds > BUCKETS[i]!) i++;
    this.counts[i]!++;
    this.sum += seconds;
  }
}

interface Family {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly numbers: Map<string, number>;
  readonly histogram: Histogram | null;
}

/** A gauge that is asked when the metrics are read: label text (`{state="online"}` or empty) and value. */
export type GaugeSource = () => Iterable<readonly [labels: string, value: number]>;

export class Metrics {
  private readonly families = new Map<string, Family>();
  private readonly gauges = new Map<string, { help: string; source: GaugeSource }>();

  counter(name: string, help: string): (labels?: string) => void {
    const { numbers } = this.family(name, help, 'counter');
    return (labels = '') => void numbers.set(labels, (numbers.get(labels) ?? 0) + 1);
  }

  histogram(name: string, help: string): (seconds: number) => void {
    const { histogram } = this.family(name, help, 'histogram');
    return (seconds) => histogram!.observe(seconds);
  }

  gauge(name: string, help: string, source: GaugeSource): void {
    this.gauges.set(name, { help, source });
  }

  /** Everything as Prometheus text. */
  text(): string {
    const lines: string[] = [];
    for (const [name, family] of this.families) {
      lines.push(`# HELP ${name} ${family.help}`, `# TYPE ${name} ${family.type}`);
      for (const [labels, value] of family.numbers) lines.push(`${name}${labels} ${value}`);
      if (family.histogram) lines.push(...histogramLines(name, family.histogram));
    }
    for (const [name, { help, source }] of this.gauges) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`);
      for (const [labels, value] of source()) lines.push(`${name}${labels} ${value}`);
    }
    return `${lines.join('\n')}\n`;
  }

  private family(name: string, help: string, type: Family['type']): Family {
    const known = this.families.get(name);
    if (known !== undefined) return known;
    const histogram = type === 'histogram' ? new Histogram() : null;
    const family: Family = { type, help, numbers: new Map(), histogram };
    this.families.set(name, family);
    return family;
  }
}

function histogramLines(name: string, histogram: Histogram): string[] {
  const lines: string[] = [];
  let total = 0;
  for (let i = 0; i <= BUCKETS.length; i++) {
    total += histogram.counts[i]!;
    lines.push(`${name}_bucket{le="${BUCKETS[i] ?? '+Inf'}"} ${total}`);
  }
  lines.push(`${name}_sum ${histogram.sum}`, `${name}_count ${total}`);
  return lines;
}

/** Label text with the value escaped as the format asks. */
export function label(name: string, value: string): string {
  return `{${name}="${value.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"}`;
}
