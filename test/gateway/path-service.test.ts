/** AS directories of the lab, the path service over real HTTP, and its client: what a host of each AS gets to see. */

import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { type AsFiles, writeAsFiles } from '#hw/lab/as-files';
import { createLog } from '#hw/log';
import { fetchSegments, pathClient } from '#hw/path-client';
import { combinePaths } from '#scion/combinator';
import { deriveHopKey, HopMac } from '#scion/hop-mac';
import { parseIsdAs } from '#scion/isd-as';
import { announcedLatencyMs, type ScionPath } from '#scion/path-metadata';
import { parsePolicy, whyForbidden } from '#scion/policy';
import { decodeSegment } from '#scion/segment';
import { encodeSegmentsRequest, SEGMENTS_METHOD } from '#scion/segment-requests';
import { parseTopology, type Topology } from '#scion/topology';
import { type PathService, startPathService } from '../../gateway/path-service.ts';
import { FIVE_ASES } from './topologies.ts';

const log = createLog('test', { level: 'error', write: () => {} });
const folder = mkdtempSync(join(tmpdir(), 's3mp-paths-'));
const NOW = 1_700_000_000_000;

let files: AsFiles;
const services = new Map<string, PathService>();
const topologies = new Map<string, Topology>();
let clock = NOW + 1000;

const PathFiles = suite('path service');

PathFiles.before(async () => {
  files = writeAsFiles(FIVE_ASES, folder, { now: NOW });
  for (const [ia, directory] of files.folders) {
    const topology = parseTopology(JSON.parse(readFileSync(join(directory, 'topology.json'), 'utf8')));
    topologies.set(ia, topology);
    services.set(ia, await startPathService({ address: '127.0.0.1:0', directory, topology, log, now: () => clock }));
  }
});

PathFiles.after(async () => {
  await Promise.all([...services.values()].map((service) => service.close()));
  rmSync(folder, { recursive: true, force: true });
});

async function pathsBetween(src: string, dst: string): Promise<ScionPath[]> {
  const topology = topologies.get(src)!;
  const source = pathClient({ ia: topology.ia, isCore: topology.core, services: [services.get(src)!.address], log });
  return combinePaths(topology.ia, parseIsdAs(dst), await source.segments(parseIsdAs(dst)));
}

PathFiles('the directories hold topology, private keys, and segments by use', () => {
  const directory = files.folders.get('1-ff00:0:111')!;
  assert.match(directory, /ASff00_0_111$/);
  for (const name of ['master0.key', 'master1.key']) {
    const file = join(directory, 'keys', name);
    assert.is(statSync(file).mode & 0o777, 0o600);
    assert.is(Buffer.from(readFileSync(file, 'utf8'), 'base64').length, 16);
  }
  const names = readdirSync(join(directory, 'segments'));
  const count = (type: string) => names.filter((n) => n.startsWith(`${type}-`)).length;
  // 111 has one parent link to 110 and one to 120; 112 as well: 4 segments down. Core: three ASes in a triangle.
  assert.equal([count('up'), count('down'), count('core')], [2, 4, 12]);
  assert.is(files.segments, 16);
  assert.is(files.expiryMs, NOW + 86_400_000);
});

PathFiles(
  'from the head end to the meters: the conforming paths of the lab, and the tempting one through ISD 2',
  async () => {
    const paths = await pathsBetween('1-ff00:0:112', '1-ff00:0:111');
    const geofence = parsePolicy(['+ 1', '-']);
    const text = (path: ScionPath) => `${path.hops} ${announcedLatencyMs(path)} ms`;
    assert.equal(
      paths
        .filter((p) => whyForbidden(geofence, p) === undefined)
        .map(text)
        .sort(),
      [
        '1-ff00:0:112 1>11 1-ff00:0:110 12>1 1-ff00:0:111 36 ms',
        '1-ff00:0:112 1>11 1-ff00:0:110 13>22 1-ff00:0:120 21>2 1-ff00:0:111 41 ms',
        '1-ff00:0:112 2>23 1-ff00:0:120 21>2 1-ff00:0:111 35 ms',
        '1-ff00:0:112 2>23 1-ff00:0:120 22>13 1-ff00:0:110 12>1 1-ff00:0:111 60 ms',
      ],
    );
    const forbidden = paths.filter((p) => whyForbidden(geofence, p) !== undefined);
    assert.ok(
      forbidden
        .map(text)
        .includes('1-ff00:0:112 1>11 1-ff00:0:110 14>31 2-ff00:0:210 32>24 1-ff00:0:120 21>2 1-ff00:0:111 30 ms'),
    );
  },
);

