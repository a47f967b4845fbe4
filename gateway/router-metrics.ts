/**
 * The border router's counters as Prometheus metrics. Names and labels are those of the official router behind our
 * prefix, without its size classes, so that its dashboards need little change.
 */

import type { MetricFamily, Sample } from '#base/metrics';
import type { BorderRouter } from './border-router.ts';
import { type LinkReport, type TrafficReport, trafficReport } from './link-report.ts';

/** `interface` of packets from and to the inside of the AS. */
const INTERNAL_LABEL = 'internal';

export function routerMetrics(router: BorderRouter): MetricFamily[] {
  const links = router.links();
  const external = links.filter((l) => l.kind === 'external');
  const siblings = links.filter((l) => l.kind === 'sibling');
  const isd_as = router.topology.isdAs;
  const linkLabels = (l: LinkReport) => ({ interface: l.id, isd_as, neighbor_isd_as: l.neighbour });
  const siblingLabels = (l: LinkReport) => ({ sibling: l.id, isd_as });
  const traffics: [Sample['labels'], TrafficReport][] = [
    [{ interface: INTERNAL_LABEL, isd_as, neighbor_isd_as: isd_as }, trafficReport(router.internalCounters)],
    ...external.map((l): [Sample['labels'], TrafficReport] => [linkLabels(l), l.traffic!]),
  ];
  const traffic = (name: string, help: string, of: (t: TrafficReport) => number): MetricFamily => ({
    name: `s3mp_router_${name}`,
    type: 'counter',
    help,
    samples: traffics.map(([labels, t]) => ({ labels, value: of(t) })),
  });
  const status = router.status();
  const single = (name: string, help: string, value: number): MetricFamily => ({
    name: `s3mp_router_${name}`,
    type: 'counter',
    help,
    samples: [{ labels: { isd_as }, value }],
  });
  return [
    traffic('input_pkts_total', 'Packets received.', (t) => t.inPackets),
    traffic('input_bytes_total', 'Bytes received.', (t) => t.inBytes),
    traffic('output_pkts_total', 'Packets sent.', (t) => t.outPackets),
    traffic('output_bytes_total', 'Bytes sent.', (t) => t.outBytes),
    {
      name: 's3mp_router_dropped_pkts_total',
      type: 'counter',
      help: 'Packets dropped or answered with an error, by the interface they came by and the reason.',
      samples: traffics.flatMap(([labels, t]) =>
        Object.entries(t.refused).map(([reason, value]) => ({ labels: { ...labels, reason }, value })),
      ),
    },
    gauge('interface_up', 'Whether the link of an interface works.', external, linkLabels, (l) => Number(l.up)),
    ...bfdMetrics('bfd', external, linkLabels),
    gauge('sibling_reachable', 'Whether a router of the AS answers.', siblings, siblingLabels, (l) => Number(l.up)),
    ...bfdMetrics('bfd_sibling', siblings, siblingLabels),
    single('stranger_pkts_total', 'Packets on a link that did not come from its neighbour.', status.strangers),
    single('scmp_suppressed_total', 'SCMP errors that were not sent because of their rate.', status.suppressedErrors),
    single(
      'unreachable_family_pkts_total',
      'Packets for hosts of an IP family without socket.',
      status.unreachableFamily,
    ),
    {
      name: 's3mp_router_service_instance_count',
      type: 'gauge',
      help: 'Service instances in topology.json.',
      samples: serviceSamples(router),
    },
  ];
}

function gauge(
  name: string,
  help: string,
  links: readonly LinkReport[],
  labels: (link: LinkReport) => Sample['labels'],
  of: (link: LinkReport) => number,
  type: MetricFamily['type'] = 'gauge',
): MetricFamily {
  return { name: `s3mp_router_${name}`, type, help, samples: links.map((l) => ({ labels: labels(l), value: of(l) })) };
}

function bfdMetrics(
  prefix: string,
  links: readonly LinkReport[],
  labels: (link: LinkReport) => Sample['labels'],
): MetricFamily[] {
  const watched = links.filter((l) => l.bfd !== null);
  return [
    gauge(`${prefix}_state_changes_total`, 'State changes of BFD.', watched, labels, (l) => l.bfd!.changes, 'counter'),
    gauge(`${prefix}_sent_packets_total`, 'BFD packets sent.', watched, labels, (l) => l.bfd!.sent, 'counter'),
    gauge(
      `${prefix}_received_packets_total`,
      'BFD packets received.',
      watched,
      labels,
      (l) => l.bfd!.received,
      'counter',
    ),
  ];
}

function serviceSamples({ topology }: BorderRouter): Sample[] {
  const { isdAs, controlServices, discoveryServices } = topology;
  return [
    { labels: { service: 'CS', isd_as: isdAs }, value: controlServices.length },
    { labels: { service: 'DS', isd_as: isdAs }, value: discoveryServices.length },
  ];
}
