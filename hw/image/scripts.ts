/** Shell scripts that run on the board. They are plain sh, idempotent, and never a reason for the meter not to start. */

import { DEVICES, type Device } from './units.ts';

export const STATE_LABEL = 's3mp-state';
/** addons that are compiled on the board, tied to its Node.js. */
const ADDONS = ['i2c-bus@5.2.3', 'onoff@6.0.3'];

/**
 * s3mp-setup: at every start. The state partition is the blank third partition that flash has made, formatted once. When it
 * is in use, the root becomes read-only from the next start on; without it the root stays writable and holds the state.
 */
export function setupScript(device: Device, needsNode: boolean): string {
  const { service } = DEVICES[device];
  return `#!/bin/sh
# S3MP: prepares this board for the ${service} service. Runs at every start, changes nothing twice.
say() { echo "s3mp-setup: $*"; }

# The user exists before anything is given to it.
id s3mp >/dev/null 2>&1 || systemd-sysusers /etc/sysusers.d/s3mp.conf || say "cannot make the user s3mp"

# Flash wears out by swapping.
swapoff -a 2>/dev/null

# State partition: by its label, or the blank one behind the root.
state=/dev/disk/by-label/${STATE_LABEL}
mkdir -p /var/lib/s3mp
if ! mountpoint -q /var/lib/s3mp; then
  root=$(findmnt -no SOURCE /ro 2>/dev/null || findmnt -no SOURCE /)
  case "$root" in
    /dev/*2) third=\${root%2}3 ;;
    *) third= ;;
  esac
  # The link is udev's, which may be behind on a slow board.
  [ -e "$state" ] || udevadm settle --timeout=30
  if [ ! -e "$state" ] && [ -b "$third" ]; then
    if [ "$(blkid -p -o value -s LABEL "$third")" = ${STATE_LABEL} ]; then
      state=$third
    elif [ -z "$(blkid -p -o value -s TYPE "$third")" ] &&
      [ "$(head -c 1048576 "$third" | tr -d '\\000' | wc -c)" -eq 0 ]; then
      say "formatting $third for the state"
      mkfs.ext4 -q -L ${STATE_LABEL} "$third" && udevadm settle
      [ -e "$state" ] || state=$third
    fi
  fi
  if [ -e "$state" ]; then
    e2fsck -p "$state" >/dev/null
    mount -o noatime,nodev,nosuid,data=ordered,commit=5 "$state" /var/lib/s3mp || say "the state partition cannot be mounted"
  fi
fi
chown s3mp:s3mp /var/lib/s3mp 2>/dev/null

# Secrets belong to the service alone.
for keys in /etc/s3mp/keys /etc/scion/keys /etc/scion/crypto; do
  [ -d "$keys" ] || continue
  chmod -R go= "$keys"
  chown -R s3mp:s3mp "$keys" || say "$keys cannot be given to the user s3mp"
done

# What carries READY and the watchdog's sign of life from Node to systemd.
drop=/run/systemd/system/${service}.service.d
# Only a bundle that notifies is waited for. systemd-notify of 254 and newer waits until it was heard, and will do as well.
version=$(systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p')
if ! grep -q NOTIFY_SOCKET /opt/s3mp/${device}.js; then
  say "this bundle does not notify: the service runs without systemd's watchdog"
elif command -v socat >/dev/null || [ "\${version:-0}" -ge 254 ]; then
  mkdir -p "$drop"
  printf '[Service]\\nType=notify\\nNotifyAccess=all\\nWatchdogSec=30\\n' >"$drop/10-notify.conf"
  systemctl daemon-reload
else
  say "no socat, and systemd is older than 254: the service runs without systemd's watchdog"
fi

# From the next start on nothing but the state partition is written.
boot=/boot/firmware
[ -f "$boot/cmdline.txt" ] || boot=/boot
if grep -qw init=/opt/s3mp/bin/overlay-init /proc/cmdline; then
  mount -o remount,ro "$boot" 2>/dev/null
elif mountpoint -q /var/lib/s3mp && [ -f "$boot/cmdline.txt" ] && ! grep -q ' init=' "$boot/cmdline.txt"${needsNode ? ' && [ -x /usr/bin/node ]' : ''}; then
  say "the root will be read-only from the next start on"
  sed 's#$# init=/opt/s3mp/bin/overlay-init#' "$boot/cmdline.txt" >"$boot/cmdline.new" &&
    sync && mv "$boot/cmdline.new" "$boot/cmdline.txt" && sync
fi
exit 0
`;
}

/**
 * PID 1 for a moment: a RAM file system over the read-only root (overlayfs), then the real init. The root is below /ro.
 * Any trouble starts the system as it is on the card.
 */
export const OVERLAY_INIT = `#!/bin/sh
# S3MP: read-only root. To change the card: mount -o remount,rw /ro, then chroot /ro.
plain() {
  echo "s3mp: the root is not overlaid: $1" >/dev/kmsg 2>/dev/null
  exec /sbin/init
}
[ $$ -eq 1 ] || { echo "this is for the kernel" >&2; exit 2; }
mountpoint -q /proc || mount -t proc proc /proc
grep -qw overlay /proc/filesystems || modprobe overlay || plain "no overlayfs in this kernel"
mount -t tmpfs -o mode=0755,size=50% s3mp-root /mnt || plain "no RAM file system"
mkdir /mnt/upper /mnt/work /mnt/root || plain "no folders"
mount -o remount,ro / 2>/dev/null
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root || plain "the overlay fails"
# The root must not be remounted from the card's own table.
sed -i '/^[^#[:space:]]\\+[[:space:]]\\+\\/[[:space:]]/d' /mnt/root/etc/fstab
mkdir -p /mnt/root/ro
for tree in dev sys run proc; do
  mkdir -p "/mnt/root/$tree"
  mountpoint -q "/$tree" && mount --move "/$tree" "/mnt/root/$tree"
done
cd /mnt/root && pivot_root . ro || plain "the root cannot be changed"
exec chroot . /sbin/init <dev/console >dev/console 2>&1
`;

