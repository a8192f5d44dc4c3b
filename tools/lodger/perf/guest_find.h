// SPDX-License-Identifier: MIT
//
// The guests that run on this host: QEMU's processes, and the memory of each.
#pragma once

#include "tools/lodger/perf/guest_memory.h"

#define GUEST_VCPUS_MAX 256

struct guest {
    pid_t pid;
    char *name; // -name of QEMU, or "pid-N"
    bool has_name;
    char *kernel;                        // -kernel, absolute; or NULL
    char *initrd;                        // -initrd, absolute; or NULL
    char *qmp;                           // path of a QMP socket, or NULL
    struct guest_memory_layout layout;   // size 0: not known
    pid_t vcpu_threads[GUEST_VCPUS_MAX]; // 0: not known
};

struct guests {
    struct guest *items;
    size_t count;
};

// All QEMU processes that may be looked at. The caller frees with guests_free().
void guests_list(struct guests *guests);
void guests_free(struct guests *guests);

// Fills in the guest that `what` means: a name, a process id (of any VMM), or NULL for the only
// one that runs. Returns NULL, or the reason why not, as an allocated string for the user.
[[nodiscard]] char *guest_find(const char *what, struct guest *guest);
void guest_free(struct guest *guest);

// Opens the guest's memory: maps it if the VMM shares it, reads it through the process otherwise.
// `descriptor` is the physical address at which perf_export_descriptor should lie, or 0: it is
// searched. `found` gets the address where it is. Returns NULL or the reason, for the user.
[[nodiscard]] char *guest_open_memory(
    const struct guest *guest, uint64_t descriptor, struct guest_memory *memory, uint64_t *found);

// Sends an NMI to all vCPUs: an idle guest notices a request so. False: there is no way to.
bool guest_wake(const struct guest *guest);
