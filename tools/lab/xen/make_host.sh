#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Makes the host of the Xen lab out of Debian's packages:
#
#   FOLDER/xen           the hypervisor, uncompressed
#   FOLDER/vmlinux       dom0's kernel, uncompressed: Xen would take five seconds to unpack it, at each boot
#   FOLDER/initrd        dom0's initial file system: busybox, xl and the daemons, modules, dom0_init.sh as /init
#
#   make_host.sh FOLDER
#
# The packages are fetched and unpacked, not installed; what they depend on is fetched as well, so that the host has
# nothing of this machine's. Nothing needs root.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
folder=$1
mkdir -p "$folder"
cd "$folder"
rm -rf packages root dom0
mkdir packages root dom0

packages=(busybox-static xen-hypervisor-4.17-amd64 xen-utils-4.17 xenstore-utils
    libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxenhypfs1 libxenmisc4.17
    libxenstore4 libxentoolcore1 libxentoollog1 libyajl2 libuuid1 liblzma5 libzstd1 zlib1g libgcc-s1 libc6)

# The package linux-image-amd64 only depends on the newest kernel's.
kernel_package() {
    apt-cache depends --important linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

# number FILE OFFSET BYTES: a little-endian number.
number() {
    od -An -v "-tu$3" -j "$(($2))" -N "$3" "$1" | tr -d ' '
}

# The ELF file in a bzImage: the header says where the compressed payload lies (Linux's Documentation/arch/x86/boot.rst:
# setup_sects, payload_offset, payload_length). Its own length, four bytes, follows the compressed data.
unpack_kernel() {
    local setup start bytes
    setup=$((($(number "$1" 0x1f1 1) + 1) * 512))
    start=$((setup + $(number "$1" 0x248 4)))
    bytes=$(number "$1" 0x24c 4)
    dd if="$1" bs=64k iflag=skip_bytes,count_bytes skip="$start" count="$bytes" status=none | xz -dc --single-stream
}

fetch() {
    local kernel
    kernel=$(kernel_package)
    [ -n "$kernel" ] || { echo "apt knows no package linux-image-amd64"; return 1; }
    (cd packages && apt-get -q download "$kernel" "${packages[@]}")
}

fetch || { apt-get -q update && fetch; }
for package in packages/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C root
done

kernel=$(basename root/boot/vmlinuz-*)
version=${kernel#vmlinuz-}
unpack_kernel "root/boot/$kernel" >vmlinux
zcat root/boot/xen-4.17-amd64.gz >xen

# The file system of dom0.
mkdir -p dom0/{bin,dev,proc,sys,tmp,etc/xen/scripts,lab,lib64,lib/x86_64-linux-gnu,lib/modules,var/lib/xen,var/lib/xenstored,var/log/xen/console}
ln -s /run dom0/var/run
bin=usr/lib/xen-4.17/bin
mkdir -p "dom0/$bin"
cp root/bin/busybox dom0/bin/
cp -a root/usr/bin/xenstore* dom0/bin/
for program in xl libxl-save-helper xen-init-dom0 xenconsoled xenstored xentrace xenctx; do
    cp "root/$bin/$program" "dom0/$bin/"
done
touch dom0/etc/xen/xl.conf
cp root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 dom0/lib64/
for package in root/usr/lib/x86_64-linux-gnu root/usr/lib/xen-4.17/lib/x86_64-linux-gnu root/lib/x86_64-linux-gnu; do
    find "$package" -maxdepth 1 \( -name 'libxen*.so.*' -o -name 'libxl*.so.*' -o -name 'libyajl.so.*' -o -name 'libuuid.so.*' \
        -o -name 'liblzma.so.*' -o -name 'libzstd.so.*' -o -name 'libz.so.*' -o -name 'libgcc_s.so.*' -o -name 'libc.so.*' \
        -o -name 'libpthread.so.*' -o -name 'librt.so.*' -o -name 'libdl.so.*' -o -name 'libm.so.*' \) \
        -exec cp -a {} dom0/lib/x86_64-linux-gnu/ \;
done

# Modules, in the order in which dom0_init.sh loads them, without folders.
modules=root/lib/modules/$version/kernel
for module in drivers/xen/xen-privcmd drivers/xen/xenfs/xenfs drivers/xen/xen-evtchn drivers/xen/xen-gntdev \
    drivers/xen/xen-gntalloc drivers/virtio/virtio drivers/virtio/virtio_ring drivers/virtio/virtio_pci_modern_dev \
    drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci drivers/char/virtio_console drivers/block/virtio_blk drivers/block/loop \
    drivers/block/null_blk/null_blk drivers/block/xen-blkback/xen-blkback net/802/stp net/llc/llc net/bridge/bridge \
    drivers/net/xen-netback/xen-netback; do
    cp "$modules/$module.ko" dom0/lib/modules/
done

install -m 755 "$here/dom0_init.sh" dom0/init
install -m 755 "$here/dom0_hotplug.sh" dom0/etc/xen/scripts/block
install -m 755 "$here/dom0_hotplug.sh" dom0/etc/xen/scripts/vif-bridge
(cd dom0 && find . | sort | busybox cpio -o -H newc >../initrd.new)
rm -rf packages root dom0
mv initrd.new initrd
