/**
 * What shows that a part of DLMS works: tests by file and the beginning of their names. `ours` are tests with our own
 * client or with published vectors, the others run a foreign program. The conformance page is made of this table, and a
 * test sees to it that each named test is there.
 */

export type Peer = 'ours' | 'Gurux (Python)' | 'Gurux (Java)' | 'dlms-cosem';
export const PEERS: readonly Peer[] = ['ours', 'Gurux (Python)', 'Gurux (Java)', 'dlms-cosem'];

/** File below `test/`, and how the test's name begins; of the interop matrix, the name of a feature. */
export type TestRef = readonly [file: string, name: string];
export type Evidence = Readonly<Partial<Record<Peer, TestRef>>>;

const SERVER = 'protocols/dlms/server.test.ts';
const SERVER_SERVICES = 'protocols/dlms/server-services.test.ts';
const MODEL = 'firmware/meter-model.test.ts';
const PROFILES = 'firmware/profiles.test.ts';
const ACTING = 'firmware/self-acting.test.ts';
const SECURITY = 'protocols/dlms/security.test.ts';
const SECURITY_SETUP = 'protocols/dlms/security-setup.test.ts';
const BLOCKS = 'protocols/dlms/blocks.test.ts';
const GBT = 'protocols/dlms/gbt.test.ts';
const PEER_SECURITY = 'interop/dlms-security.test.ts';
const PEER_TRANSPORT = 'interop/dlms-transport.test.ts';
const PEER = 'interop/dlms.test.ts';
const PEER_MODEL = 'interop/dlms-model.test.ts';
const MATRIX = 'interop/dlms-cells.ts';

const inMatrix = (feature: string): Evidence => ({ 'Gurux (Java)': [MATRIX, feature] });

const READ_BY_ALL: Evidence = {
  ours: [MODEL, 'every listed object answers every attribute'],
  'Gurux (Python)': [PEER_MODEL, 'reads every attribute that the association view says'],
};
const DISCONNECT: Evidence = {
  ...inMatrix('disconnect and reconnect'),
  ours: ['protocols/dlms/cosem/disconnect-control.test.ts', ''],
  'Gurux (Python)': [PEER, 'disconnects and reconnects the relay'],
  'dlms-cosem': [PEER, 'disconnects, reconnects and sets the message'],
};

/** Evidence of the classes, beyond that each attribute is read. */
export const CLASSES: Readonly<Record<number, { readonly name: string; readonly more?: Evidence }>> = {
  1: {
    name: 'Data',
    more: { ...inMatrix('no security'), 'dlms-cosem': [PEER, 'disconnects, reconnects and sets the message'] },
  },
  3: {
    name: 'Register',
    more: {
      ...inMatrix('all registers'),
      ours: [MODEL, 'every register takes its value'],
      'dlms-cosem': [PEER, 'parses the object list, which comes in blocks, and reads every register'],
    },
  },
  4: { name: 'Extended Register', more: { ours: [PROFILES, 'the month is billed'] } },
  5: { name: 'Demand Register', more: { ours: [PROFILES, 'the month is billed'] } },
  7: {
    name: 'Profile Generic',
    more: {
      ...inMatrix('profile by range'),
      ours: [PROFILES, 'a range takes both ends'],
      'Gurux (Python)': [PEER_MODEL, 'reads the load profile by range, with selected columns, and by entry'],
      'dlms-cosem': [PEER_MODEL, 'reads the load profile by range, in blocks'],
    },
  },
  8: {
    name: 'Clock',
    more: {
      ...inMatrix('SET of the clock'),
      ours: [PROFILES, 'setting the clock'],
      'Gurux (Python)': [PEER_MODEL, 'sets the clock'],
    },
  },
  9: {
    name: 'Script Table',
    more: { 'Gurux (Python)': [PEER_MODEL, 'disconnects and reconnects by script'] },
  },
  15: {
    name: 'Association LN',
    more: { ...inMatrix('association view'), 'dlms-cosem': [PEER, 'parses the object list'] },
  },
  17: { name: 'SAP Assignment' },
  18: {
    name: 'Image Transfer',
    more: {
      ...inMatrix('image transfer'),
      ours: [ACTING, 'an image goes on after a restart'],
      'Gurux (Python)': [PEER_MODEL, 'transfers an image'],
    },
  },
  22: { name: 'Single Action Schedule', more: { ours: [ACTING, 'a schedule disconnects at its local time'] } },
  40: {
    name: 'Push Setup',
    more: { ours: [ACTING, 'a new alarm is pushed once'], 'Gurux (Python)': [PEER_MODEL, 'receives a push over UDP'] },
  },
  41: { name: 'TCP-UDP Setup' },
  42: { name: 'IPv4 Setup' },
  64: {
    name: 'Security Setup',
    more: { ours: [SECURITY_SETUP, 'the security setup and the counter are read'] },
  },
  70: { name: 'Disconnect Control', more: DISCONNECT },
  71: { name: 'Limiter', more: { ours: [ACTING, 'the limiter opens the contact'] } },
};

