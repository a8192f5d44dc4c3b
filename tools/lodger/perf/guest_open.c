// SPDX-License-Identifier: MIT
//
// Where a VMM has its guest's memory: the mapping in which the descriptor lies, as /proc/PID/maps
// shows it. A mapping may be longer than the guest's memory (the kernel joins neighbours), so the
// descriptor, which knows its own physical address, decides where memory begins.
#include "tools/lodger/perf/guest_find.h"

#include "perf/export.h"
#include "tools/lodger/qmp.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096u
// Somebody waits for the guest to be woken, and it wakes up by itself sooner or later.
#define WAKE_PATIENCE_S 2
// Pages that are looked at with one call.
#define BATCH 512u
// Mappings that are looked at; a VMM with more of this size is no VMM.
#define CANDIDATES_MAX 64u
#define SMALLEST_GUEST (8u << 20)

struct candidate {
    uint64_t start, end;
    uint64_t file_offset;
    uint64_t inode; // of the file that is mapped, if it is shared; else 0
};

// The first words of a descriptor.
struct descriptor_start {
    uint64_t magic;
    uint32_t version, size;
    uint64_t self_physical;
};

// Mappings that can be memory of a guest, the largest first. Returns 0 or a negative errno.
static int list_candidates(pid_t pid, struct candidate *candidates, size_t *found)
{
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    size_t count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long long start, end, offset, inode;
        char rights[8];
        if (sscanf(line, "%llx-%llx %7s %llx %*x:%*x %llu", &start, &end, rights, &offset,
                &inode) != 5 ||
            rights[0] != 'r' || rights[1] != 'w' || end - start < SMALLEST_GUEST) {
            continue;
        }
        size_t place = count < CANDIDATES_MAX ? count++ : CANDIDATES_MAX - 1;
        while (place > 0 && candidates[place - 1].end - candidates[place - 1].start < end - start) {
            candidates[place] = candidates[place - 1];
            place--;
        }
        candidates[place] = (struct candidate){start, end, offset, rights[3] == 's' ? inode : 0};
    }
    fclose(file);
    *found = count;
    return 0;
}

static bool starts_descriptor(const struct descriptor_start *start, uint64_t offset)
{
    return start->magic == PERF_EXPORT_MAGIC && start->version == PERF_EXPORT_VERSION &&
           start->size == sizeof(struct perf_export_descriptor) &&
           start->self_physical % PAGE == 0 && start->self_physical <= offset;
}

// Looks at one page of the process.
static int read_start(pid_t pid, uint64_t address, struct descriptor_start *start)
{
    struct iovec here = {start, sizeof(*start)};
    struct iovec there = {(void *)(uintptr_t)address, sizeof(*start)};
    ssize_t done = process_vm_readv(pid, &here, 1, &there, 1, 0);
    if (done == sizeof(*start)) {
        return 0;
    }
    return done < 0 ? -errno : -EFAULT;
}

// Looks at every page of a mapping. 0: `base` is where physical address 0 lies, and `found` the
// descriptor's; -ENOENT: it is not in there; other errors say why it could not be read.
static int search(pid_t pid, const struct candidate *candidate, uint64_t *base, uint64_t *found)
{
    static struct descriptor_start starts[BATCH];
    struct iovec here[BATCH], there[BATCH];
    for (uint64_t at = candidate->start; at < candidate->end;) {
        size_t count = 0;
        for (; count < BATCH && at + count * PAGE < candidate->end; count++) {
            here[count] = (struct iovec){&starts[count], sizeof(starts[0])};
            there[count] =
                (struct iovec){(void *)(uintptr_t)(at + count * PAGE), sizeof(starts[0])};
        }
        ssize_t done = process_vm_readv(pid, here, count, there, count, 0);
        if (done < 0 && errno != EFAULT) {
            return -errno;
        }
        size_t whole = done > 0 ? (size_t)done / sizeof(starts[0]) : 0;
        for (size_t i = 0; i < whole; i++) {
            uint64_t offset = at + i * PAGE - candidate->start;
            if (starts_descriptor(&starts[i], offset)) {
                *found = starts[i].self_physical;
                *base = candidate->start + offset - *found;
                return 0;
            }
        }
        // Behind the page that could not be read.
        at += (whole < count ? whole + 1 : count) * PAGE;
    }
    return -ENOENT;
}

