/** Routes of the paths to a meter: candidates, the policy in force, and what another policy would do. */

import { messageOf, S3mpError } from '#base/errors';
import { parsePolicy } from '#scion/policy';
import type { Fleet } from '../fleet/fleet.ts';
import type { PathSettings } from '../meter-connection.ts';
import { METER_ID } from './parameters.ts';
import { RequestError } from './problem.ts';
import { json, ok, type Route } from './router.ts';
import * as schemas from './schemas.ts';
import type { MeterPathPolicyBody, PathEvaluationBody, PathReportBody } from './wire.ts';

const DEFAULT_SETTINGS: PathSettings = { acl: [], sequence: '', pin: null, preference: 'latency' };

export function pathRoutes(fleet: Fleet): Route[] {
  const policyOf = (meter: string): MeterPathPolicyBody => {
    const { own, fence } = fleet.pathSettings(meter);
    return { meter, own: own !== null, fence, ...(own ?? DEFAULT_SETTINGS) };
  };
  return [
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/paths',
      summary: 'Lists the candidate paths to a meter',
      role: 'viewer',
      parameters: [METER_ID],
      answer: json(schemas.PATHS),
      problems: ['meter.unknown', 'scion.path-service', 'path.none'],
      handler: async ({ params }) => ok({ meter: params.id!, paths: await fleet.paths(params.id!) }),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/path-policy',
      summary: 'Shows the path policy of a meter',
      role: 'viewer',
      parameters: [METER_ID],
      answer: json(schemas.PATH_POLICY),
      problems: ['meter.unknown'],
      handler: ({ params }) => ok(policyOf(params.id!)),
    },
    {
      method: 'PUT',
      path: '/api/v1/meters/{id}/path-policy',
      summary: 'Gives a meter a path policy of its own, in force at once',
      role: 'operator',
      parameters: [METER_ID],
      body: schemas.PATH_POLICY_REQUEST,
      answer: json(schemas.PATH_POLICY),
      problems: ['meter.unknown'],
      limited: true,
      handler: async ({ params, body, client }) => {
        const meter = params.id!;
        const settings = readSettings(body);
        const paths = fleet.evaluatePaths(meter, settings);
        checkPin(settings, paths);
        await fleet.setPathSettings(meter, settings, client.actor);
        return ok(policyOf(meter));
      },
    },
    {
      method: 'DELETE',
      path: '/api/v1/meters/{id}/path-policy',
      summary: "Gives a meter back to the head end's path policy",
      role: 'operator',
      parameters: [METER_ID],
      answer: { status: 204, type: '', schema: {} },
      problems: ['meter.unknown'],
      handler: async ({ params, client }) => {
        await fleet.setPathSettings(params.id!, null, client.actor);
        return { status: 204 };
      },
    },
    {
      method: 'POST',
      path: '/api/v1/paths:evaluate',
      summary: 'Tells which paths a policy would keep, drop and choose; changes nothing',
      role: 'viewer',
      body: schemas.EVALUATE_REQUEST,
      answer: json(schemas.EVALUATION),
      problems: ['meter.unknown'],
      limited: true,
      handler: ({ body }) => {
        const meter = body.meter as string | undefined;
        if (meter === undefined) throw new RequestError('meter is missing', '/meter');
        const paths = fleet.evaluatePaths(meter, readSettings(body));
        const kept = paths.filter((path) => path.forbidden === null);
        const answer: PathEvaluationBody = {
          meter,
          kept: kept.length,
          dropped: paths.length - kept.length,
          survivesOneCut: survivesOneCut(kept),
          paths,
        };
        return ok(answer);
      },
    },
  ];
}

/** Settings of a request; members left out are the defaults. @throws RequestError with the pointer of the wrong member */
function readSettings(body: Readonly<Record<string, unknown>>): PathSettings {
  const { acl, sequence, pin, preference } = { ...DEFAULT_SETTINGS, ...body } as PathSettings;
  const settings = { acl, sequence: sequence.trim(), pin, preference };
  check('/acl', () => parsePolicy(acl));
  check('/sequence', () => parsePolicy([], sequence));
  return settings;
}

function check(pointer: string, parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    if (!(error instanceof S3mpError)) throw error;
    throw new RequestError(messageOf(error).replace(/^path policy: /, ''), pointer);
  }
}

/** @throws RequestError for a pin that is no candidate or is forbidden */
function checkPin({ pin }: PathSettings, paths: readonly PathReportBody[]): void {
  if (pin === null) return;
  const path = paths.find(({ fingerprint }) => fingerprint === pin);
  if (path === undefined) throw new RequestError('the pinned path is not among the candidates', '/pin');
  if (path.forbidden !== null) throw new RequestError(`the pinned path is forbidden: ${path.forbidden}`, '/pin');
}

/** Whether two paths have no link in common. Links are named by their interfaces: `1-ff00:0:110 12>1 1-ff00:0:111`. */
function survivesOneCut(paths: readonly PathReportBody[]): boolean {
  const links = paths.map(({ hops }) => {
    const parts = hops.split(' ');
    return parts.flatMap((part, i) => (i % 2 === 1 ? [`${parts[i - 1]} ${part} ${parts[i + 1]}`] : []));
  });
  return links.some((a, i) => links.slice(i + 1).some((b) => !a.some((link) => b.includes(link))));
}
