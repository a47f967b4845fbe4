/**
 * The gateway: runs the SCION services of one AS on a concentrator, at the head end, or in between. Wiring only.
 */

import { type AsDirectory, readAsDirectory } from '#hw/as-directory';
import { configCheckVerb, type Program, runProgram, stopRequested, type Verb, type VerbContext } from '#hw/cli';
import { ALL_PORTS } from '#scion/host-topology';
import { formatIpPort, parseIpPort } from '#scion/ip';
import { routerOf } from '#scion/topology';
import { BorderRouter } from './border-router.ts';
import { GATEWAY_CONFIG } from './config.ts';
import { pingVerb, tracerouteVerb } from './echo-command.ts';
import { startPathService } from './path-service.ts';
import { pathsVerb } from './paths-command.ts';
import { statusVerb } from './status-command.ts';
import { startStatusServer } from './status-server.ts';

interface Running {
  readonly fields: Readonly<Record<string, string | number>>;
  close(): Promise<void>;
}

async function runRouter({ config, log }: VerbContext, as: AsDirectory): Promise<Running | undefined> {
  if (!config.boolean('router.enabled')) return undefined;
  const { topology, hopKey } = as;
  const router = routerOf(topology, config.optionalString('router.name'));
  const second = config.optionalString('router.second_internal');
  const perSecond = config.number('router.scmp_errors_per_second');
  const metrics = config.optionalString('metrics.address');
  const running = await BorderRouter.start({
    topology,
    router,
    hopKey,
    log: log.child('router'),
    bfd: config.boolean('router.bfd'),
    errorBudget: { perSecond, burst: perSecond },
    ...(config.string('router.dispatched_ports') === 'all' ? { dispatchedPorts: ALL_PORTS } : {}),
    ...(second === undefined ? {} : { secondInternal: parseIpPort(second) }),
  });
  const status = await startStatusServer({
    router: running,
    directory: as.folder,
    address: metrics === undefined ? undefined : parseIpPort(metrics),
  }).catch(async (error: unknown) => {
    await running.close();
    throw error;
  });
  return {
    fields: {
      router: router.name,
      internal: running.internalAddress,
      links: router.interfaces.length,
      ...(status.address === '' ? {} : { metrics: status.address }),
    },
    async close() {
      await status.close();
      await running.close();
      const { forwarded, delivered, replied, dropped } = running.status();
      log.info('router stopped', { forwarded, delivered, replied, dropped });
    },
  };
}

async function runPathService({ config, log }: VerbContext, as: AsDirectory): Promise<Running | undefined> {
  const [service] = as.topology.controlServices;
  if (!config.boolean('path_service.enabled') || service === undefined) return undefined;
  const running = await startPathService({
    address: formatIpPort(service.host, service.port),
    directory: as.folder,
    topology: as.topology,
    log: log.child('paths'),
  });
  return { fields: { paths: running.address }, close: () => running.close() };
}

const run: Verb = {
  summary: 'run the border router and the path service of the AS',
  async run(context) {
    const as = readAsDirectory(context.config.string('as.directory'));
    const parts: Running[] = [];
    const close = async () => {
      for (const part of parts) await part.close();
    };
    try {
      for (const start of [runRouter, runPathService]) {
        const part = await start(context, as);
        if (part !== undefined) parts.push(part);
      }
    } catch (error) {
      await close();
      throw error;
    }
    const stop = stopRequested();
    context.log.info('ready', Object.assign({ as: as.topology.isdAs }, ...parts.map((p) => p.fields)));
    await stop;
    await close();
    return 0;
  },
};

const program: Program = {
  name: 'gateway',
  summary: 'SCION border router and path service of one AS',
  version: S3MP_VERSION,
  config: GATEWAY_CONFIG,
  verbs: {
    run,
    status: statusVerb,
    paths: pathsVerb,
    ping: pingVerb,
    traceroute: tracerouteVerb,
    'config check': configCheckVerb(),
  },
  defaultVerb: 'run',
};

void runProgram(program, process.argv.slice(2)).then((status) => process.exit(status));
