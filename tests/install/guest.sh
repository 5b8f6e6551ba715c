# shellcheck shell=bash disable=SC2154
# Sourced by run for `guest` and `openrc`: a virtual machine made from Debian's packages, where guest-checks runs at boot.

case $p in
  guest) init=/sbin/init ;;
  openrc) init=/sbin/openrc-init ;;
esac

quiet=(--quiet --variant=essential --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/doc/*'
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*')
if [[ ! -d $cache/guest ]]; then
  step "a Debian with a kernel, systemd and OpenRC"
  rm -rf "$cache/guest.part"
  mmdebstrap "${quiet[@]}" --include=linux-image-cloud-amd64,initramfs-tools,zstd,udev,kmod,mount,systemd-sysv,openrc,initscripts,ifupdown,iproute2,dbus,nftables \
    bookworm "$cache/guest.part"
  mv "$cache/guest.part" "$cache/guest"
fi
# in a system of its own: qemu's many libraries do not fit beside those of every host
if [[ ! -d $cache/qemu ]]; then
  step "qemu"
  rm -rf "$cache/qemu.part"
  mmdebstrap "${quiet[@]}" --include=qemu-system-x86,seabios,ipxe-qemu bookworm "$cache/qemu.part"
  mv "$cache/qemu.part" "$cache/qemu"
fi

step "the machine"
[[ -f $work/box.tar ]] || image
root=$work/$p
cp -a "$cache/guest" "$root"
cp "$skiff" "$root/opt/skiff"
cp "$work/box.tar" "$repo/install.sh" "$here/guest-checks" "$root/opt/"
echo guest >"$root/etc/hostname"
printf 'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet static\n  address 10.0.2.15/24\n  gateway 10.0.2.2\n' >"$root/etc/network/interfaces"
if [[ $p == guest ]]; then
  printf '[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/opt/guest-checks\nStandardOutput=tty\nTTYPath=/dev/ttyS0\n[Install]\nWantedBy=default.target\n' \
    >"$root/etc/systemd/system/guest-checks.service"
  ln -s ../guest-checks.service "$root/etc/systemd/system/multi-user.target.wants/guest-checks.service"
  # a login would hang the console up
  ln -s /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
else
  printf '#!/sbin/openrc-run\nstart() { setsid /opt/guest-checks >/dev/ttyS0 2>&1 </dev/null & }\n' >"$root/etc/init.d/guest-checks"
  chmod 755 "$root/etc/init.d/guest-checks"
  ln -s /etc/init.d/guest-checks "$root/etc/runlevels/default/guest-checks"
fi
mkdir "$work/vm"
cp -L "$root"/boot/vmlinuz-* "$work/vm/kernel"
cp -L "$root"/boot/initrd.img-* "$work/vm/initrd"
mke2fs -q -t ext4 -d "$root" "$work/vm/disk" 1500M
rm -rf "$root"

step "$init, emulated unless INSTALL_TEST_ACCEL=kvm"
# shellcheck disable=SC2016
timeout 1500 nice -n 10 unshare --mount --propagation private sh -euc '
  mount --bind "$1/vm" "$2/mnt"
  mount --rbind /dev "$2/dev"
  exec chroot "$2" qemu-system-x86_64 -accel "$4" -cpu max -m 1024 -smp 1 -display none -monitor none -serial stdio \
    -kernel /mnt/kernel -initrd /mnt/initrd -drive file=/mnt/disk,format=raw,if=virtio,cache=unsafe -nic user,model=virtio-net-pci,restrict=on \
    -append "root=/dev/vda rw console=ttyS0 quiet loglevel=3 net.ifnames=0 systemd.show_status=0 init=$3"
' sh "$work" "$cache/qemu" "$init" "${INSTALL_TEST_ACCEL:-tcg}" </dev/null 2>&1 | tee "$work/vm/log" | sed -un 's/\r$//; s/^\[guest\] //p'
rm -f "$work/vm/disk"
grep -q '^\[guest\] all passed' "$work/vm/log" || { tail -n 60 "$work/vm/log"; fail "the machine with $init"; }
rm -r "$work/vm"