PathFiles('every AS finds a path to every other one', async () => {
  for (const src of files.folders.keys()) {
    for (const dst of files.folders.keys()) {
      if (src === dst) continue;
      const paths = await pathsBetween(src, dst);
      assert.ok(paths.length > 0, `${src} to ${dst}`);
      assert.is(paths[0]!.interfaces.at(-1)!.ia, parseIsdAs(dst));
    }
  }
});

PathFiles('the hop fields in the segments verify under the keys of their ASes', () => {
  const macs = new Map(
    [...files.folders].map(([ia, directory]) => {
      const key = Buffer.from(readFileSync(join(directory, 'keys', 'master0.key'), 'utf8'), 'base64');
      return [parseIsdAs(ia), new HopMac(deriveHopKey(key))] as const;
    }),
  );
  let checked = 0;
  const directory = join(files.folders.get('1-ff00:0:111')!, 'segments');
  for (const name of readdirSync(directory)) {
    const segment = decodeSegment(readFileSync(join(directory, name)));
    let beta = segment.segmentId;
    for (const { ia, hop } of segment.entries) {
      const mac = new Uint8Array(6);
      macs.get(ia)!.compute(mac, 0, beta, segment.timestamp, hop.expTime, hop.consIngress, hop.consEgress);
      assert.equal(hop.mac, mac);
      beta ^= (mac[0]! << 8) | mac[1]!;
      checked++;
    }
  }
  assert.ok(checked > 40);
});

PathFiles(
  'writing again keeps the keys and renews the segments, which the running service serves at once',
  async () => {
    const directory = files.folders.get('1-ff00:0:112')!;
    const key = readFileSync(join(directory, 'keys', 'master0.key'), 'utf8');
    clock = NOW + 86_400_001;
    assert.equal(await pathsBetween('1-ff00:0:112', '1-ff00:0:111'), []);
    writeAsFiles(FIVE_ASES, folder, { now: clock });
    assert.is(readFileSync(join(directory, 'keys', 'master0.key'), 'utf8'), key);
    const paths = await pathsBetween('1-ff00:0:112', '1-ff00:0:111');
    assert.ok(paths.length >= 4);
    assert.ok(paths.every((p) => p.expiryMs > clock));
  },
);

PathFiles('a damaged segment file is ignored, the others are served', async () => {
  const directory = join(files.folders.get('1-ff00:0:112')!, 'segments');
  const before = (await pathsBetween('1-ff00:0:112', '1-ff00:0:111')).length;
  writeFileSync(join(directory, 'x.new'), 'not a segment');
  renameSync(join(directory, 'x.new'), join(directory, 'down-broken.seg'));
  assert.is((await pathsBetween('1-ff00:0:112', '1-ff00:0:111')).length, before);
  rmSync(join(directory, 'down-broken.seg'));
});

interface Answer {
  status: number;
  type: string;
  body: Buffer;
}

