/** Configuration keys of the meter. */

import type { ConfigSpec } from '#hw/config';
import { DISPLAY_DRIVERS } from '#hw/display/open';
import { CONTROLLERS } from '#hw/display/ssd1306';
import { RELAY_DRIVERS } from '#hw/relay/open';
import { SERIAL_DRIVERS } from '#hw/serial/open';
import { WATCHDOG_DRIVERS } from '#hw/watchdog';
import { REGISTER_MAPS } from '#modbus/maps/index';
import { FRESH_LIMIT_MS } from './measurement-image.ts';

export const FIRMWARE_CONFIG: ConfigSpec = {
  'meter.serial': {
    type: 'string',
    help: 'serial number of this meter, at most 13 characters',
    default: '0000000000001',
    form: [/^[!-~]{1,13}$/, '1 to 13 letters or digits of ASCII'],
  },

  'serial.url': {
    type: 'string',
    help: 'the energy meter: a serial port (/dev/ttyAMA0) or raw RTU over TCP (tcp://HOST:PORT)',
    default: '/dev/serial0',
    form: [/^(\/|tcp:\/\/.+:\d{1,5}$)/, '/dev/… or tcp://HOST:PORT'],
  },
  'serial.baud': { type: 'integer', help: 'bits per second', default: 9600, min: 1200, max: 115_200 },
  'serial.parity': { type: 'string', help: 'parity', default: 'even', choices: ['none', 'even', 'odd'] },
  'serial.stop_bits': { type: 'integer', help: 'stop bits of a character', default: 1, min: 1, max: 2 },
  'serial.driver': {
    type: 'string',
    help: 'what drives the serial port: auto takes tty (stty, no addon) where serialport cannot be loaded',
    default: 'auto',
    choices: SERIAL_DRIVERS,
  },
  'serial.unit': { type: 'integer', help: 'Modbus unit address of the energy meter', default: 1, min: 1, max: 247 },
  'serial.map': {
    type: 'string',
    help: 'register map of the energy meter',
    default: 'or-we-514',
    choices: REGISTER_MAPS.map(({ name }) => name),
  },
  'serial.further': {
    type: 'strings',
    help: 'further energy meters on the bus, each "UNIT" or "UNIT:MAP"; their registers are those of channel 1, 2 …',
    form: [/^\d{1,3}(:[a-z0-9-]+)?$/, 'UNIT or UNIT:MAP'],
  },
  'serial.timeout_ms': { type: 'integer', help: 'longest wait for an answer', default: 600, min: 10, max: 10_000 },
  'serial.cycle_ms': {
    type: 'integer',
    help: 'shortest time between two polls; 0 polls as fast as the bus allows',
    default: 0,
    min: 0,
    max: FRESH_LIMIT_MS / 2,
  },

  'relay.driver': {
    type: 'string',
    help: 'what switches the load: auto takes led where there is one of that name, else sysfs',
    default: 'none',
    choices: RELAY_DRIVERS,
  },
  'relay.path': { type: 'string', help: 'folder of the relay twin (driver sim)' },
  'relay.pin': { type: 'integer', help: 'BCM number of the pin (drivers sysfs, onoff)', default: 17, min: 0, max: 53 },
  'relay.chip': { type: 'string', help: "label of the pin's GPIO chip, where it is none of a Raspberry Pi" },
  'relay.led': { type: 'string', help: 'label that the gpio-led overlay gives the pin (driver led)', default: 'relay' },
  'relay.energised': {
    type: 'string',
    help: 'what a high pin does to the load; without power the opposite holds',
    default: 'disconnects',
    choices: ['disconnects', 'connects'],
  },
  'relay.dwell_ms': {
    type: 'integer',
    help: 'shortest time between two movements of the contact',
    default: 1_000,
    min: 0,
    max: 600_000,
  },
  'relay.disconnects_per_hour': {
    type: 'integer',
    help: 'most disconnections in an hour; reconnections have no limit',
    default: 30,
    min: 1,
    max: 3600,
  },
  'display.driver': {
    type: 'string',
    help: 'what shows messages: auto takes the framebuffer of the ssd1306 overlay, else I2C',
    default: 'none',
    choices: DISPLAY_DRIVERS,
  },
  'display.path': { type: 'string', help: 'folder of the display twin (driver sim)' },
  'display.bus': { type: 'integer', help: 'number of the I2C bus', default: 1, min: 0, max: 255 },
  'display.address': { type: 'integer', help: 'I2C address: 60 is 0x3c, 61 is 0x3d', default: 0x3c, min: 8, max: 119 },
  'display.controller': { type: 'string', help: 'chip of the display', default: 'ssd1306', choices: CONTROLLERS },
  'display.height': { type: 'integer', help: 'rows of pixels: 64 or 32', default: 64, min: 32, max: 64 },

  'watchdog.driver': {
    type: 'string',
    help: 'what restarts a meter that hangs: auto is systemd where it started the meter',
    default: 'auto',
    choices: WATCHDOG_DRIVERS,
  },
  'watchdog.device': { type: 'string', help: 'watchdog of the kernel (driver device)', default: '/dev/watchdog' },

  'scion.topology': { type: 'string', help: "topology.json of this meter's AS", default: '/etc/scion/topology.json' },
  'scion.address': {
    type: 'string',
    help: 'own IP address on the power-line LAN',
    form: [/^(\d{1,3}(\.\d{1,3}){3}|[\da-f.]*:[\da-f:.]*)$/i, 'an IP address'],
  },
  'scion.port': { type: 'integer', help: 'UDP port of the DLMS server', default: 4059, min: 0, max: 65_535 },

  'dlms.tcp_address': {
    type: 'string',
    help: 'HOST:PORT of DLMS over TCP (wrapper and HDLC) for legacy clients; empty keeps it off',
    default: '',
  },
  'dlms.udp_address': {
    type: 'string',
    help: 'HOST:PORT of the DLMS wrapper over plain UDP, for laboratories; empty keeps it off',
    default: '',
  },
  'dlms.key_file': {
    type: 'string',
    help: 'keys of client 1 (TOML, mode 0600); without it they come from certificates, once the meter is enrolled',
  },
  'enrolment.enabled': {
    type: 'boolean',
    help: 'without a key file, make keys and show a one-time code under which the head end enrols this meter',
    default: true,
  },
  'dlms.commands': {
    type: 'string',
    help: 'what switches the supply: signed by a command key, or any association with the right',
    default: 'signed',
    choices: ['signed', 'association'],
  },
  'dlms.command_key_file': {
    type: 'string',
    help: 'public key, or command certificate with its chain and revocation lists (PEM), whose signature commands need',
  },
  'dlms.root_file': {
    type: 'string',
    help: 'root (PEM) that the certificate in dlms.command_key_file must lead to',
  },
  'dlms.public_over_scion': {
    type: 'boolean',
    help: 'also offer the public client 16 over SCION; head ends with keys do not need it there',
    default: false,
  },
  'dlms.password_file': {
    type: 'string',
    help: 'file with the LLS password of client 17, mode 0600; without it that client is not offered',
  },
  'clock.source': {
    type: 'string',
    help: 'what the time is after a power failure: the last trusted time until somebody sets it (bound), or the host clock, for laboratories (system)',
    default: 'bound',
    choices: ['bound', 'system'],
  },
  'image.release_key_file': {
    type: 'string',
    help: 'public key (PEM) that firmware images must be signed with; without it none is taken',
  },
  'state.directory': { type: 'string', help: 'folder for what must survive a restart', default: '/var/lib/s3mp' },
};
