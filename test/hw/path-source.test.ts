/** Path sources: the daemon's client, the control service over Connect and gRPC, segment files, the cache, the choice. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex } from '#base/bytes';
import { S3mpError, ScionError } from '#base/errors';
import { type ConfigSpec, loadConfig } from '#hw/config';
import { DaemonClient } from '#hw/daemon-client';
import { readTopologyFile } from '#hw/files';
import { writeAsFiles } from '#hw/lab/as-files';
import { createLog } from '#hw/log';
import { pathClient } from '#hw/path-client';
import {
  cachingSource,
  combiningSource,
  fileSource,
  openPathSource,
  PATH_SOURCE_CONFIG,
  type PathSource,
} from '#hw/path-source';
import { SegmentStore } from '#hw/segment-store';
import { DaemonMethod } from '#scion/daemon-messages';
import { parseIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';
import { decodeSegmentsRequest, encodeSegmentsResponse, SEGMENTS_METHOD } from '#scion/segment-requests';
import vectors from '../vectors/scion-daemon.json';
import { GrpcServer, type Handler } from './grpc-server.ts';

const log = createLog('test', { level: 'error' });
const quiet = { ...log, warn: () => {}, info: () => {} } as typeof log;
const LEAF = parseIsdAs('1-ff00:0:112');
const CORE = parseIsdAs('1-ff00:0:110');

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    assert.instance(error, S3mpError);
    return (error as S3mpError).code;
  }
  return 'none';
}

const Sources = suite<{ folder: string; leaf: string }>('path sources');

Sources.before((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 's3mp-sources-'));
  const { folders } = writeAsFiles(
    {
      ases: [
        { ia: '1-ff00:0:110', core: true, internal: '127.0.0.1:1', control: '127.0.0.1:2' },
        { ia: '1-ff00:0:111', internal: '127.0.0.1:3', control: '127.0.0.1:4' },
        { ia: '1-ff00:0:112', internal: '127.0.0.1:5', control: '127.0.0.1:6' },
      ],
      links: [
        {
          a: { ia: '1-ff00:0:110', id: 1, local: '127.0.0.1:11' },
          b: { ia: '1-ff00:0:111', id: 2, local: '127.0.0.1:12' },
          role: 'child',
        },
        {
          a: { ia: '1-ff00:0:111', id: 3, local: '127.0.0.1:13' },
          b: { ia: '1-ff00:0:112', id: 4, local: '127.0.0.1:14' },
          role: 'child',
        },
      ],
    },
    context.folder,
  );
  context.leaf = folders.get('1-ff00:0:112')!;
});
Sources.after(({ folder }) => rmSync(folder, { recursive: true, force: true }));

/** Answers as the official daemon did. */
const officialDaemon: Handler = ({ method }) => {
  switch (method) {
    case DaemonMethod.as:
      return fromHex(vectors.as.answer);
    case DaemonMethod.interfaces:
      return fromHex(vectors.interfaces.answer);
    case DaemonMethod.portRange:
      return fromHex(vectors['port-range'].answer);
    case DaemonMethod.services:
      return fromHex(vectors.services.answer);
    case DaemonMethod.paths:
      return fromHex(vectors.paths.answer);
    default:
      return { status: 12, message: `unknown method ${method}` };
  }
};

Sources('the daemon tells topology, services and paths', async () => {
  const server = await GrpcServer.start(officialDaemon);
  const daemon = new DaemonClient({ address: server.address, log });
  try {
    const topology = await daemon.topology();
    assert.equal([topology.isdAs, topology.core, topology.mtu], ['1-ff00:0:112', false, 1400]);
    assert.equal(topology.dispatchedPorts, { min: 31000, max: 32767 });
    assert.equal(topology.routers, [{ internal: { host: '127.253.112.1', port: 30042 }, interfaces: [{ id: 1 }] }]);
    assert.equal(await daemon.controlServices(), ['127.253.112.2:31252']);
    assert.is((await daemon.paths(CORE)).length, 2);
    assert.is(await codeOf(daemon.interfaceDown(CORE, 1)), 'scion.daemon');
  } finally {
    daemon.close();
    await server.close();
  }
});

Sources('a daemon that is gone, refuses or talks nonsense is one typed error that names it', async () => {
  const address = '127.0.0.1:9';
  const gone = new DaemonClient({ address, log });
  try {
    await gone.paths(CORE);
    assert.unreachable();
  } catch (error) {
    assert.is((error as ScionError).code, 'scion.daemon');
    assert.match(
      (error as ScionError).message,
      /SCION daemon 127\.0\.0\.1:9 does not answer .*ECONNREFUSED.*is it running/,
    );
  }
  for (const answer of [{ status: 2, message: 'no' }, Uint8Array.of(0x0a, 0xff)]) {
    const server = await GrpcServer.start(() => answer);
    const daemon = new DaemonClient({ address: server.address, log });
    assert.is(await codeOf(daemon.topology()), 'scion.daemon');
    daemon.close();
    await server.close();
  }
});

Sources('segment files make paths without asking anyone', async ({ leaf }) => {
  const topology = readTopologyFile(join(leaf, 'topology.json'));
  const source = combiningSource(topology, fileSource(topology, join(leaf, 'segments'), log));
  const hops = async (dst: bigint) => (await source.paths(dst)).map((path) => path.hops);
  assert.equal(await hops(CORE), ['1-ff00:0:112 4>3 1-ff00:0:111 2>1 1-ff00:0:110']);
  assert.equal(await hops(parseIsdAs('1-ff00:0:111')), ['1-ff00:0:112 4>3 1-ff00:0:111']);
  assert.equal(await hops(parseIsdAs('2-ff00:0:210')), []);
  const [local] = await source.paths(LEAF);
  assert.equal([local!.raw.length, local!.mtu], [0, topology.mtu]);
});