function post(body: Uint8Array, options: { method?: string; path?: string; type?: string } = {}): Promise<Answer> {
  const [host, port] = services.get('1-ff00:0:112')!.address.split(':');
  return new Promise((resolve, reject) => {
    const { method = 'POST', path = SEGMENTS_METHOD, type = 'application/proto' } = options;
    const call = httpRequest(
      { host, port, method, path, agent: false, headers: { 'content-type': type } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode!,
            type: response.headers['content-type'] ?? '',
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    call.on('error', reject);
    call.end(body);
  });
}

const ask = (src: string, dst: string) => post(encodeSegmentsRequest({ src: parseIsdAs(src), dst: parseIsdAs(dst) }));

PathFiles('requests that the forwarding resolver cannot take are refused as Connect errors', async () => {
  const refused: [string, string, RegExp][] = [
    ['0-0', '1-0', /ISD must not be 0/],
    ['1-0', '1-ff00:0:112', /destination is the local AS/],
    ['1-ff00:0:112', '1-ff00:0:111', /not core/],
    ['1-ff00:0:111', '1-ff00:0:110', /begin in the local AS/],
    ['1-ff00:0:112', '2-0', /local ISD/],
    ['2-0', '1-0', /local ISD/],
    ['2-ff00:0:210', '1-ff00:0:111', /one ISD/],
  ];
  for (const [src, dst, words] of refused) {
    const { status, type, body } = await ask(src, dst);
    assert.is(status, 400, `${src} ${dst}`);
    assert.is(type, 'application/json');
    const error = JSON.parse(body.toString()) as { code: string; message: string };
    assert.is(error.code, 'invalid_argument');
    assert.match(error.message, words);
    assert.match(error.message, /^invalid request/);
  }
});

PathFiles('method, type, size and bytes of a request are checked', async () => {
  const good = encodeSegmentsRequest({ src: parseIsdAs('1-ff00:0:112'), dst: parseIsdAs('1-0') });
  assert.is((await post(good)).status, 200);
  assert.is((await post(new Uint8Array(0), { method: 'GET' })).status, 405);
  assert.is((await post(good, { path: '/' })).status, 404);
  assert.is((await post(good, { type: 'application/json' })).status, 415);
  assert.is((await post(Uint8Array.of(0x0a, 5, 1))).status, 400);
  assert.is((await post(new Uint8Array(70_000))).status, 413);
});

PathFiles('garbage on the connection does not stop the service', async () => {
  const [host, port] = services.get('1-ff00:0:112')!.address.split(':');
  for (const text of ['\0\0\0\0', 'GET / HTTP/9.9\r\n\r\n', 'POST /x HTTP/1.1\r\ncontent-length: -5\r\n\r\n', '']) {
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), host, () => socket.end(text));
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.resume();
    });
  }
  assert.is((await ask('1-ff00:0:112', '1-0')).status, 200);
});

async function failsWith(code: string, words: RegExp, run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    assert.instance(error, S3mpError);
    assert.is((error as S3mpError).code, code);
    assert.match((error as S3mpError).message, words);
    return;
  }
  assert.unreachable(`expected ${code}`);
}

PathFiles('a taken address is a clear error', async () => {
  const { address } = services.get('1-ff00:0:112')!;
  const topology = topologies.get('1-ff00:0:112')!;
  await failsWith('socket.in-use', /already in use/, () =>
    startPathService({ address, directory: folder, topology, log }),
  );
});

PathFiles('without a service, and with one that never answers, the client says what to do', async () => {
  const request = { src: parseIsdAs('1-ff00:0:112'), dst: parseIsdAs('1-0') };
  await failsWith('scion.path-service', /control_service right/, () => fetchSegments('127.0.0.1:9', request, { log }));
  const silent = createServer((socket) => socket.on('error', () => {}));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', () => resolve()));
  const { port } = silent.address() as { port: number };
  await failsWith('scion.path-service', /no answer within 50 ms/, () =>
    fetchSegments(`127.0.0.1:${port}`, request, { timeoutMs: 50, log }),
  );
  const spare = services.get('1-ff00:0:112')!.address;
  const source = pathClient({ ia: request.src, isCore: false, services: [`127.0.0.1:9`, spare], log });
  assert.ok((await source.segments(parseIsdAs('1-ff00:0:111'))).up.length > 0);
  silent.close();
});

PathFiles('an AS without segments answers with none', async () => {
  const directory = files.folders.get('1-ff00:0:111')!;
  renameSync(join(directory, 'segments'), join(directory, 'away'));
  assert.equal(await pathsBetween('1-ff00:0:111', '1-ff00:0:112'), []);
  renameSync(join(directory, 'away'), join(directory, 'segments'));
  chmodSync(directory, 0o700);
  assert.ok((await pathsBetween('1-ff00:0:111', '1-ff00:0:112')).length > 0);
});

PathFiles.run();
