// SPDX-License-Identifier: MIT
//
// The labs: guests on a real hypervisor, on a machine that has no virtualisation of its own.
//
// A lab's host is a Debian system, built from packages by tools/lab/build-image, which runs in a
// virtual machine of QEMU's TCG with emulated SVM. Each guest gets a host of its own, so that runs
// do not disturb each other and nothing is left behind: the host is brought back from a snapshot
// that was taken right before it took a job, which takes a second, and ends with the guest.
//
// To the rest of this program the host is a QEMU with the same streams as any other
// (qemu_run() starts either), so whatever runs guests can run them in a lab. A host's
// further stream, `control`, takes the line "job BYTES"; then each line "sample" makes it return
// the host's counters of that moment, ended by the line "=end". When the guest has ended they come
// once more, after the line "=total". The job itself, a cpio archive with the
// guest's files and the script `run`, is the host's second disk.
#pragma once

#include "tools/lodger/machine.h"

// Names of the streams, as the host's virtio ports are called.
#define LAB_PORT_CONTROL "control"

struct lab_host {
    char *folder;    // what tools/lab/build-image made
    char *initramfs; // its initramfs with the programs of tools/lab/host
    char *snapshot;  // of the booted host, or NULL: it is booted
};

// The host of guests on KVM. The first call brings image and snapshot up to date, with progress on
// standard error, which takes a minute or two the first time ever. Dies with the reason when that
// is impossible. May be called from several threads.
const struct lab_host *lab_kvm_host(void);

// Boots the host, waits until it is ready for a job, and writes its state to `path`. Returns false,
// with a reason, when that did not work: then hosts are booted.
[[nodiscard]] bool lab_snapshot_take(const struct lab_host *host, const char *path, char **reason);

// Looks whether the host's files are damaged, after a run in which it did not work, and makes them
// again. Returns whether they were. May be called from several threads.
[[nodiscard]] bool lab_repair(const struct lab_host *host);

// Prints how often a guest has left its vCPUs, by reason and by register, from what its host has
// said; to standard error.
void lab_counters_print(const struct buffer *control);

// A file descriptor of the host's snapshot, or -1 if it has none or it is gone.
int lab_snapshot_open(const struct lab_host *host);

// What the host's own QEMU command begins with, whatever it runs. `snapshot`: the file descriptor
// to bring the host back from, or -1. `job`: that of the job, or -1.
void lab_host_command(const struct lab_host *host, const struct machine_streams *streams,
    int snapshot, int job, struct strings *command);

// A job for the machine's host: everything the guest needs. The result is the file descriptor of a
// file without a name; `*len_bytes` is how much of it is the job.
int lab_job_create(const struct machine *machine, bool with_program_streams, size_t *len_bytes);

// Why the machine's guest cannot run in a host, as an allocated string for the user; or NULL.
char *lab_refusal(const struct machine *machine);
