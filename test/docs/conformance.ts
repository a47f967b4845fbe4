/** Makes docs/conformance.md from the meter's own tables: its object list, its associations, and the table of evidence. */

import { asciiBytes } from '#base/bytes';
import { Mechanism } from '#dlms/acse';
import { type AssociationSpec, managementAssociation, passwordAssociation, publicAssociation } from '#dlms/association';
import { type Data, decodeData } from '#dlms/axdr';
import { Conformance } from '#dlms/initiate';
import { formatObis } from '#dlms/obis';
import { writePieces } from '#dlms/pieces';
import { ByteReader } from '#dlms/reader';
import { obisName } from '#dlms/well-known';
import { ByteWriter } from '#dlms/writer';
import { testMeter, testSecurity } from '../interop/dlms-meter.ts';
import { CLASSES, classEvidence, type Evidence, MECHANISMS, PEERS, SERVICES, TRANSPORTS } from './evidence.ts';

interface Listed {
  readonly classId: number;
  readonly version: number;
  readonly obis: string;
  /** Numbers of attributes and methods with a right. */
  readonly readable: readonly number[];
  readonly writable: readonly number[];
  readonly methods: readonly number[];
}

const members = (data: Data | undefined): readonly Data[] =>
  data?.type === 'array' || data?.type === 'structure' ? data.value : [];
const numberIn = (data: Data | undefined): number => (data && 'value' in data ? Number(data.value) : Number.NaN);

/** The object list as a client with this role gets it. */
function objectList(role: string): Listed[] {
  const meter = testMeter({
    imageSlot: {
      capacity: 1 << 20,
      load: () => undefined,
      begin: () => true,
      write: () => true,
      save: () => {},
      read: (_offset, length) => new Uint8Array(length),
      digest: () => new Uint8Array(32),
    },
    sendPush: () => true,
    security: testSecurity(),
    associations: [publicAssociation(), passwordAssociation(asciiBytes('x'))],
    network: { ipv4: 0x7f000001, port: 4059, maxPdu: 1024 },
  });
  const w = new ByteWriter(new Uint8Array(65_536));
  writePieces(meter.model.device.objectList(role), w);
  return members(decodeData(new ByteReader(w.written()))).map((element) => {
    const [classId, version, ln, rights] = members(element);
    const [attributes, methods] = members(rights).map(members);
    const withMode = (list: readonly Data[] | undefined, fits: (mode: number) => boolean) =>
      (list ?? []).filter((each) => fits(numberIn(members(each)[1]))).map((each) => numberIn(members(each)[0]));
    return {
      classId: numberIn(classId),
      version: numberIn(version),
      obis: ln?.type === 'octet-string' ? formatObis(ln.value) : '',
      readable: withMode(attributes, (mode) => [1, 3, 4, 6].includes(mode)),
      writable: withMode(attributes, (mode) => [2, 3, 5, 6].includes(mode)),
      methods: withMode(methods, (mode) => mode > 0),
    };
  });
}

