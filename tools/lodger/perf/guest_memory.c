// SPDX-License-Identifier: MIT
//
// Guest memory of processes of this host.
#include "tools/lodger/perf/guest_memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define FOUR_GIB (1ull << 32)
#define PAGE     4096u

// Offset of a physical address in the VMM's memory, or UINT64_MAX: not all of it is there.
static uint64_t offset_of(const struct guest_memory *memory, uint64_t address, size_t len_bytes)
{
    if (len_bytes == 0 || len_bytes > memory->size_bytes) {
        return UINT64_MAX;
    }
    if (address < memory->low_bytes) {
        return len_bytes <= memory->low_bytes - address ? address : UINT64_MAX;
    }
    uint64_t high_bytes = memory->size_bytes - memory->low_bytes;
    if (address < FOUR_GIB || address - FOUR_GIB >= high_bytes ||
        len_bytes > high_bytes - (address - FOUR_GIB)) {
        return UINT64_MAX;
    }
    return memory->low_bytes + (address - FOUR_GIB);
}

static void set_layout(struct guest_memory *memory, const struct guest_memory_layout *layout)
{
    memory->size_bytes = layout->size_bytes;
    memory->low_bytes =
        layout->size_bytes < layout->hole_start ? layout->size_bytes : layout->hole_start;
    assert(memory->low_bytes <= FOUR_GIB);
}

// ---- mapped here ----------------------------------------------------------------------

static void *mapped_map(struct guest_memory *memory, uint64_t address, size_t len_bytes)
{
    uint64_t offset = offset_of(memory, address, len_bytes);
    return offset != UINT64_MAX ? (uint8_t *)memory->base + offset : NULL;
}

static int mapped_read(struct guest_memory *memory, uint64_t address, void *data, size_t len_bytes)
{
    const void *source = mapped_map(memory, address, len_bytes);
    if (source == NULL) {
        return -EFAULT;
    }
    memcpy(data, source, len_bytes);
    return 0;
}

static int mapped_write(
    struct guest_memory *memory, uint64_t address, const void *data, size_t len_bytes)
{
    void *target = mapped_map(memory, address, len_bytes);
    if (target == NULL) {
        return -EFAULT;
    }
    memcpy(target, data, len_bytes);
    return 0;
}

static void mapped_close(struct guest_memory *memory)
{
    munmap(memory->base, memory->size_bytes);
}

int guest_memory_open_mapped(struct guest_memory *memory, const char *path, uint64_t offset_bytes,
    const struct guest_memory_layout *layout)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    // A file that is shorter than its mapping would kill us with SIGBUS.
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0 || (uint64_t)end < offset_bytes + layout->size_bytes) {
        close(fd);
        return -EINVAL;
    }
    void *base =
        mmap(NULL, layout->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset_bytes);
    int error = base == MAP_FAILED ? -errno : 0;
    close(fd);
    if (error != 0) {
        return error;
    }
    static const struct guest_memory_ops ops = {
        mapped_read, mapped_write, mapped_map, mapped_close};
    *memory = (struct guest_memory){.ops = &ops, .how = "mapped", .base = base};
    set_layout(memory, layout);
    return 0;
}

static void buffer_close(struct guest_memory *memory)
{
    memory->base = NULL;
}

void guest_memory_open_buffer(struct guest_memory *memory, void *base, uint64_t size_bytes)
{
    static const struct guest_memory_ops ops = {
        mapped_read, mapped_write, mapped_map, buffer_close};
    *memory = (struct guest_memory){.ops = &ops, .how = "buffer", .base = base};
    struct guest_memory_layout layout = {size_bytes, FOUR_GIB};
    set_layout(memory, &layout);
}

// ---- another process ------------------------------------------------------------------

static int transfer(
    struct guest_memory *memory, uint64_t address, void *data, size_t len_bytes, bool write)
{
    uint64_t offset = offset_of(memory, address, len_bytes);
    if (offset == UINT64_MAX) {
        return -EFAULT;
    }
    struct iovec here = {data, len_bytes};
    struct iovec there = {(uint8_t *)memory->base + offset, len_bytes};
    ssize_t done = write ? process_vm_writev(memory->pid, &here, 1, &there, 1, 0)
                         : process_vm_readv(memory->pid, &here, 1, &there, 1, 0);
    if (done < 0) {
        return -errno;
    }
    return (size_t)done == len_bytes ? 0 : -EFAULT;
}

static int process_read(struct guest_memory *memory, uint64_t address, void *data, size_t len_bytes)
{
    return transfer(memory, address, data, len_bytes, false);
}

static int process_write(
    struct guest_memory *memory, uint64_t address, const void *data, size_t len_bytes)
{
    return transfer(memory, address, (void *)(uintptr_t)data, len_bytes, true);
}

static void *process_map(struct guest_memory *memory, uint64_t address, size_t len_bytes)
{
    return NULL;
}

static void process_close(struct guest_memory *memory)
{
    memory->pid = 0;
}

void guest_memory_open_process(
    struct guest_memory *memory, pid_t pid, uint64_t base, const struct guest_memory_layout *layout)
{
    static const struct guest_memory_ops ops = {
        process_read, process_write, process_map, process_close};
    *memory = (struct guest_memory){
        .ops = &ops, .how = "process_vm_readv", .pid = pid, .base = (void *)(uintptr_t)base};
    set_layout(memory, layout);
}

int guest_memory_read_text(struct guest_memory *memory, uint64_t address, char *text, size_t size)
{
    assert(size > 0);
    size_t len_bytes = 0;
    while (len_bytes + 1 < size) {
        // Not over the end of a page: what follows may be no memory.
        size_t part = PAGE - (size_t)((address + len_bytes) % PAGE);
        part = part < size - 1 - len_bytes ? part : size - 1 - len_bytes;
        int error = guest_memory_read(memory, address + len_bytes, text + len_bytes, part);
        if (error != 0) {
            return error;
        }
        size_t found = strnlen(text + len_bytes, part);
        len_bytes += found;
        if (found < part) {
            break;
        }
    }
    text[len_bytes] = '\0';
    return 0;
}
