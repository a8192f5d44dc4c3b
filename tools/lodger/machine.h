// SPDX-License-Identifier: MIT
//
// The virtual machine that a guest runs on, and the QEMU command that makes it.
#pragma once

#include "tools/lodger/util.h"

enum machine_type {
    MACHINE_MICROVM,
    MACHINE_Q35,
    MACHINE_PC,
    MACHINE_XEN, // a domain of the lab's Xen (lab_xen.h)
};

enum machine_firmware {
    FIRMWARE_PVH,
    FIRMWARE_UEFI,
};

enum machine_accel {
    ACCEL_AUTO, // KVM where the processor has virtualisation and /dev/kvm may be used, else TCG
    ACCEL_KVM,
    ACCEL_TCG,
    ACCEL_LAB, // KVM of the lab's host (tools/lodger/lab.h); where the processor has
               // virtualisation that is this machine's own
};

struct lab_host;

struct machine {
    enum machine_type type;
    enum machine_firmware firmware;
    enum machine_accel accel;
    unsigned cpus;
    uint64_t memory_bytes;
    unsigned numa_nodes;  // tests: memory and CPUs are dealt out to so many nodes; 0, 1: one
    bool linux_protocol;  // tests: the firmware starts the bzImage form by the Linux boot protocol
    bool icount;          // one instruction is one nanosecond,
    bool time_passes;     // and while the guest waits, time passes as on the host: for real devices
    bool repeatable;      // random numbers and the clock's start are the same each time
    const char *variant;  // "release", "debug" or "kasan"
    const char *name;     // that `lodger perf` finds the guest by, or NULL
    const char *qmp;      // QEMU listens there for QMP commands, or NULL
    const char *kernel;   // image to boot: ELF with a PVH note, bzImage, or PE for UEFI
    const char *initrd;   // initial file system, or NULL
    bool boot_from_disk;  // UEFI: the image lies on a disk; otherwise QEMU hands it to the firmware
    const char *efi_disk; // that disk, made by efi_prepare_machine(); or NULL
    const char *cpu_model;       // QEMU's -cpu, or NULL for the default of the accelerator
    struct strings append;       // boot options
    struct strings disks;        // disk images,
    struct strings disk_options; // and the options of each (tools/lodger/device.h)
    struct strings new_disks;    // tests: SIZE[,OPTION...] of disks that are made for each boot
    struct strings devices;      // other devices (tools/lodger/device.h)
    const char *trace_file;      // where QEMU writes a line for each trapped device access, or NULL
    const char *uefi_vars;       // a writable copy of OVMF's variables, with FIRMWARE_UEFI
    const char *xen_host;        // MACHINE_XEN: folder of Xen and dom0's kernel,
    const char *xen_initrd;      // dom0's files with the domain's,
    const char *xen_counter;     // a program of the host that becomes dom0's /lab/count, or NULL
    const char *xen_hooks;      // and a shell script for dom0 (tools/lab/xen/dom0_init.sh), or NULL
    const char *vmm;            // a program that takes QEMU's place (machine_command()), or NULL
    bool overcommitted;         // in a lab: all vCPUs share one CPU of the host
    const struct lab_host *lab; // the lab's host in which the machine's QEMU runs, or NULL: here
};

// Where the machine's byte streams go: file descriptors (sockets) of the command, or -1.
// With `by_hand` they go to the terminal and to a file, for a command that a person can paste.
// With `ports` they are the files of that folder, by the names of the fields.
struct machine_streams {
    bool by_hand;
    const char *ports;
    int console; // first serial port, both ways
    int log;     // debug port 0xe9
    int code;    // DEBUG_EXIT_PORT_CODE
    int out;     // HOST_STREAM_PORT_OUT
    int err;     // HOST_STREAM_PORT_ERR
    int control; // of a lab's host (tools/lodger/lab.h)
};

// A machine with the defaults: microvm, PVH, 2 vCPUs, 256 MiB, release.
void machine_init(struct machine *machine);

// Sets what one word of a guest_test's `machines` says (build/guest.gni): "q35", "cpus=4",
// "uefi"... Returns false if it is none of them.
[[nodiscard]] bool machine_set_word(struct machine *machine, const char *word);

bool machine_parse_type(const char *text, enum machine_type *type);
bool machine_parse_firmware(const char *text, enum machine_firmware *firmware);
bool machine_parse_accel(const char *text, enum machine_accel *accel);
bool machine_parse_variant(const char *text, const char **variant);

const char *machine_type_name(enum machine_type type);
const char *machine_firmware_name(enum machine_firmware firmware);

// Whether this machine's processor has virtualisation. /dev/kvm alone says nothing: there are hosts
// where it only interprets.
bool machine_host_virtualises(void);

// Replaces ACCEL_AUTO by what this host can do, and checks that the combination works. Returns NULL
// or the reason why not, as an allocated string for the user.
[[nodiscard]] char *machine_settle(struct machine *machine);

// The QEMU command, as an argument list. With a VMM of one's own it is
//     VMM KERNEL INITRD BOOT-OPTIONS CONSOLE LOG CODE OUT ERR
// where the streams are files or numbers of descriptors, or /dev/null; its exit status is QEMU's
// (kernel/core/debug_exit.h).
void machine_command(
    const struct machine *machine, const struct machine_streams *streams, struct strings *command);

// The kernel's command line: the boot options in one line.
char *machine_kernel_line(const struct machine *machine);
