// SPDX-License-Identifier: MIT
//
// A guest's physical memory, seen from the host: one interface, however it is reached.
//
// mapped QEMU's memory is a memfd or a file that it shares: mapped here too, no copies, no calls
//   process   any VMM of this host: process_vm_readv() and process_vm_writev()
//   buffer    tests
// and domains of Xen (guest_memory_xen.h).
//
// What is read may change at any time and is not to be believed; what is written must lie where
// the guest offered it. Addresses outside memory are errors, never accesses.
#pragma once

#include "tools/lodger/util.h"

#include <sys/types.h>

struct guest_memory;

struct guest_memory_ops {
    // Both return 0 or a negative errno (-EFAULT: not all of it is memory).
    int (*read)(struct guest_memory *memory, uint64_t address, void *data, size_t len_bytes);
    int (*write)(struct guest_memory *memory, uint64_t address, const void *data, size_t len_bytes);
    // Where it lies here, or NULL: only read() and write() reach it.
    void *(*map)(struct guest_memory *memory, uint64_t address, size_t len_bytes);
    void (*close)(struct guest_memory *memory);
};

struct guest_memory {
    const struct guest_memory_ops *ops;
    const char *how; // for messages: "mapped", "process_vm_readv"
    // Memory as the VMM holds it: below the hole that ends at 4 GiB, then above it.
    uint64_t low_bytes, size_bytes;
    void *base;     // mapped, buffer: here; process: there
    pid_t pid;      // process
    void *of_owner; // Xen
};

// Where the hole of memory below 4 GiB begins, if the machine has so much memory.
struct guest_memory_layout {
    uint64_t size_bytes;
    uint64_t hole_start;
};

// Memory of process `pid` that lies at `base` there.
void guest_memory_open_process(struct guest_memory *memory, pid_t pid, uint64_t base,
    const struct guest_memory_layout *layout);
// The same, mapped through /proc/PID/map_files or its descriptor `path`, from `offset_bytes` on.
// Returns 0 or a negative errno.
[[nodiscard]] int guest_memory_open_mapped(struct guest_memory *memory, const char *path,
    uint64_t offset_bytes, const struct guest_memory_layout *layout);
// `size_bytes` bytes of this process.
void guest_memory_open_buffer(struct guest_memory *memory, void *base, uint64_t size_bytes);

static inline int guest_memory_read(
    struct guest_memory *memory, uint64_t address, void *data, size_t len_bytes)
{
    return memory->ops->read(memory, address, data, len_bytes);
}

static inline int guest_memory_write(
    struct guest_memory *memory, uint64_t address, const void *data, size_t len_bytes)
{
    return memory->ops->write(memory, address, data, len_bytes);
}

static inline void *guest_memory_map(
    struct guest_memory *memory, uint64_t address, size_t len_bytes)
{
    return memory->ops->map(memory, address, len_bytes);
}

static inline void guest_memory_close(struct guest_memory *memory)
{
    memory->ops->close(memory);
}

// Reads a string that ends within `size` bytes; it is cut there. Returns 0 or a negative errno.
[[nodiscard]] int guest_memory_read_text(
    struct guest_memory *memory, uint64_t address, char *text, size_t size);
