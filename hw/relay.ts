/**
 * The contact that connects the load. De-energised means connected: no failure of power, process or driver moves it to
 * disconnected (normally closed or latching contact).
 */
export interface Relay {
  /** Name of the driver, for people. */
  readonly kind: string;
  /** @throws S3mpError `relay.failed` when the driver cannot switch; the contact then stays as it is */
  set(connected: boolean): void;
  /** Reads the contact back, not the last command. */
  isConnected(): boolean;
  close(): void;
}

/** A meter without a contact: always connected. */
export const noRelay: Relay = { kind: 'none', set: () => {}, isConnected: () => true, close: () => {} };
