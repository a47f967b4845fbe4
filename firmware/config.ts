/** Configuration keys of the meter. */

import { type ConfigSpec, type KeySpec, text, whole } from '#hw/config';
import { DISPLAY_DRIVERS } from '#hw/display/open';
import { CONTROLLERS } from '#hw/display/ssd1306';
import { RELAY_DRIVERS } from '#hw/relay/open';
import { BUS_URL, isBusUrl, SERIAL_DRIVERS } from '#hw/serial/open';
import { WATCHDOG_DRIVERS } from '#hw/watchdog';
import { REGISTER_MAPS } from '#modbus/maps/index';
import { parseIp, parseIpPort } from '#scion/ip';
import { FRESH_LIMIT_MS } from './measurement-image.ts';

/** Others reach no meter at the unspecified address. */
const isHostIp = (text: string): boolean => parseIp(text)?.some((byte) => byte !== 0) === true;

const PLACE: KeySpec['form'] = [{ test: isPlace }, 'IP:PORT or [IPv6]:PORT'];

function isPlace(text: string): boolean {
  try {
    return text === '' || parseIpPort(text) !== undefined;
  } catch {
    return false;
  }
}

export const FIRMWARE_CONFIG: ConfigSpec = {
  'meter.serial': {
    ...text('serial number of this meter, at most 13 characters', '0000000000001'),
    form: [/^[!-~]{1,13}$/, '1 to 13 letters or digits of ASCII'],
  },

  'serial.url': {
    ...text('the energy meter: a serial port (/dev/ttyAMA0) or raw RTU over TCP (tcp://HOST:PORT)', '/dev/serial0'),
    form: [{ test: isBusUrl }, BUS_URL],
  },
  'serial.baud': whole('bits per second', 9600, 1200, 115_200),
  'serial.parity': text('parity', 'even', ['none', 'even', 'odd']),
  'serial.stop_bits': whole('stop bits of a character', 1, 1, 2),
  'serial.driver': text(
    'what drives the serial port: auto takes tty (stty, no addon) where serialport cannot be loaded',
    'auto',
    SERIAL_DRIVERS,
  ),
  'serial.unit': whole('Modbus unit address of the energy meter', 1, 1, 247),
  'serial.map': text(
    'register map of the energy meter',
    'or-we-514',
    REGISTER_MAPS.map(({ name }) => name),
  ),
  'serial.further': {
    type: 'strings',
    help: 'further energy meters on the bus, each "UNIT" or "UNIT:MAP"; their registers are those of channel 1, 2 …',
  },
  'serial.timeout_ms': whole('longest wait for an answer', 600, 10, 10_000),
  'serial.cycle_ms': whole(
    'shortest time between two polls; 0 polls as fast as the bus allows',
    0,
    0,
    FRESH_LIMIT_MS / 2,
  ),

  'relay.driver': text(
    'what switches the load: auto takes led where there is one of that name, else sysfs',
    'none',
    RELAY_DRIVERS,
  ),
  'relay.path': text('folder of the relay twin (driver sim)'),
  'relay.pin': whole('BCM number of the pin (drivers sysfs, onoff)', 17, 0, 53),
  'relay.chip': text("label of the pin's GPIO chip, where it is none of a Raspberry Pi"),
  'relay.led': text('label that the gpio-led overlay gives the pin (driver led)', 'relay'),
  'relay.energised': text('what a high pin does to the load; without power the opposite holds', 'disconnects', [
    'disconnects',
    'connects',
  ]),
  'relay.dwell_ms': whole('shortest time between two movements of the contact', 1_000, 0, 600_000),
  'relay.disconnects_per_hour': whole('most disconnections in an hour; reconnections have no limit', 30, 1, 3600),
  'display.driver': text(
    'what shows messages: auto takes the framebuffer of the ssd1306 overlay, else I2C',
    'none',
    DISPLAY_DRIVERS,
  ),
  'display.path': text('folder of the display twin (driver sim)'),
  'display.bus': whole('number of the I2C bus', 1, 0, 255),
  'display.address': whole('I2C address: 60 is 0x3c, 61 is 0x3d', 0x3c, 8, 119),
  'display.controller': text('chip of the display', 'ssd1306', CONTROLLERS),
  'display.height': whole('rows of pixels: 64 or 32', 64, 32, 64),

  'watchdog.driver': text(
    'what restarts a meter that hangs: auto is systemd where it started the meter',
    'auto',
    WATCHDOG_DRIVERS,
  ),
  'watchdog.device': text('watchdog of the kernel (driver device)', '/dev/watchdog'),

  'scion.topology': text("topology.json of this meter's AS", '/etc/scion/topology.json'),
  'scion.address': {
    ...text('own IP address on the power-line LAN'),
    form: [{ test: isHostIp }, 'an IP address'],
  },
  'scion.port': whole('UDP port of the DLMS server', 4059, 0, 65_535),

  'dlms.tcp_address': {
    ...text('HOST:PORT of DLMS over TCP (wrapper and HDLC) for legacy clients; empty keeps it off', ''),
    form: PLACE,
  },
  'dlms.udp_address': {
    ...text('HOST:PORT of the DLMS wrapper over plain UDP, for laboratories; empty keeps it off', ''),
    form: PLACE,
  },
  'dlms.key_file': text(
    'keys of client 1 (TOML, mode 0600); without it they come from certificates, once the meter is enrolled',
  ),
  'enrolment.enabled': {
    type: 'boolean',
    help: 'without a key file, make keys and show a one-time code under which the head end enrols this meter',
    default: true,
  },
  'dlms.commands': text(
    'what switches the supply: signed by a command key, or any association with the right',
    'signed',
    ['signed', 'association'],
  ),
  'dlms.command_key_file': text(
    'public key, or command certificate with its chain and revocation lists (PEM), whose signature commands need',
  ),
  'dlms.root_file': text('root (PEM) that the certificate in dlms.command_key_file must lead to'),
  'dlms.public_over_scion': {
    type: 'boolean',
    help: 'also offer the public client 16 over SCION; head ends with keys do not need it there',
    default: false,
  },
  'dlms.password_file': text(
    'file with the LLS password of client 17, mode 0600; without it that client is not offered',
  ),
  'clock.source': text(
    'what the time is after a power failure: the last trusted time until somebody sets it (bound), or the host clock, for laboratories (system)',
    'bound',
    ['bound', 'system'],
  ),
  'image.release_key_file': text('public key (PEM) that firmware images must be signed with; without it none is taken'),
  'state.directory': text('folder for what must survive a restart', '/var/lib/s3mp'),
};