const evidenceCells = (evidence: Evidence = {}) => PEERS.map((peer) => (evidence[peer] ? 'yes' : ''));
const row = (...cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
const table = (head: readonly string[], rows: readonly string[]) =>
  [row(...head), `|${head.map(() => '---').join('|')}|`, ...rows].join('\n');
const union = (lists: readonly (readonly number[])[]) => [...new Set(lists.flat())].sort((a, b) => a - b).join(' ');
const words = (name: string) => name.replace(/[A-Z]|\d/g, (part) => ` ${part.toLowerCase()}`);

/** The whole page. @param generated  mark of generated pages */
export function conformancePage(generated: string): string {
  const objects = objectList('management');
  const specs: readonly AssociationSpec[] = [
    publicAssociation(),
    passwordAssociation(asciiBytes('x')),
    managementAssociation(testSecurity()),
  ];
  const classes = [...new Set(objects.map(({ classId }) => classId))].sort((a, b) => a - b);
  const classRows = classes.map((id) => {
    const of = objects.filter(({ classId }) => classId === id);
    const name = `${id} ${CLASSES[id]?.name ?? ''} v${of[0]!.version}`;
    const rights = [of.map((o) => o.readable), of.map((o) => o.writable), of.map((o) => o.methods)].map(union);
    return row(name, of.length, ...rights, ...evidenceCells(classEvidence(id)));
  });
  const serviceRows = Object.entries(Conformance).map(([name, bit]) => {
    const offered = specs.filter(({ conformance }) => (conformance & bit) !== 0).map(({ clientSap }) => clientSap);
    return row(words(name), offered.join(' ') || '–', ...evidenceCells(SERVICES[name]));
  });
  const mechanismRows = Object.entries(Mechanism).map(([name, id]) => {
    const isSuite1 = name === 'ecdsa';
    const offered = specs.filter(({ mechanism }) => mechanism === id).map(({ clientSap }) => clientSap);
    const clients = isSuite1 ? `${specs.at(-1)!.clientSap} with suite 1` : offered.join(' ');
    return row(`${id} ${name}`, clients || '–', ...evidenceCells(MECHANISMS[name]));
  });
  const transportRows = Object.entries(TRANSPORTS).map(([name, evidence]) => row(name, ...evidenceCells(evidence)));
  const objectRows = objects.map(({ classId, obis, readable, writable, methods }) =>
    row(obis, obisName(obis), classId, readable.join(' '), writable.join(' '), methods.join(' ')),
  );
  return `# DLMS/COSEM conformance of the meter

${generated}

Made from the meter's object list and associations. *Tested* names who reads or commands it in an automatic test: our own
client or published vectors, or a foreign program; [test/docs/evidence.ts](../test/docs/evidence.ts) names each test.
Clients: 16 public, 17 password (laboratories), 1 management (keys).

## Interface classes

Attributes and methods that the management client may use.

${table(['Class', 'Objects', 'Read', 'Written', 'Methods', ...PEERS.map((peer) => `Tested: ${peer}`)], classRows)}

## Services

Bits of the conformance block, and the clients that the meter grants them to.

${table(['Service', 'Clients', ...PEERS.map((peer) => `Tested: ${peer}`)], serviceRows)}

## Authentication

Mechanisms of the meter as server. Our client also speaks MD5 and SHA-1, to servers that have nothing better and only
when it is told to by name; [both are tried](interop/dlms.md) with a server of Gurux.

${table(['Mechanism', 'Clients', ...PEERS.map((peer) => `Tested: ${peer}`)], mechanismRows)}

## Transports

${table(['Transport', ...PEERS.map((peer) => `Tested: ${peer}`)], transportRows)}

## Objects

As the management client sees them.

${table(['Logical name', 'Object', 'Class', 'Read', 'Written', 'Methods'], objectRows)}

## Deliberately not offered

| What | Answer |
|---|---|
| Verification or activation of a firmware image that the release key has not signed, for another model or not newer (class 18 methods 3, 4) | other-reason, and an event |
| Activity calendar, special days, register activation (classes 20, 11, 6) | object-undefined: no tariffs yet |
| Writing capture objects, period or entries of a profile | read-write-denied: profiles are part of the firmware |
| Preset adjusting of the clock (class 8 methods 4, 5) | read-write-denied |
| High-level authentication with a secret of the manufacturer (mechanism 2), as server and as client | authentication-failure: the standard leaves the processing to each manufacturer, and every peer here that has it has GMAC too |
| Communication port protection (class 124) | object-undefined: optional for a residential meter. What it describes is in force: failed passwords and secrets are counted by remote host, never for a port as a whole, after three each next one costs twice the wait (1 s up to 5 min), and a right one ends it |
| MD5 and SHA-1 (mechanisms 3, 4) as server | authentication-failure: broken |
| Short names (SN) | exception, service unknown |
`;
}
