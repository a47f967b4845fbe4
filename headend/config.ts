/** Configuration keys of the head end. */

import type { ConfigSpec } from '#hw/config';
import { PATH_SOURCE_CONFIG } from '#hw/path-source';
import { PATH_PREFERENCES } from '#scion/path-preference';

export const HEADEND_CONFIG: ConfigSpec = {
  'http.host': { type: 'string', help: 'address of the API and the page', default: '127.0.0.1' },
  'http.port': { type: 'integer', help: 'port of the API and the page', default: 8080, min: 0, max: 65_535 },
  'http.token_file': {
    type: 'string',
    help: 'file with the bearer token, mode 0600; made at the first start when it does not exist',
    default: '/var/lib/s3mp/token',
  },
  'http.allowed_hosts': { type: 'strings', help: 'further host names under which browsers may reach the page' },
  'http.lab_mode': {
    type: 'boolean',
    help: 'on a loopback address, allow every command without a token; for the lab only',
    default: false,
  },
  'store.file': { type: 'string', help: 'database file', default: '/var/lib/s3mp/headend.db' },
  'store.live_hours': { type: 'number', help: 'how long live values are kept', default: 24, min: 0.01 },
  'scion.topology': { type: 'string', help: "topology.json of the head end's AS", default: '/etc/scion/topology.json' },
  ...PATH_SOURCE_CONFIG,
  'scion.address': { type: 'string', help: 'own IP address inside the AS' },
  'path.sequence': {
    type: 'string',
    help: 'path policy as a sequence of hops, such as "1-ff00:0:112 0* 1-ff00:0:111"; any when left out',
  },
  'path.preference': {
    type: 'string',
    help: 'choice among allowed paths',
    choices: PATH_PREFERENCES,
    default: 'latency',
  },
  'path.acl': {
    type: 'strings',
    help: 'path policy (geofence) as an access control list, such as "+ 1,-": only paths inside ISD 1',
    default: ['+'],
  },
  'dlms.instance': {
    type: 'integer',
    help: 'number of this head end among those that have the same keys; no two may have the same',
    default: 0,
    min: 0,
    max: 255,
  },
  'dlms.starts_file': {
    type: 'string',
    help: 'remembers the starts, whose number is in the system title',
    default: '/var/lib/s3mp/headend-starts',
  },
  'dlms.command_key_file': {
    type: 'string',
    help: 'private key (PEM, mode 0600) that signs what switches the supply; without it such commands go unsigned',
  },
  'image.release_key_file': {
    type: 'string',
    help: 'public release key (PEM): firmware images that it has not signed are not sent to any meter',
  },
  'pki.directory': {
    type: 'string',
    help: "the utility's keys, certificates and revocation lists; made by the first meter add or pki verb",
    default: '/var/lib/s3mp/pki',
  },
  'fleet.directory': {
    type: 'string',
    help: 'the enrolled meters, one file each',
    default: '/var/lib/s3mp/meters',
  },
  'fleet.settle_s': {
    type: 'number',
    help: 'how long a contact, and the power behind it, may take to follow a command before it counts as failed',
    default: 4,
    min: 0.5,
    max: 300,
  },
  meters: {
    type: 'tables',
    help: 'meters with keys of their own in files: id, address ("[1-ff00:0:111,10.1.0.5]:4059"), key_file or password_file',
    default: [],
  },
};
