/**
 * A meter over DLMS over SCION: keeps one association open, opens it again when the meter has lost it, and turns objects
 * into what the fleet works with.
 */

import { asciiBytes } from '#base/bytes';
import { DlmsError, S3mpError } from '#base/errors';
import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import type { Data } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import type { ClientSecurityOptions } from '#dlms/client-security';
import { ImageStatus } from '#dlms/cosem/image-transfer';
import { ClockStatus, DATE_TIME_SIZE, decodeDateTime, encodeDateTime } from '#dlms/date-time';
import type { Exchange } from '#dlms/exchange';
import { activateImage, ImageSending, verifyImage } from '#dlms/image-sender';
import { ProfileReader } from '#dlms/profile-reader';
import { obisName, suspectBit } from '#dlms/well-known';
import { Sap } from '#dlms/wrapper';
import type { Log } from '#hw/log';
import type { ScionSocket } from '#hw/scion-socket';
import type { HostEndpoint } from '#scion/end-host';
import type { PathReport as ManagedPath } from '#scion/path-manager';
import type { PathRules } from '#scion/path-preference';
import { ALLOW_ALL, type PathPolicy, parsePolicy } from '#scion/policy';
import type {
  ClockComparison,
  ControlReading,
  FirmwareReading,
  FirmwareToSend,
  MeterConnection,
  PathReport,
  PathSettings,
  PathTaken,
  ProfileReading,
  ProfileRequest,
  Reading,
  RegisterValue,
  TransferProgress,
} from '../meter-connection.ts';
import { type Answer, type ChannelSwitch, MeterChannel } from './channel.ts';
import type { CommandSigner } from './head-end-keys.ts';
import {
  CLOCK_TIME,
  CLOCKED,
  CONTROL_STATE,
  CONTROL_STATES,
  FIRMWARE,
  MESSAGE,
  numberIn,
  OUTPUT_STATE,
  qualityOf,
  READING_REGISTERS,
  REMOTE_DISCONNECT,
  REMOTE_RECONNECT,
  ROW_STATUS,
  SELF_TEST_RESULT,
  textIn,
  timeIn,
} from './meter-values.ts';

export interface DlmsConnectionOptions {
  readonly socket: ScionSocket;
  readonly channels: ChannelSwitch;
  readonly meter: HostEndpoint;
  /** LLS secret of client 17, where there are no keys. */
  readonly password?: Uint8Array | undefined;
  /** Keys of client 1. */
  readonly security?: ClientSecurityOptions | undefined;
  /** Signs what switches the supply. */
  readonly signer?: CommandSigner | undefined;
  /** What the configuration allows: the meter's own settings can only narrow it. */
  readonly fence?: PathPolicy;
  /** Asked before each operation; throws when the meter is not to be spoken to. */
  readonly guard?: (() => void) | undefined;
  /** Something that a meter is told behind its next association, undefined when there is nothing; it may fail. */
  readonly update?: (() => ((client: DlmsClient) => Exchange<void>) | undefined) | undefined;
  readonly log: Log;
}

/** Pause before a contact that rests is asked again. */
const REST_MS = 250;

export class DlmsConnection implements MeterConnection {
  private readonly socket: ScionSocket;
  private readonly channel: MeterChannel;
  private readonly channels: ChannelSwitch;
  private readonly client: DlmsClient;
  private readonly signer: CommandSigner | undefined;
  private readonly profiles: ProfileReader;
  private readonly fence: PathPolicy;
  private readonly guard: () => void;
  private readonly update: NonNullable<DlmsConnectionOptions['update']>;
  private readonly log: Log;
  private lastAnswer: Answer | undefined;
  private readonly takes = (request: Uint8Array, answer: Uint8Array) => this.client.takes(request, answer);
  private settings: PathSettings | null = null;
  /** The transfer under way, and of what. */
  private sending: { readonly image: FirmwareToSend; readonly transfer: ImageSending } | undefined;