/** Evidence of a class: what reads all of them, overruled by its own. */
export function classEvidence(classId: number): Evidence {
  // The objects of keys are offered to the management client only.
  return { ...(classId === 64 ? {} : READ_BY_ALL), ...CLASSES[classId]?.more };
}

/** Services, by the name of their bit in the conformance block. */
export const SERVICES: Readonly<Record<string, Evidence>> = {
  get: { ...READ_BY_ALL, ...inMatrix('all registers') },
  set: {
    ...inMatrix('SET of the clock'),
    ours: [PROFILES, 'setting the clock'],
    'Gurux (Python)': [PEER_MODEL, 'sets the clock'],
    'dlms-cosem': [PEER, 'disconnects, reconnects and sets the message'],
  },
  action: DISCONNECT,
  selectiveAccess: CLASSES[7]!.more!,
  blockTransferWithGet: {
    ...inMatrix('association view'),
    ours: [SERVER_SERVICES, 'the object list comes in blocks'],
    'Gurux (Python)': [PEER, 'reads the association view in blocks'],
    'dlms-cosem': [PEER, 'parses the object list, which comes in blocks'],
  },
  blockTransferWithSet: {
    ours: [BLOCKS, 'SET in blocks: the published frames'],
    'Gurux (Python)': [PEER_TRANSPORT, 'writes in blocks, reads in blocks'],
  },
  blockTransferWithAction: {
    ours: [BLOCKS, 'lists of values and methods go in one request'],
    'Gurux (Python)': [PEER_TRANSPORT, 'writes in blocks, reads in blocks'],
  },
  generalBlockTransfer: {
    ours: [GBT, 'APDUs of any size go through'],
    'Gurux (Python)': [PEER_TRANSPORT, 'sends SET and ACTION in general block transfer'],
  },
  multipleReferences: { ours: [SERVER_SERVICES, ''] },
  attribute0WithGet: { ours: [SERVER_SERVICES, ''] },
  priorityManagement: { ours: [SERVER_SERVICES, ''] },
  generalProtection: {
    ours: [SECURITY, 'an object list comes in blocks'],
    'Gurux (Python)': [PEER_SECURITY, 'HLS-GMAC with '],
    'dlms-cosem': [PEER_SECURITY, 'HLS-GMAC with general ciphering'],
  },
  dataNotification: CLASSES[40]!.more!,
};

/** Authentication mechanisms, by their name in acse.ts. */
export const MECHANISMS: Readonly<Record<string, Evidence>> = {
  none: {
    ...inMatrix('no security'),
    ours: [SERVER, ''],
    'Gurux (Python)': [PEER, 'without authentication sees public objects only'],
    'dlms-cosem': [PEER, 'without authentication sees public objects only'],
  },
  password: {
    ...inMatrix('LLS'),
    ours: [SERVER, ''],
    'Gurux (Python)': [PEER, 'a wrong password is rejected'],
    'dlms-cosem': [PEER, 'a wrong password is rejected'],
  },
  gmac: {
    ...inMatrix('HLS-GMAC'),
    ours: [SECURITY, 'the AARE is short'],
    'Gurux (Python)': [PEER_SECURITY, 'HLS-GMAC with '],
    'dlms-cosem': [PEER_SECURITY, 'HLS-GMAC with general ciphering'],
  },
  sha256: {
    ...inMatrix('HLS-SHA256'),
    ours: [SECURITY, 'mechanisms SHA-256 and ECDSA authenticate'],
    'Gurux (Python)': [MATRIX, 'HLS-SHA256'],
  },
  ecdsa: {
    ...inMatrix('HLS-ECDSA'),
    ours: [SECURITY, 'mechanisms SHA-256 and ECDSA authenticate'],
    'Gurux (Python)': [PEER_SECURITY, 'HLS-ECDSA with suite 1'],
  },
};

/** Transports of the meter. */
export const TRANSPORTS: Readonly<Record<string, Evidence>> = {
  'wrapper over SCION/UDP': { ours: ['e2e/commands.test.ts', 'read prints registers'] },
  'wrapper over TCP': {
    ...inMatrix('wrapper over TCP'),
    ours: ['hw/dlms-tcp.test.ts', ''],
    'Gurux (Python)': [PEER, 'reads the association view in blocks'],
    'dlms-cosem': [PEER, 'parses the object list'],
  },
  'wrapper over UDP': {
    ...inMatrix('wrapper over UDP'),
    ours: ['hw/dlms-hdlc.test.ts', 'plain UDP carries the same operations'],
    'Gurux (Python)': [PEER_TRANSPORT, 'writes in blocks, reads in blocks'],
  },
  'HDLC over TCP': {
    ...inMatrix('HDLC over TCP'),
    ours: ['hw/dlms-hdlc.test.ts', ''],
    'Gurux (Python)': [PEER_TRANSPORT, 'writes in blocks, reads in blocks'],
  },
};