Sources('a control service that speaks gRPC only is asked by gRPC', async ({ leaf }) => {
  const topology = readTopologyFile(join(leaf, 'topology.json'));
  const store = new SegmentStore({ folder: join(leaf, 'segments'), topology, log });
  const server = await GrpcServer.start(({ method, message }) => {
    if (method !== SEGMENTS_METHOD) return { status: 12, message: 'unimplemented' };
    const answer = store.answer(decodeSegmentsRequest(message), Date.now());
    return typeof answer === 'string'
      ? { status: 2, message: `invalid request: ${answer}` }
      : encodeSegmentsResponse(answer);
  });
  try {
    for (const protocol of ['auto', 'grpc'] as const) {
      const options = { ia: topology.ia, isCore: false, services: [server.address], protocol, log };
      const source = combiningSource(topology, pathClient(options));
      for (let i = 0; i < 2; i++)
        assert.equal(
          (await source.paths(CORE)).map((path) => path.hops),
          ['1-ff00:0:112 4>3 1-ff00:0:111 2>1 1-ff00:0:110'],
        );
    }
    const options = {
      ia: topology.ia,
      isCore: false,
      services: [server.address],
      protocol: 'connect' as const,
      log: quiet,
    };
    assert.is(await codeOf(pathClient(options).segments(CORE)), 'scion.path-service');
  } finally {
    await server.close();
  }
});

// --- Cache -------------------------------------------------------------------------------------------------------------

/** A source under control of the test, and a clock. */
function scripted(lifeMs: number) {
  const state = { now: 1_000_000, asked: 0, fails: false, paths: 1 };
  const source: PathSource = {
    async paths(dst) {
      state.asked++;
      await Promise.resolve();
      if (state.fails) throw new ScionError('scion.daemon', 'down');
      return Array.from({ length: state.paths }, () => ({ dst, expiryMs: state.now + lifeMs }) as ScionPath);
    },
  };
  return { state, cache: cachingSource(source, quiet, () => state.now) };
}

Sources('the cache joins equal questions and answers from memory for five minutes', async () => {
  const { state, cache } = scripted(6 * 3_600_000);
  await Promise.all([cache.paths(CORE), cache.paths(CORE), cache.paths(CORE)]);
  assert.is(state.asked, 1);
  state.now += 299_000;
  await cache.paths(CORE);
  assert.is(state.asked, 1);
  state.now += 2_000;
  await cache.paths(CORE);
  assert.is(state.asked, 2);
  await cache.paths(LEAF);
  assert.is(state.asked, 3);
  await cache.paths(CORE, { refresh: true });
  assert.is(state.asked, 4);
});

Sources('the cache asks anew two minutes before the first path expires, and at most every two seconds', async () => {
  const { state, cache } = scripted(200_000);
  await cache.paths(CORE);
  state.now += 79_000;
  await cache.paths(CORE);
  assert.is(state.asked, 1);
  state.now += 2_000;
  await cache.paths(CORE);
  assert.is(state.asked, 2);
  const short = scripted(60_000);
  await short.cache.paths(CORE);
  short.state.now += 1_900;
  await short.cache.paths(CORE);
  assert.is(short.state.asked, 1);
  short.state.now += 200;
  await short.cache.paths(CORE);
  assert.is(short.state.asked, 2);
});

Sources('the cache goes on with living paths while nobody answers, and keeps no empty answer', async () => {
  const { state, cache } = scripted(600_000);
  await cache.paths(CORE);
  state.fails = true;
  state.now += 400_000;
  assert.is((await cache.paths(CORE)).length, 1);
  state.now += 300_000;
  assert.is(await codeOf(cache.paths(CORE)), 'scion.daemon');
  state.fails = false;
  state.paths = 0;
  const before = state.asked;
  assert.is((await cache.paths(CORE)).length, 0);
  await cache.paths(CORE);
  assert.is(state.asked, before + 2);
});

// --- Configuration -----------------------------------------------------------------------------------------------------

Sources('the configuration chooses: daemon, else segment files, else the control service', async ({ leaf }) => {
  const spec: ConfigSpec = PATH_SOURCE_CONFIG;
  const config = (flags: Record<string, string>) => loadConfig(spec, { flags });
  const topologyFile = join(leaf, 'topology.json');

  const files = await openPathSource(config({ 'scion-segments': join(leaf, 'segments') }), topologyFile, log);
  assert.is((await files.source.paths(CORE)).length, 1);

  const server = await GrpcServer.start(officialDaemon);
  const byDaemon = await openPathSource(config({ 'scion-daemon': server.address }), '/nonexistent', log);
  assert.is(byDaemon.topology.isdAs, '1-ff00:0:112');
  assert.is((await byDaemon.source.paths(CORE)).length, 2);
  byDaemon.source.close?.();
  await server.close();

  const control = await openPathSource(config({}), topologyFile, quiet);
  assert.is(await codeOf(control.source.paths(CORE)), 'scion.path-service');
  assert.is(await codeOf(openPathSource(config({}), '/nonexistent', log)), 'config.unreadable');
});

Sources.run();