  constructor(options: DlmsConnectionOptions) {
    const { socket, channels, meter, password, security, signer, fence = ALLOW_ALL, log } = options;
    this.guard = options.guard ?? (() => {});
    this.update = options.update ?? (() => undefined);
    this.log = log;
    this.signer = signer;
    this.fence = fence;
    this.socket = socket;
    this.channel = new MeterChannel(socket, meter, log);
    this.channels = channels;
    channels.add(this.channel);
    this.client = new DlmsClient(
      security
        ? { clientSap: Sap.managementClient, security }
        : { clientSap: Sap.passwordClient, ...(password ? { password } : {}) },
    );
    this.profiles = new ProfileReader(this.client);
  }

  async read(deadlineMs: number): Promise<Reading> {
    const startedAt = this.socket.now();
    const { registers, others } = await this.inquire(
      () => this.client.readRegisters(READING_REGISTERS, CLOCKED),
      deadlineMs,
    );
    const suspects = numberIn(others[1]) ?? 0;
    return {
      values: registers.map(({ obis, value, unit }): RegisterValue => {
        const suspect = (suspects & suspectBit(obis)) !== 0;
        return {
          obis,
          name: obisName(obis),
          value,
          unit,
          quality: value === null ? 'missing' : suspect ? 'suspect' : 'good',
        };
      }),
      measuredAt: timeIn(others[0]),
      receivedAt: Date.now(),
      delayMs: this.socket.now() - startedAt,
      path: this.pathTaken(),
    };
  }

  async readControl(deadlineMs: number): Promise<ControlReading> {
    const [output, control] = await this.inquire(() => this.client.getList([OUTPUT_STATE, CONTROL_STATE]), deadlineMs);
    const controlState = CONTROL_STATES[numberIn(control) ?? -1];
    if (output?.data?.type !== 'boolean' || controlState === undefined) {
      throw new DlmsError('dlms.unexpected-answer', 'the meter gave no state of its output');
    }
    return { outputState: output.data.value, controlState, path: this.pathTaken() };
  }

  async switchOutput(connect: boolean, deadlineMs: number): Promise<void> {
    const deadlineAt = this.socket.now() + deadlineMs;
    for (;;) {
      try {
        const left = deadlineAt - this.socket.now();
        const action = () => this.client.action(connect ? REMOTE_RECONNECT : REMOTE_DISCONNECT);
        const sign = this.signer?.sign(connect ? 'reconnect' : 'disconnect');
        await this.run(() => (sign ? this.client.signed(sign, action()) : action()), left);
        return;
      } catch (error) {
        // The contact rests between two movements; the meter says so and has done nothing.
        const rests = error instanceof S3mpError && error.code === 'dlms.temporarily-unavailable';
        if (!rests || this.socket.now() + REST_MS >= deadlineAt) throw error;
        await new Promise((resolve) => setTimeout(resolve, REST_MS));
      }
    }
  }

  async writeMessage(text: string, deadlineMs: number): Promise<void> {
    const value: Data = { type: 'octet-string', value: encodeUtf8(text) };
    await this.run(() => this.client.set(MESSAGE, value), deadlineMs);
  }

  readMessage(deadlineMs: number): Promise<string> {
    return this.readText(MESSAGE, 'message', deadlineMs);
  }

  readSelfTest(deadlineMs: number): Promise<string> {
    return this.readText(SELF_TEST_RESULT, 'self-test', deadlineMs);
  }

  private async readText(object: typeof MESSAGE, what: string, deadlineMs: number): Promise<string> {
    const data = await this.inquire(() => this.client.get(object), deadlineMs);
    const text = data.type === 'octet-string' ? decodeUtf8(data.value) : undefined;
    if (text === undefined) throw new DlmsError('dlms.unexpected-answer', `the ${what} of the meter is no text`);
    return text;
  }

