/**
 * `firmware.js enrol`: shows the one-time code on the console and waits until a head end has enrolled this meter. The meter
 * that runs already serves the head end; where none runs, this command is the meter until it is enrolled.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { invalidConfig, S3mpError } from '#base/errors';
import { stopRequested, type VerbContext } from '#hw/cli';
import { readSecretFile } from '#hw/files';
import { checkOwner } from '#hw/folder-lock';
import { UdpSocket } from '#hw/udp';
import { startMeter } from './meter.ts';
import { stateFolder } from './parts.ts';

const LOOK_MS = 300;

/** Whether a meter runs on this address; asked before anything of its state is touched. */
async function isRunning({ config }: VerbContext): Promise<boolean> {
  try {
    const place = { host: config.string('scion.address'), port: config.number('scion.port') };
    await (await UdpSocket.open({ ...place, onDatagram: () => {} })).close();
    return false;
  } catch (error) {
    if (error instanceof S3mpError && error.code === 'socket.in-use') return true;
    throw error;
  }
}

/** @returns exit status @throws ConfigError where keys stand in a file, or enrolment is off */
export async function enrolCommand(context: VerbContext): Promise<number> {
  const { config, log, out, json } = context;
  if (config.has('dlms.key_file') || !config.boolean('enrolment.enabled'))
    throw invalidConfig('a meter with dlms.key_file, or enrolment.enabled = false, is not enrolled');
  checkOwner(stateFolder(config));
  const file = (name: string) => join(stateFolder(config), 'pki', name);
  const meter = (await isRunning(context)) ? undefined : await startMeter(config, log);
  if (meter && !meter.certificates) {
    await meter.close();
    throw invalidConfig('this meter cannot use its keys or certificates; its log says why');
  }
  const isEnrolled = () => (meter ? meter.certificates?.isEnrolled === true : existsSync(file('trust.pem')));
  const codeNow = () => {
    if (meter) return meter.certificates?.code;
    try {
      return existsSync(file('code')) ? Buffer.from(readSecretFile(file('code'))).toString() : undefined;
    } catch (error) {
      // The meter removes it when it is enrolled, maybe just now.
      if (error instanceof S3mpError && error.code === 'config.unreadable') return undefined;
      throw error;
    }
  };
  let isStopped = false;
  void stopRequested().then(() => {
    isStopped = true;
  });
  let shown: string | undefined;
  while (!isEnrolled() && !isStopped) {
    const code = codeNow();
    if (code !== undefined && code !== shown) out(json ? JSON.stringify({ code }) : `enrolment code  ${code}`);
    shown = code ?? shown;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  await meter?.close();
  if (isStopped) return 1;
  out(json ? JSON.stringify({ enrolled: true }) : 'enrolled');
  return 0;
}
