/** `gateway status`: asks the running gateway of the AS directory and says which links work, and why one does not. */

import { S3mpError } from '#base/errors';
import { readAsTopology } from '#hw/as-directory';
import type { Verb } from '#hw/cli';
import { durationText, type LinkReport } from './link-report.ts';
import { askStatus, type GatewayStatus, statusSocket } from './status-server.ts';

export const statusVerb: Verb = {
  summary: 'which links of the running gateway work, and why one does not',
  async run({ config, json, out }) {
    const directory = config.string('as.directory');
    const topology = readAsTopology(directory);
    const wanted = config.optionalString('router.name');
    const names = topology.routers.map((r) => r.name).filter((name) => wanted === undefined || name === wanted);
    const found: GatewayStatus[] = [];
    for (const name of names) {
      const status = await askStatus(statusSocket(directory, name));
      if (status !== undefined) found.push(status);
    }
    if (found.length === 0) {
      const which = wanted === undefined ? topology.isdAs : `${wanted} in ${topology.isdAs}`;
      throw new S3mpError('gateway.not-running', `no gateway of ${which} runs on this host from ${directory}`);
    }
    for (const status of found) {
      if (json) out(JSON.stringify(status));
      else for (const line of statusLines(status)) out(line);
    }
    return 0;
  },
};

/** The status for people. */
export function statusLines({ as, router, internal, uptimeMs, links, packets }: GatewayStatus): string[] {
  const down = links.filter((l) => !l.up);
  const lines = [
    `${as} router ${router} on ${internal}, running for ${durationText(uptimeMs)}`,
    down.length === 0
      ? `all ${links.length} links up`
      : `${down.length} of ${links.length} links down: ${down.map(nameOf).join(', ')}`,
    ...links.map(linkLine),
    `packets: ${packets.forwarded} forwarded, ${packets.delivered} delivered, ${packets.toSiblings} to siblings, ` +
      `${packets.replied} answered, ${packets.dropped} dropped`,
  ];
  const reasons = Object.entries(packets.reasons).sort(([, a], [, b]) => b - a);
  if (reasons.length > 0)
    lines.push(`dropped or answered: ${reasons.map(([name, count]) => `${count} ${name}`).join(', ')}`);
  if (packets.strangers > 0) lines.push(`${packets.strangers} packets on links did not come from the neighbour`);
  if (packets.suppressedErrors > 0) lines.push(`${packets.suppressedErrors} SCMP errors not sent: too many at once`);
  if (packets.unreachableFamily > 0) {
    lines.push(
      `${packets.unreachableFamily} packets for hosts of the other IP family lost: set router.second_internal`,
    );
  }
  return lines;
}

const nameOf = ({ kind, id }: LinkReport): string => (kind === 'external' ? `#${id}` : String(id));

function linkLine(link: LinkReport): string {
  const { up, why, neighbour, role, local, remote, traffic } = link;
  const far = link.kind === 'external' ? `to ${role} ${neighbour}` : 'to router of this AS';
  const counts = traffic === null ? '' : `, ${traffic.inPackets} packets in, ${traffic.outPackets} out`;
  return `  ${nameOf(link).padEnd(6)} ${up ? 'up  ' : 'DOWN'} ${far} (${local} - ${remote})${counts}: ${why}`;
}
