/** What the meter's model reaches outside itself, what it offers, and what its parts share. */

import type { SteadyClock } from '#base/crypto';
import type { OfferedAssociation } from '#dlms/cosem/association-ln';
import type { CertificateManager } from '#dlms/cosem/certificate-setup';
import type { ClockReading, MeterClock } from '#dlms/cosem/clock';
import type { DisconnectControl, RelayGuard } from '#dlms/cosem/disconnect-control';
import type { ImageOptions, ImageSlot } from '#dlms/cosem/image-transfer';
import type { CommandPolicy, LogicalDevice } from '#dlms/cosem/logical-device';
import type { ProfileStore } from '#dlms/cosem/profile-store';
import type { PushSender } from '#dlms/cosem/push-setup';
import type { SettingStore } from '#dlms/cosem/setting';
import type { ServerSecurity } from '#dlms/security';
import type { ServerEvent } from '#dlms/server';
import type { EventLogs } from './events.ts';
import type { MeasurementImage, Quantity } from './measurement-image.ts';

export interface MeterIdentity {
  /** Serial number, at most 13 ASCII characters. */
  readonly serial: string;
  /** Equipment identifier printed on the meter; the serial number by default. */
  readonly equipmentId?: string;
  /** Serial number of the energy meter on the bus, when it is known. */
  readonly moduleSerial?: string;
  /** Name and version of this firmware. */
  readonly firmwareId: string;
}

/** Everything that the meter's objects reach outside themselves. */
export interface MeterPort {
  readonly image: MeasurementImage;
  /** What the energy meter has beside the quantities of every meter: further phases, tariffs. */
  readonly extras?: readonly Quantity[];
  /** Images of further energy meters on the bus: their registers are those of channel 1 and on, 1-1:1.8.0.255. */
  readonly further?: readonly MeasurementImage[];
  readonly relay: RelayGuard;
  /** Text for the customer; whoever holds it also shows it. */
  readonly message: {
    get(): string;
    /** @returns false when it could not be stored and is not taken */
    set(text: string): boolean;
  };
  /** Wall clock and whether it has been set. */
  readonly wallClock: () => ClockReading;
  /** Sets the wall clock; without it clients cannot. @returns whether the time is plausible and was taken */
  readonly setTime?: (epochMs: number) => boolean;
  /** The clock of the image's time stamps. */
  readonly steadyClock: SteadyClock;
  readonly identity: MeterIdentity;
  /** What clients set, kept over a restart. */
  readonly settings: SettingStore;
  /** Storage of a profile's or log's rows. */
  readonly openStore: (name: string, rowSize: number, rows: number, layout: string) => ProfileStore;
  /** Whether the storage works: without it nothing can be recorded. Default: it does. */
  readonly isStorageFailing?: () => boolean;
  /** Looks at all parts but the contact; its result is an object to be read. */
  readonly selfTest?: () => string;
  /** Room for a firmware image; without it there is no image transfer. */
  readonly imageSlot?: ImageSlot;
  /** Who judges and starts images. */
  readonly images?: Pick<ImageOptions, 'judge' | 'activate' | 'status' | 'isEnabled'> & {
    /** Why the last image was refused; empty when it was not. */
    readonly refusal?: () => string;
  };
  /** Carries pushes; without it there are none. */
  readonly sendPush?: PushSender;
  /** 0…1, to spread pushes. */
  readonly random?: () => number;
  /** The associations that the server offers, for the list of associations. */
  readonly associations?: readonly OfferedAssociation[];
  /** Keys of the management client; without them it is not offered, nor are the objects of keys. */
  readonly security?: ServerSecurity | undefined;
  /** Holds the certificates that the keys come from; without it they stand in a file. */
  readonly certificates?: CertificateManager | undefined;
  /** Whether what can switch the supply must be signed. Default: the association is enough. */
  readonly commands?: CommandPolicy;
  /** IPv4 address as a number, port and limits of the DLMS server. */
  readonly network?: { readonly ipv4: number; readonly port: number; readonly maxPdu: number };
}

/** The model with what drives it. */
export interface Meter {
  readonly device: LogicalDevice;
  readonly clock: MeterClock;
  readonly events: EventLogs;
  readonly control: DisconnectControl;
  /** Does what is due. About once a second. */
  tick(): void;
  /** Puts what the DLMS server reports into the event logs. */
  onServerEvent(event: ServerEvent): void;
}

/** Everything that the parts below share. */
export interface Parts {
  readonly port: MeterPort;
  readonly device: LogicalDevice;
  readonly clock: MeterClock;
  readonly settings: SettingStore;
  readonly openStore: (name: string, rowSize: number, rows: number, layout: string) => ProfileStore;
  readonly events: EventLogs;
}
