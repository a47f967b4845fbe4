/** The head end. Wiring only. */

import { configCheckVerb, type Program, runProgram, stopRequested, type Verb } from '#hw/cli';
import { CLIENT_VERBS } from './client/verbs.ts';
import { HEADEND_CONFIG } from './config.ts';
import { startHeadend } from './headend.ts';
import { PKI_VERBS } from './pki/verbs.ts';

const serve: Verb = {
  summary: 'serve the API and the web page, and read the meters',
  async run({ config, log }) {
    const stop = stopRequested();
    const headend = await startHeadend(config, log);
    log.info('ready', { url: headend.url, meters: headend.meters });
    await stop;
    await headend.close();
    return 0;
  },
};

const program: Program = {
  name: 'headend',
  summary: 'head end: reads meters over SCION, stores and shows what they say, switches and messages them',
  version: S3MP_VERSION,
  config: HEADEND_CONFIG,
  verbs: { serve, ...CLIENT_VERBS, ...PKI_VERBS, 'config check': configCheckVerb() },
  defaultVerb: 'serve',
};

void runProgram(program, process.argv.slice(2)).then((status) => process.exit(status));
