/** The routes of firmware: one takes an image for a meter, a file, bounded, judged before it is on its way; one cancels it. */

import { createHash } from 'node:crypto';
import { toHex } from '#base/bytes';
import type { VerifyKey } from '#base/crypto';
import { DecodeError, S3mpError } from '#base/errors';
import { nodeCrypto } from '#hw/crypto';
import { decodeFirmwareImage, verifyFirmwareImage } from '#session/firmware-image';
import type { Fleet } from '../fleet/fleet.ts';
import type { ImageInfo } from '../store/store.ts';
import { expiryOf, IDEMPOTENCY_KEY, idempotencyKey, taken } from './command-request.ts';
import { METER_ID, query } from './parameters.ts';
import { RequestError } from './problem.ts';
import { type Call, ok, type Reply, type Route } from './router.ts';
import * as schemas from './schemas.ts';

/** What meters have room for. */
export const IMAGE_LIMIT = 1 << 20;
const IMAGE_TYPE = 'application/octet-stream';
const DEFAULT_EXPIRY_MS = 3_600_000;
const DIGEST_SIZE = 32;

export interface FirmwareServices {
  readonly fleet: Fleet;
  /** A lab's meters are simulated: an image needs no token on loopback. */
  readonly labMode: boolean;
  /** Release key: firmware images that it has not signed are not even sent. */
  readonly releaseKey: VerifyKey | undefined;
}

const PATH = '/api/v1/meters/{id}/firmware';
const REASON = query('reason', 'why, for the audit', { type: 'string', maxLength: 200 });

export function firmwareRoutes(services: FirmwareServices): Route[] {
  return [installRoute(services), cancelRoute(services)];
}

function cancelRoute({ fleet, labMode }: FirmwareServices): Route {
  return {
    method: 'DELETE',
    path: PATH,
    summary: 'Cancels the firmware image on its way to a meter, as long as its activation has not been sent',
    role: 'operator',
    parameters: [METER_ID, REASON],
    answer: { status: 200, type: 'application/json', schema: schemas.COMMAND },
    problems: ['meter.unknown', 'command.unknown', 'command.too-late'],
    limited: true,
    handler: async ({ params, query, client }) => {
      if (!labMode && !client.hasToken)
        throw new S3mpError('auth.required', 'to cancel a firmware image needs a token');
      return ok(await fleet.cancelFirmware(params.id!, client.actor, reasonOf(query)));
    },
  };
}

const reasonOf = (query: URLSearchParams): string | null => query.get('reason')?.trim().slice(0, 200) || null;

function installRoute(services: FirmwareServices): Route {
  return {
    method: 'POST',
    path: PATH,
    summary: 'Brings a signed firmware image to a meter, activates it and reads back what runs',
    role: 'operator',
    parameters: [
      METER_ID,
      IDEMPOTENCY_KEY,
      query('expiresAt', 'not activated after this; default one hour', { type: 'string', format: 'date-time' }),
      REASON,
    ],
    upload: { type: IMAGE_TYPE, limit: IMAGE_LIMIT, description: 'a file of `npm run image -- sign`' },
    answer: { status: 202, type: 'application/json', schema: schemas.COMMAND },
    problems: ['meter.unknown', 'command.conflict', 'meter.busy'],
    limited: true,
    handler: (call) => firmware(services, call),
  };
}

async function firmware({ fleet, labMode, releaseKey }: FirmwareServices, call: Call): Promise<Reply> {
  const { params, query, client } = call;
  if (!labMode && !client.hasToken) throw new S3mpError('auth.required', 'a firmware image needs a token');
  const meter = params.id!;
  await fleet.meter(meter);
  const key = idempotencyKey(call);
  const expiresAt = query.get('expiresAt') ?? undefined;
  const reason = reasonOf(query);
  const expiry = expiryOf(expiresAt, fleet.now(), DEFAULT_EXPIRY_MS);
  const content = await call.upload();
  const image = readImage(content, releaseKey);
  const submitted = await fleet.submit({
    meter,
    type: 'firmware',
    reason,
    text: null,
    actor: client.actor,
    idempotencyKey: key,
    bodyHash: createHash('sha256')
      .update(JSON.stringify([meter, image.sha256, reason, expiresAt ?? null]))
      .digest('hex'),
    expiresAt: expiry,
    image: { ...image, content },
  });
  return taken(submitted);
}

/** @throws RequestError for what is no whole image, or not one of the release key where that is known */
function readImage(bytes: Uint8Array, releaseKey: VerifyKey | undefined): ImageInfo {
  try {
    const image = decodeFirmwareImage(bytes);
    const end = bytes.length - DIGEST_SIZE;
    const isWhole = toHex(nodeCrypto.hash('sha256', bytes.subarray(0, end))) === toHex(bytes, end);
    if (!isWhole) throw new RequestError('the file is damaged: its digest is not that of its content');
    const refusal = releaseKey ? verifyFirmwareImage(image, releaseKey, nodeCrypto) : null;
    if (refusal !== null) throw new RequestError(`the ${refusal} of the image is wrong (image.release_key_file)`);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    return { model: image.model, version: image.version.join('.'), bytes: bytes.length, sha256 };
  } catch (error) {
    if (error instanceof DecodeError) throw new RequestError(`not a firmware image: ${error.message}`);
    throw error;
  }
}
