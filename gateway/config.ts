/** Configuration keys of the gateway. Links, addresses and keys come from the AS directory. */

import type { ConfigSpec } from '#hw/config';
import { PATH_SOURCE_CONFIG } from '#hw/path-source';

export const GATEWAY_CONFIG: ConfigSpec = {
  'as.directory': {
    type: 'string',
    help: 'directory of the AS as the official tools lay it out: topology.json, keys/, segments/',
    default: '/etc/scion',
  },
  'router.name': {
    type: 'string',
    help: 'border router of topology.json to run; needed when the AS has several',
  },
  'router.enabled': { type: 'boolean', help: 'run a border router', default: true },
  'router.bfd': {
    type: 'boolean',
    help: 'watch links and siblings with BFD where topology.json does not disable it; false takes every link for up',
    default: true,
  },
  'router.dispatched_ports': {
    type: 'string',
    help: 'ports that packets are delivered to directly: all, as current official routers do, or those of the topology',
    default: 'all',
    choices: ['all', 'topology'],
  },
  'router.second_internal': {
    type: 'string',
    help: 'ip:port of a second internal socket, for hosts of the other IP family than internal_addr',
  },
  'router.scmp_errors_per_second': {
    type: 'integer',
    help: 'SCMP errors that packets from one link may cause',
    default: 500,
    min: 0,
    max: 100_000,
  },
  'metrics.address': {
    type: 'string',
    help: 'ip:port for Prometheus (/metrics) and /status; none when left out',
  },
  'path_service.enabled': {
    type: 'boolean',
    help: 'serve path segments on the address of the control service in topology.json',
    default: true,
  },
  'scion.topology': {
    type: 'string',
    help: 'topology.json for the verbs paths, ping and traceroute; without it that of the AS directory',
  },
  ...PATH_SOURCE_CONFIG,
};
