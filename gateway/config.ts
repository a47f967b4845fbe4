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
