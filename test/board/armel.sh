#!/usr/bin/env bash
# Makes what the emulated ARMv6 tests run on, from Debian's armel packages: no foreign architecture is added to the
# machine, nothing is installed, root is not needed.
#
#   armel.sh DIR          DIR/root     tree with Node 20 for ARMv6 (soft float), run by qemu-arm
#   armel.sh DIR kernel   and DIR/boot: kernel, device tree, an initramfs with busybox and that Node; DIR/modules
#   armel.sh DIR systemd  and DIR/system: tree with systemd beside Node, for a root file system
#
# The mirror is the one this machine's own apt uses for Debian. A part that is there already is kept.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
want=${2:-node}
release=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "armel: $*" >&2; }
have() { [[ -f $dir/$1.done ]]; }

mirrors() {
  # SITE of every index that is Debian's own, most used first.
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "Debian" && $2 !~ /security/ { n[$2]++ } END { for (u in n) print n[u], u }' | sort -rn | cut -d' ' -f2
}

prepare_apt() {
  local apt=$dir/apt
  mkdir -p "$apt"/etc/apt/{apt.conf.d,preferences.d} "$apt"/var/lib/apt/lists/partial "$apt"/var/lib/dpkg \
    "$apt"/var/cache/apt/archives/partial
  : >"$apt/var/lib/dpkg/status"
  cat >"$apt/apt.conf" <<CONF
Dir "$apt/";
APT::Architecture "armel";
APT::Architectures { "armel"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
  # The alias helps where a mirror is being renewed: its index may name packages under one name that it has under the other only.
  local mirror
  for mirror in $(mirrors); do sources+=("$mirror $release" "$mirror stable"); done
}

# next_source: goes on to the next mirror and suite whose index answers.
next_source() {
  local apt=$dir/apt
  while ((${#sources[@]} > 0)); do
    echo "deb [signed-by=$keyring] ${sources[0]} main" >"$apt/etc/apt/sources.list"
    sources=("${sources[@]:1}")
    rm -f "$apt"/var/lib/apt/lists/*InRelease
    if APT_CONFIG=$apt/apt.conf apt-get update -qq >&2 &&
      grep -qx "Codename: $release" "$apt"/var/lib/apt/lists/*InRelease; then
      return 0
    fi
  done
  say "no mirror of Debian $release has it all: look at apt's own sources"
  return 1
}

# download NAME PACKAGE...: of one source.
download() {
  local name=$1
  shift
  export APT_CONFIG=$dir/apt/apt.conf
  apt-get -s install "$@" | awk '/^Inst/ { print $2 }' | grep -xE "${only:-.*}" >"$dir/$name.packages" &&
    (cd "$dir/debs" && xargs apt-get download -qq <"$dir/$name.packages" >&2)
}

# fetch NAME PACKAGE...: downloads the packages with all they depend on (of these, what `only` matches) into DIR/debs and
# lists the files.
fetch() {
  mkdir -p "$dir/debs"
  if [[ -z ${apt_ready:-} ]]; then
    sources=()
    prepare_apt
    next_source
    apt_ready=yes
  fi
  # In a shell of its own, since mirrors() reads the machine's own apt.
  until (download "$@"); do
    # Of one source only: what another has may be another version.
    rm -f "$dir"/debs/*
    next_source
  done
}

# unpack NAME TREE: the packages of that list into TREE.
unpack() {
  local package file
  mkdir -p "$2"
  while read -r package; do
    for file in "$dir/debs/${package}"_*.deb; do dpkg-deb -x "$file" "$2"; done
  done <"$dir/$1.packages"
}

merge_usr() {
  # Debian 13's packages keep everything below usr.
  local name
  for name in lib bin sbin; do
    mkdir -p "$1/usr/$name"
    [[ -e $1/$name ]] || ln -s "usr/$name" "$1/$name"
  done
}

USB_MODULES='mii usbnet cdc_ether'
EXT4_MODULES='crc32c_generic crc16 mbcache jbd2 ext4'

# plain_modules FOLDER NAME...: modules of the kernel, not compressed.
plain_modules() {
  local folder=$1 name
  shift
  mkdir -p "$folder"
  for name in "$@"; do xz -dc "$(find "$dir/modules" -name "$name.ko.xz")" >"$folder/$name.ko"; done
}

# What every boot has; a test adds a second archive with the meter and its settings.
make_initramfs() {
  local tree libs=usr/lib/arm-linux-gnueabi
  tree=$(mktemp -d "$dir/initramfs.XXXXXX")
  merge_usr "$tree"
  mkdir -p "$tree"/{dev,proc,sys,run,tmp,etc,var/lib,"$libs",lib/modules,usr/share}
  cp "$dir/busybox" "$tree/usr/bin/"
  cp "$dir/root/usr/bin/node" "$tree/usr/bin/"
  cp -a "$dir/root/$libs"/*.so* "$tree/$libs/"
  cp -a "$dir"/root/usr/lib/ld-linux* "$tree/usr/lib/"
  cp -a "$dir/root/usr/share/nodejs" "$tree/usr/share/"
  rm -rf "$tree"/usr/share/nodejs/{corepack,@types}
  plain_modules "$tree/lib/modules" $USB_MODULES
  (cd "$tree" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >"$dir/boot/initramfs.cpio"
  rm -rf "$tree"
}

if ! have node; then
  say "Node for ARMv6 ($release)"
  fetch node nodejs libatomic1
  merge_usr "$dir/root"
  unpack node "$dir/root"
  rm -rf "$dir"/root/usr/share/{doc,man,locale}
  touch "$dir/node.done"
fi

if [[ $want == kernel || $want == systemd ]] && ! have kernel; then
  say "kernel of the Pi Zero ($release)"
  only='linux-image-.*|busybox-static'
  fetch kernel linux-image-rpi busybox-static
  tree=$(mktemp -d "$dir/kernel.XXXXXX")
  unpack kernel "$tree"
  cp "$tree/usr/bin/busybox" "$dir/busybox"
  mkdir -p "$dir/boot"
  cp "$tree"/boot/vmlinuz-* "$dir/boot/kernel.img"
  find "$tree" -name 'bcm2835-rpi-zero.dtb' -exec cp {} "$dir/boot/" \;
  cp "$tree"/boot/config-* "$dir/boot/config"
  rm -rf "$dir/modules"
  basename "$(echo "$tree"/usr/lib/modules/*)" >"$dir/boot/release"
  mv "$(echo "$tree"/usr/lib/modules/*)" "$dir/modules"
  rm -rf "$tree"
  make_initramfs
  plain_modules "$dir/boot/ext4" $EXT4_MODULES
  touch "$dir/kernel.done"
fi

if [[ $want == systemd ]] && ! have systemd; then
  say "systemd ($release)"
  only=
  fetch systemd nodejs libatomic1 systemd systemd-sysv udev base-files dash bash coreutils util-linux mount sed grep \
    e2fsprogs kmod socat
  rm -rf "$dir/system"
  merge_usr "$dir/system"
  unpack systemd "$dir/system"
  rm -rf "$dir"/system/usr/share/{doc,man,locale,info,zoneinfo,i18n} "$dir"/system/usr/lib/arm-linux-gnueabi/gconv
  rm -rf "$dir"/system/usr/lib/udev/hwdb.d
  modules=$dir/system/usr/lib/modules/$(cat "$dir/boot/release")
  mkdir -p "$modules"
  cp "$dir"/modules/modules.* "$modules/"
  plain_modules "$modules" $USB_MODULES $EXT4_MODULES fat vfat nls_ascii nls_cp437 nls_utf8 overlay autofs4 i2c-dev
  # The board's own depmod, since the machine need not have one.
  qemu-arm-static -0 depmod -L "$dir/system" -E LD_LIBRARY_PATH="$dir/system/usr/lib/arm-linux-gnueabi" \
    "$dir/system/usr/bin/kmod" -b "$dir/system" "$(cat "$dir/boot/release")"
  touch "$dir/systemd.done"
fi