/** Builds the compiled addons once; without them the meter uses what the kernel offers. */
export const BUILD_ADDONS = `#!/bin/sh
# Compiles i2c-bus and onoff for the Node.js of this card: once, as root, with the network up. Takes some minutes on a Zero.
# The meter works without them; its self-test shows which drivers are in use.
set -e
[ "$(id -u)" -eq 0 ] || { echo "run it as root" >&2; exit 2; }
if grep -qw init=/opt/s3mp/bin/overlay-init /proc/cmdline; then
  echo "the root is read-only: mount -o remount,rw /ro; chroot /ro /opt/s3mp/bin/s3mp-build-addons; reboot" >&2
  exit 2
fi
cd /opt/s3mp
PATH=/opt/s3mp/bin:$PATH
if node -e 'require("i2c-bus"); require("onoff")' 2>/dev/null; then
  echo "the addons are there and load"
  exit 0
fi
command -v npm >/dev/null && command -v g++ >/dev/null && command -v python3 >/dev/null || {
  apt-get update
  apt-get install -y --no-install-recommends npm g++ make python3
}
npm install --prefix /opt/s3mp --no-save --no-package-lock --no-audit --no-fund ${ADDONS.join(' ')}
node -e 'require("i2c-bus"); require("onoff")'
echo "the addons are built; restart the service: systemctl restart s3mp-meter"
`;

/**
 * install.sh on the boot partition: puts what lies in s3mp/root in place, with owner and mode from files.txt, checked by
 * SHA-256; keys that are there already stay. S3MP_ROOT moves the target, for tests.
 *
 *   files.txt:  f MODE SHA-256 PATH | k MODE SHA-256 PATH (secret) | l TARGET PATH | d MODE PATH
 */
export const INSTALL_SCRIPT = `#!/bin/sh
# S3MP: installs what flash has put beside this script. Runs once at the first boot, by hand as often as wanted.
here=$(cd "$(dirname "$0")" && pwd)
root=\${S3MP_ROOT:-}
hook='systemd.run=[^ ]*/s3mp/install.sh'
say() { echo "s3mp-install: $*"; }
# The system that is there starts without systemd.run: neither success nor failure is repeated for ever.
boot=$(dirname "$here")
hooked() { [ -z "$root" ] && grep -q "$hook" "$boot/cmdline.txt"; }
unhook() {
  hooked || return 0
  sed 's# systemd\\.run=[^ ]*##; s# systemd\\.run_success_action=[^ ]*##; s# systemd\\.unit=kernel-command-line.target##' \\
    "$boot/cmdline.txt" >"$boot/cmdline.new" && sync && mv "$boot/cmdline.new" "$boot/cmdline.txt"
  sync
}
# systemd turns the board off when its command fails; what is on the card shall start instead.
fail() {
  say "$*"
  [ -n "$root" ] || echo "$*" >"$here/failed.txt"
  unhook
  [ -z "$root" ] && grep -q "$hook" /proc/cmdline && ! hooked && exit 0
  exit 1
}
own() { [ "$(id -u)" -ne 0 ] || chown root:root "$1"; }
rm -f "$here/failed.txt"
[ -f "$here/files.txt" ] || fail "files.txt is missing: flash the card again"
rekey=no
[ -f "$here/rekey" ] && rekey=yes
while read -r kind first second third; do
  case "$kind" in
    d) mkdir -p "$root$second" && chmod "$first" "$root$second" && own "$root$second" || fail "cannot make $second" ;;
    l) mkdir -p "$(dirname "$root$second")" && ln -sfn "$first" "$root$second" || fail "cannot link $second" ;;
    f | k)
      target=$root$third
      source=$here/root$third
      if [ "$kind" = k ] && [ -f "$target" ] && [ "$rekey" = no ]; then
        rm -f "$source"
        continue
      fi
      if [ ! -f "$source" ]; then
        [ -f "$target" ] && continue
        fail "$third is missing on the boot partition: flash the card again"
      fi
      mkdir -p "$(dirname "$target")"
      cp "$source" "$target.new" || fail "cannot write $third: is the card full?"
      [ "$(sha256sum <"$target.new" | cut -d' ' -f1)" = "$second" ] || fail "$third is damaged: flash the card again"
      chmod "$first" "$target.new" && own "$target.new" && mv "$target.new" "$target" || fail "cannot place $third"
      # A secret does not stay where every reader of the card finds it.
      [ "$kind" = k ] && rm -f "$source" ;;
    '' | '#') ;;
    *) fail "files.txt has a line that is not understood: flash the card again" ;;
  esac
done <"$here/files.txt"
rm -f "$here/rekey"
if [ -z "$root" ]; then
  unhook
  # Off is better than a start that installs for ever.
  hooked && fail "cannot write cmdline.txt: is the boot partition full or read-only?"
  sync
  # By hand: start what was installed. After systemd.run the system starts again anyway.
  if ! grep -q systemd.run= /proc/cmdline; then
    systemctl daemon-reload
    udevadm control --reload
    systemctl --no-block start multi-user.target
  fi
fi
say "done"
exit 0
`;