  /**
   * Runs an operation that changes nothing: its failure may be told by its cause. Of a command it must be told that its
   * datagrams have left.
   */
  private async inquire<T>(operation: () => Exchange<T>, deadlineMs: number): Promise<T> {
    const startedAt = this.socket.now();
    try {
      return await this.run(operation, deadlineMs, false);
    } catch (error) {
      const isSilence = error instanceof S3mpError && error.code === 'meter.unreachable';
      throw (isSilence ? this.channel.cutOff(startedAt) : undefined) ?? error;
    }
  }

  async readProfile(obis: string, request: ProfileRequest, deadlineMs: number): Promise<ProfileReading> {
    // The status is needed for the quality of the rows whatever columns are wanted.
    const range = request.columns ? { ...request, columns: [...request.columns, ...ROW_STATUS] } : request;
    const { fields, period, rows } = await this.run(() => this.profiles.read(obis, range), deadlineMs, false);
    const status = fields.findIndex((field) => ROW_STATUS.includes(field.obis));
    const isValue = (_: unknown, i: number) => i !== status;
    return {
      fields: fields.filter(isValue),
      period,
      rows: rows.map((row) => ({
        at: row.at,
        quality: qualityOf(row, row.values[status] ?? 0),
        values: row.values.filter(isValue),
      })),
    };
  }

  async readClock(deadlineMs: number): Promise<ClockComparison> {
    let sentAt = 0;
    let receivedAt = 0;
    const client = this.client;
    function* timed(): Exchange<Data> {
      sentAt = Date.now();
      const data = yield* client.get(CLOCK_TIME);
      receivedAt = Date.now();
      return data;
    }
    const data = await this.inquire(timed, deadlineMs);
    const time = data.type === 'octet-string' ? decodeDateTime(data.value) : undefined;
    if (typeof time?.epochMs !== 'number') throw new DlmsError('dlms.unexpected-answer', 'the meter gave no time');
    return {
      isSet: time.status === 0xff || (time.status & (ClockStatus.invalid | ClockStatus.doubtful)) === 0,
      offsetMs: time.epochMs - (sentAt + receivedAt) / 2,
      roundTripMs: receivedAt - sentAt,
    };
  }

  async setClock(roundTripMs: number, deadlineMs: number): Promise<void> {
    const sign = this.signer?.sign('set the clock');
    await this.run(() => {
      const value = new Uint8Array(DATE_TIME_SIZE);
      encodeDateTime(value, 0, Date.now() + roundTripMs / 2, 0, 0);
      const set = this.client.set(CLOCK_TIME, { type: 'octet-string', value });
      return sign ? this.client.signed(sign, set) : set;
    }, deadlineMs);
  }

  async readFirmware(deadlineMs: number): Promise<FirmwareReading> {
    const [id, enabled, status, refusal] = await this.inquire(() => this.client.getList(FIRMWARE), deadlineMs);
    return {
      version: /(\d+\.\d+\.\d+)$/.exec(textIn(id))?.[1] ?? null,
      isOffered: enabled?.data?.type === 'boolean' && enabled.data.value,
      status: numberIn(status) ?? ImageStatus.notInitiated,
      refusal: textIn(refusal),
    };
  }

  async sendFirmware(image: FirmwareToSend, count: number, deadlineMs: number): Promise<TransferProgress> {
    if (this.sending?.image !== image) {
      // Another content is another image, whatever version it says that it is.
      const id = asciiBytes(`${image.version} ${image.sha256.slice(0, 32)}`);
      this.sending = { image, transfer: new ImageSending({ id, bytes: image.bytes }) };
    }
    const { transfer } = this.sending;
    try {
      const isWhole = await this.run(() => transfer.send(this.client, count), deadlineMs);
      return { stored: transfer.stored, blocks: transfer.blocks, isWhole };
    } catch (error) {
      transfer.reset();
      throw error;
    }
  }

  async verifyFirmware(deadlineMs: number): Promise<void> {
    this.sending = undefined;
    await this.run(() => verifyImage(this.client), deadlineMs);
  }

  async activateFirmware(deadlineMs: number): Promise<void> {
    const sign = this.signer?.sign('activate firmware');
    await this.run(() => {
      const action = activateImage(this.client);
      return sign ? this.client.signed(sign, action) : action;
    }, deadlineMs);
  }

