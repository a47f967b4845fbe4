/** The route table of the API: every route in the order in which its description lists them. */

import { type CommandServices, commandRoutes } from './command-routes.ts';
import { type FirmwareServices, firmwareRoutes } from './firmware-route.ts';
import { type MeterServices, meterRoutes } from './meter-routes.ts';
import { observationRoutes } from './observation-routes.ts';
import { type OperationServices, operationRoutes } from './operation-routes.ts';
import { pathRoutes } from './path-routes.ts';
import { profileRoutes } from './profile-routes.ts';
import { readingRoutes } from './reading-routes.ts';
import type { Route } from './router.ts';
import type { StreamHub } from './stream.ts';

export interface RouteServices extends MeterServices, CommandServices, FirmwareServices, OperationServices {
  readonly streams: StreamHub;
}

/** Makes the table of every route of the API. */
export function buildRoutes(services: RouteServices): readonly Route[] {
  const { fleet, streams } = services;
  const routes: Route[] = [
    ...meterRoutes(services),
    ...readingRoutes(fleet),
    ...profileRoutes(fleet),
    ...pathRoutes(fleet),
    ...firmwareRoutes(services),
    ...commandRoutes(services),
    ...observationRoutes(fleet, streams),
    ...operationRoutes(services, () => routes),
  ];
  return routes;
}
