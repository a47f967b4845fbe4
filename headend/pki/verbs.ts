/**
 * Commands about certificates: enrolling and revoking meters, keys for commands. They work on the folders of the PKI and the
 * inventory themselves, so that the server that answers the API needs no authority's key; a running head end is told to read
 * them anew.
 */

import { toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import type { FlagSpec, Verb, VerbContext } from '#hw/cli';
import { ApiClient } from '../client/api-client.ts';
import { audit, enrol } from './enrolment.ts';
import { type EnrolledMeter, Inventory } from './inventory.ts';
import { UtilityPki } from './utility-pki.ts';

const URL_FLAG: Readonly<Record<string, FlagSpec>> = {
  url: { type: 'string', value: 'URL', help: 'address of the head end; from the configuration when left out' },
};
const REASON_FLAG: Readonly<Record<string, FlagSpec>> = {
  reason: { type: 'string', value: 'TEXT', help: 'why, for the register' },
};
const ADDRESS_FLAG: Readonly<Record<string, FlagSpec>> = {
  address: {
    type: 'string',
    value: 'ADDRESS',
    help: 'where the meter answers: 1-ff00:0:111,10.1.0.5, or [1-ff00:0:111,10.1.0.5]:4059',
  },
};

const pkiOf = ({ config }: VerbContext) => new UtilityPki(config.string('pki.directory'));
const inventoryOf = ({ config }: VerbContext) => new Inventory(config.string('fleet.directory'));

/** Tells a running head end that the folders have changed. One that does not run reads them when it starts. */
async function tellHeadEnd(context: VerbContext): Promise<void> {
  try {
    await new ApiClient(context.config, context.flags.url as string | undefined).call('POST', 'meters:reload', {});
  } catch (error) {
    if (!(error instanceof S3mpError)) throw error;
    context.log.warn('no running head end was told; it reads this when it starts', { why: error.message });
  }
}

function printMeter({ json, out }: VerbContext, { id, address, certificates, enrolledAt, revokedAt }: EnrolledMeter) {
  const [signing, agreement] = certificates;
  const until = new Date(agreement!.notAfter * 1000).toISOString().slice(0, 10);
  const serials = { signing: toHex(signing!.serial), agreement: toHex(agreement!.serial) };
  const title = agreement!.commonName;
  if (json) out(JSON.stringify({ id, address, title, serials, enrolledAt, until, revokedAt: revokedAt ?? null }));
  else {
    out(`meter         ${id} at ${address}`);
    out(`system title  ${title}`);
    out(`certificates  signing ${serials.signing}, key agreement ${serials.agreement}, valid until ${until}`);
    out(revokedAt === undefined ? `enrolled      ${enrolledAt}` : `revoked       ${revokedAt}`);
  }
}

/** Revokes what a meter has. @returns the number of certificates */
async function revoke(context: VerbContext, meter: EnrolledMeter): Promise<number> {
  const reason = reasonOf(context);
  pkiOf(context).revoke(
    'issuing',
    meter.certificates.map(({ serial }) => serial),
    reason,
  );
  inventoryOf(context).write({ ...meter, revokedAt: meter.revokedAt ?? new Date().toISOString() });
  await audit(context, 'meter.revoked', meter.id, { address: meter.address, reason });
  return meter.certificates.length;
}

const reasonOf = ({ flags }: VerbContext): string => (flags.reason as string | undefined) ?? 'unspecified';

function addressOf({ flags }: VerbContext, known?: string): string {
  const address = (flags.address as string | undefined) ?? known;
  if (address === undefined) throw new S3mpError('usage.invalid', '--address is missing: where does the meter answer?');
  return address;
}

export const PKI_VERBS: Readonly<Record<string, Verb>> = {
  'meter add': {
    summary: 'enrol a meter with the one-time code that it shows, and read it from now on',
    positionals: ['NAME'],
    flags: { ...ADDRESS_FLAG, ...URL_FLAG },
    async run(context) {
      const id = context.positionals[0]!;
      if (inventoryOf(context).has(id))
        throw new S3mpError('usage.invalid', `there is a meter ${id}: meter replace puts another device in its place`);
      printMeter(context, await enrol(context, id, addressOf(context)));
      await tellHeadEnd(context);
      return 0;
    },
  },
  'meter show': {
    summary: 'show address, title and certificates of an enrolled meter',
    positionals: ['NAME'],
    async run(context) {
      printMeter(context, inventoryOf(context).read(context.positionals[0]!));
      return 0;
    },
  },
  'meter replace': {
    summary: 'enrol another device under the name of a meter; the old one is revoked',
    positionals: ['NAME'],
    flags: { ...ADDRESS_FLAG, ...REASON_FLAG, ...URL_FLAG },
    async run(context) {
      const old = inventoryOf(context).read(context.positionals[0]!);
      const replaced = { meter: old, reason: reasonOf(context) };
      printMeter(context, await enrol(context, old.id, addressOf(context, old.address), replaced));
      await tellHeadEnd(context);
      return 0;
    },
  },
  'meter revoke': {
    summary: 'revoke the certificates of a meter: the head end does not speak to it any more',
    positionals: ['NAME'],
    flags: { ...REASON_FLAG, ...URL_FLAG },
    async run(context) {
      const meter = inventoryOf(context).read(context.positionals[0]!);
      const count = await revoke(context, meter);
      await tellHeadEnd(context);
      const { number } = pkiOf(context).list('issuing');
      context.out(`${meter.id}: ${count} certificates revoked, revocation list number ${number}`);
      return 0;
    },
  },
  'meter remove': {
    summary: 'revoke a meter and take it out of the inventory; what is stored of it stays',
    positionals: ['NAME'],
    flags: { ...REASON_FLAG, ...URL_FLAG },
    async run(context) {
      const meter = inventoryOf(context).read(context.positionals[0]!);
      await revoke(context, meter);
      inventoryOf(context).remove(meter.id);
      await audit(context, 'meter.removed', meter.id);
      await tellHeadEnd(context);
      context.out(`${meter.id}: revoked and removed`);
      return 0;
    },
  },
  'meter erase': {
    summary: 'delete the values and events that the head end has stored of a meter; commands and audit stay',
    positionals: ['NAME'],
    flags: { ...URL_FLAG, yes: { type: 'boolean', help: 'do it: this cannot be undone' } },
    async run({ config, flags, positionals, out }) {
      const id = positionals[0]!;
      if (!flags.yes) throw new S3mpError('usage.invalid', `meter erase ${id} cannot be undone: say --yes`);
      await new ApiClient(config, flags.url as string | undefined).call(
        'DELETE',
        `meters/${encodeURIComponent(id)}/data`,
      );
      out(`${id}: erased`);
      return 0;
    },
  },
  'pki init': {
    summary: 'make the root, the authorities and empty revocation lists; meter add does it by itself',
    async run(context) {
      const pki = pkiOf(context);
      pki.init();
      context.out(`root ${pki.root.commonName} in ${pki.folder}; ${pki.file('root.key')} may be moved to a safe place`);
      return 0;
    },
  },
  'pki command-key': {
    summary: 'make a command key with its certificate, to sign what switches the supply',
    positionals: ['NAME'],
    flags: URL_FLAG,
    async run(context) {
      const pki = pkiOf(context);
      pki.init();
      const { keyFile, certificateFile } = pki.commandKey(context.positionals[0]!);
      context.out(`key          ${keyFile}: dlms.command_key_file of the head end`);
      await audit(context, 'command-key.made', null, { name: context.positionals[0]! });
      context.out(`certificate  ${certificateFile}: the head end brings it to enrolled meters`);
      await tellHeadEnd(context);
      return 0;
    },
  },
  'pki revoke-command': {
    summary: 'revoke the certificates of a command key; the head end brings the list to the meters',
    positionals: ['NAME'],
    flags: { ...REASON_FLAG, ...URL_FLAG },
    async run(context) {
      const pki = pkiOf(context);
      const count = pki.revokeName('command', context.positionals[0]!, reasonOf(context));
      if (count === 0) throw new S3mpError('usage.invalid', `no valid command certificate ${context.positionals[0]}`);
      await audit(context, 'command-key.revoked', null, { name: context.positionals[0]!, reason: reasonOf(context) });
      await tellHeadEnd(context);
      context.out(`${count} revoked, revocation list number ${pki.list('command').number}`);
      return 0;
    },
  },
};
