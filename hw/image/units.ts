/**
 * The service units and system files of a device, as text. One source of the meter's Node flags: hw/meter-flags.ts.
 * Nothing here touches the relay: the commanded state is the firmware's, and it outlives the process.
 */

import { METER_NODE_FLAGS } from '#hw/meter-flags';

export type Device = 'firmware' | 'gateway';

export interface DeviceFacts {
  readonly service: string;
  readonly description: string;
  readonly config: string;
  readonly flags: readonly string[];
  /** Script that the run script starts Node with. */
  readonly script: string;
  readonly groups: readonly string[];
  readonly memoryMax: string;
}

export const DEVICES: Readonly<Record<Device, DeviceFacts>> = {
  firmware: {
    service: 's3mp-meter',
    description: 'S3MP smart meter',
    config: '/etc/s3mp/meter.toml',
    flags: METER_NODE_FLAGS,
    script: 'launcher.js',
    groups: ['dialout', 'gpio', 'i2c'],
    memoryMax: '160M',
  },
  gateway: {
    service: 's3mp-gateway',
    description: 'S3MP gateway',
    config: '/etc/s3mp/gateway.toml',
    flags: [],
    script: 'gateway.js',
    groups: [],
    memoryMax: '400M',
  },
};

/**
 * Sandbox of both services. `MemoryDenyWriteExecute` stays away: the JIT needs it; `ProtectClock` too: before systemd 253 it
 * closes serial port, I2C and TUN to the service (systemd issue 18142), whose user may not set the clock anyway.
 */
const SANDBOX = `NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
PrivateTmp=yes
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077
LimitCORE=0
`;

/**
 * The device's service. `Type` and the watchdog come at start from the drop-in of s3mp-setup, which knows whether the card
 * has what carries the notifications.
 */
export function serviceUnit(device: Device): string {
  const { service, description, config, groups, memoryMax } = DEVICES[device];
  const supplementary = groups.length > 0 ? `SupplementaryGroups=${groups.join(' ')}\n` : '';
  // sysfs's GPIO lines are written through /sys, which ProtectKernelTunables would close.
  const tunables = device === 'firmware' ? '' : 'ProtectKernelTunables=yes\n';
  const priority = device === 'firmware' ? 'OOMScoreAdjust=-500\nNice=-5\n' : 'OOMScoreAdjust=-500\n';
  return `[Unit]
Description=${description}
Wants=s3mp-setup.service
After=local-fs.target s3mp-setup.service network.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/opt/s3mp/bin/run run --config ${config}
Restart=always
RestartSec=2
TimeoutStopSec=10
User=s3mp
Group=s3mp
${supplementary}StateDirectory=s3mp
StateDirectoryMode=0700
RuntimeDirectory=${service}
MemoryMax=${memoryMax}
${priority}${SANDBOX}${tunables}
[Install]
WantedBy=multi-user.target
`;
}

/** Runs at every start before the service: user, state partition, read-only root. */
export const SETUP_UNIT = `[Unit]
Description=S3MP: user, state partition and read-only root
After=local-fs.target
RequiresMountsFor=/opt/s3mp

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/s3mp/bin/setup

[Install]
WantedBy=multi-user.target
`;

/** Installs the distribution's Node.js once (\`--node apt\`); the service starts by itself when it is there. */
export const NODE_UNIT = `[Unit]
Description=S3MP: install Node.js from the distribution
ConditionPathExists=!/usr/bin/node
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/bin/apt-get update
ExecStart=/usr/bin/apt-get install -y --no-install-recommends nodejs
Restart=on-failure
RestartSec=60

[Install]
WantedBy=multi-user.target
`;

/** The script that the unit starts: picks Node and its flags. `exec`, so that no shell stays behind. */
export function runScript(device: Device): string {
  const { flags, script } = DEVICES[device];
  const words = [...flags, `/opt/s3mp/${script}`].join(' ');
  return `#!/bin/sh
# Starts the ${device} with the Node.js of the card.
node=/opt/s3mp/bin/node
[ -x "$node" ] || node=$(command -v node) || { echo "s3mp: no Node.js on this card" >&2; exit 2; }
exec "$node" ${words} "$@"
`;
}

export const SYSUSERS = `# User of the S3MP services, and who may use the meter's hardware.
g dialout - -
g gpio - -
g i2c - -
g s3mp - -
u s3mp - "S3MP" /var/lib/s3mp
m s3mp dialout
m s3mp gpio
m s3mp i2c
`;

/** Raspberry Pi OS has such rules for its own groups; other systems have not. */
export const UDEV_RULES = `# Hardware of the S3MP meter for its groups.
SUBSYSTEM=="i2c-dev", GROUP="i2c", MODE="0660"
SUBSYSTEM=="gpio", KERNEL=="gpiochip*", GROUP="gpio", MODE="0660"
SUBSYSTEM=="graphics", KERNEL=="fb*", GROUP="i2c", MODE="0660"
SUBSYSTEM=="watchdog", KERNEL=="watchdog0", GROUP="s3mp", MODE="0660"
SUBSYSTEM=="gpio", ACTION=="add", PROGRAM="/bin/sh -c 'chgrp -R gpio /sys/class/gpio /sys%p; chmod -R g=u /sys/class/gpio /sys%p'"
SUBSYSTEM=="leds", ACTION=="add", PROGRAM="/bin/sh -c 'chgrp -R gpio /sys%p; chmod -R g=u /sys%p'"
`;

/** The chip's longest time is 15 s. */
export const SYSTEM_CONF = '[Manager]\nRuntimeWatchdogSec=14s\nRebootWatchdogSec=14s\n';
export const JOURNALD_CONF = '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n';
export const MODULES = 'i2c-dev\n';