static char *explain(const struct guest *guest, int error)
{
    if (error == -EPERM || error == -EACCES) {
        return xasprintf("no right to read the memory of %s (pid %d): be root or the user who runs "
                         "it, and see /proc/sys/kernel/yama/ptrace_scope",
            guest->name, (int)guest->pid);
    }
    if (error == -ESRCH) {
        return xasprintf("%s (pid %d) has ended", guest->name, (int)guest->pid);
    }
    return xasprintf("%s (pid %d) is no guest with this kernel, or has not booted yet: there is no "
                     "export descriptor in its memory",
        guest->name, (int)guest->pid);
}

// Maps shared memory through the descriptor that the VMM holds of its file.
static int open_mapped(const struct guest *guest, const struct candidate *candidate, uint64_t base,
    const struct guest_memory_layout *layout, struct guest_memory *memory)
{
    char *path = xasprintf("/proc/%d/fd", (int)guest->pid);
    DIR *folder = opendir(path);
    struct dirent *entry;
    int error = -ENOENT;
    while (folder != NULL && error != 0 && (entry = readdir(folder)) != NULL) {
        char *name = xasprintf("%s/%s", path, entry->d_name);
        struct stat status;
        if (stat(name, &status) == 0 && S_ISREG(status.st_mode) &&
            status.st_ino == candidate->inode) {
            error = guest_memory_open_mapped(
                memory, name, candidate->file_offset + (base - candidate->start), layout);
        }
        free(name);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    free(path);
    return error;
}

char *guest_open_memory(
    const struct guest *guest, uint64_t descriptor, struct guest_memory *memory, uint64_t *found)
{
    struct candidate candidates[CANDIDATES_MAX];
    size_t count = 0, hit = 0;
    uint64_t base = 0;
    int error = list_candidates(guest->pid, candidates, &count);
    if (error != 0) {
        return explain(guest, error);
    }
    error = -ENOENT;
    // The place that the ELF file names, then everywhere.
    for (size_t i = 0; i < count && descriptor != 0 && error != 0; i++) {
        struct descriptor_start start;
        uint64_t address = candidates[i].start + descriptor;
        if (address + sizeof(start) <= candidates[i].end &&
            read_start(guest->pid, address, &start) == 0 && starts_descriptor(&start, descriptor) &&
            start.self_physical == descriptor) {
            error = 0;
            hit = i;
            base = candidates[i].start;
            *found = descriptor;
        }
    }
    for (size_t i = 0; i < count && error == -ENOENT; i++) {
        error = search(guest->pid, &candidates[i], &base, found);
        hit = i;
    }
    if (error != 0) {
        return explain(guest, error);
    }
    struct guest_memory_layout layout = guest->layout;
    uint64_t room = candidates[hit].end - base;
    if (layout.size_bytes == 0 || layout.size_bytes > room) {
        layout = (struct guest_memory_layout){room, 0xc0000000};
    }
    if (candidates[hit].inode == 0 ||
        open_mapped(guest, &candidates[hit], base, &layout, memory) != 0) {
        guest_memory_open_process(memory, guest->pid, base, &layout);
    }
    return NULL;
}

bool guest_wake(const struct guest *guest)
{
    json_t *answer = guest->qmp != NULL ? qmp_ask(guest->qmp, "inject-nmi", WAKE_PATIENCE_S) : NULL;
    bool woken = answer != NULL;
    json_decref(answer);
    return woken;
}