  /**
   * Runs an operation, in an association that is opened first when there is none. When the meter says that it holds none
   * (it restarted), the operation runs once more in a new one, unless its request may already have had an effect.
   */
  private async run<T>(operation: () => Exchange<T>, deadlineMs: number, hasEffect = true): Promise<T> {
    const deadlineAt = this.socket.now() + deadlineMs;
    this.guard();
    await this.associate(deadlineAt);
    try {
      return await this.drive(operation(), deadlineAt);
    } catch (error) {
      const isLost = error instanceof S3mpError && error.code === 'dlms.not-associated';
      if (!isLost || (hasEffect && (this.lastAnswer?.sent ?? 1) > 1)) throw error;
      await this.associate(deadlineAt);
      return await this.drive(operation(), deadlineAt);
    }
  }

  private async associate(deadlineAt: number): Promise<void> {
    if (!this.client.isAssociated) await this.drive(this.client.associate(this.socket.now()), deadlineAt);
    const update = this.update();
    if (!update) return;
    try {
      await this.drive(update(this.client), deadlineAt);
    } catch (error) {
      if (!(error instanceof DlmsError)) throw error;
      this.log.warn('the meter does not take what it was to be told', { error: error.message });
    }
  }

  private async drive<T>(operation: Exchange<T>, deadlineAt: number): Promise<T> {
    try {
      let step = operation.next();
      while (!step.done) {
        this.lastAnswer = await this.channel.exchange(step.value, deadlineAt, this.takes);
        step = operation.next(this.lastAnswer.frame);
      }
      return step.value;
    } finally {
      // Left where no answer came, it still ends what it began: nothing that follows is signed as this command was.
      operation.return(undefined as T);
    }
  }

  private pathTaken(): PathTaken | null {
    const path = this.lastAnswer?.path;
    if (path === undefined) return null;
    const report = this.report().find((r) => r.fingerprint === path.fingerprint);
    if (report === undefined) return null;
    return { fingerprint: path.fingerprint, hops: report.hops, isds: report.isds, rttMs: report.srttMs ?? null };
  }

  private report() {
    return this.channel.manager.report(this.socket.now());
  }

  async paths(): Promise<readonly PathReport[]> {
    return this.report().map(pathReport);
  }

  get pathFence(): readonly string[] {
    return this.fence.acl.map(({ text }) => text);
  }

  get pathSettings(): PathSettings | null {
    return this.settings;
  }

  setPathSettings(settings: PathSettings | null): void {
    this.channel.setRules(settings === null ? undefined : this.rulesOf(settings));
    this.settings = settings;
  }

  evaluatePaths(settings: PathSettings): readonly PathReport[] {
    return this.channel.manager.evaluate(this.rulesOf(settings), this.socket.now()).map(pathReport);
  }

  private rulesOf({ acl, sequence, pin, preference }: PathSettings): PathRules {
    return { fence: this.fence, policy: parsePolicy(acl, sequence), preference, pin: pin ?? undefined };
  }

  async close(): Promise<void> {
    this.channel.close();
    // Polite, and short: a meter that does not answer ends the association by itself.
    if (this.client.isAssociated) await this.drive(this.client.release(), this.socket.now() + 300).catch(() => {});
    this.channel.setRules(undefined);
    this.channels.remove(this.channel);
  }
}

function pathReport(r: ManagedPath): PathReport {
  return {
    fingerprint: r.fingerprint,
    hops: r.hops,
    isds: r.isds,
    rttMs: r.srttMs ?? null,
    state: r.state,
    chosen: r.chosen,
    pinned: r.pinned,
    disjoint: r.disjoint,
    forbidden: r.forbidden ?? null,
    mtu: r.mtu,
    expiresAt: r.expiryMs,
    announcedLatencyMs: r.announcedMs ?? null,
    announcedBandwidthKbit: r.bandwidthKbit ?? null,
  };
}
