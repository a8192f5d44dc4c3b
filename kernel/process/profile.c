// SPDX-License-Identifier: MIT
// What the profiler is told of programs.
//
// Names of files and build-ids need file systems, which must not be called under a space's lock:
// each area is copied under it, with a reference to its file, and told without it. Areas that come
// and go meanwhile are told by those who make them.
#include "kernel/process/profile.h"

#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/mutex.h"
#include "kernel/core/time.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/map.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include "perf/build_id.h"
#include "perf/perf.h"

#include <linux/limits.h>
#include <linux/mman.h>

#define NOTE_TRIES    100 // times that a rundown waits for room in a ring
#define NOTE_PAUSE_NS (10 * NS_PER_MS)

// ---- build-ids ----------------------------------------------------------------------------------

// The file's content as it was when its note was read.
struct build_id_entry {
    uint64_t inode, size_bytes;
    int64_t mtime_ns;
    uint32_t device_major, device_minor;
    uint32_t len;
    uint8_t build_id[PERF_BUILD_ID_MAX];
};

#define BUILD_IDS 64                     // a power of two
static struct build_id_entry *build_ids; // made at first use; under the lock
static struct mutex build_ids_lock = MUTEX_INIT(build_ids_lock, "profile: build-ids");

static int64_t read_file(void *file, void *to, size_t len, uint64_t offset)
{
    return file_read_kernel(file, to, len, offset);
}

// Fills in what belongs to the file. `build_id` has room for the mapping to point to.
static void describe_file(struct file *file, struct perf_mapping *mapping, uint8_t *build_id)
{
    vfs_identity(file, &mapping->device_major, &mapping->device_minor, &mapping->inode);
    if (file->inode == NULL)
        return;
    struct build_id_entry wanted = {.inode = mapping->inode,
        .size_bytes = file->inode->size_bytes,
        .mtime_ns = file->inode->mtime_ns,
        .device_major = mapping->device_major,
        .device_minor = mapping->device_minor};
    mutex_lock(&build_ids_lock);
    if (build_ids == NULL)
        build_ids = kzalloc(BUILD_IDS * sizeof(*build_ids));
    struct build_id_entry *entry =
        build_ids != NULL ? &build_ids[mapping->inode % BUILD_IDS] : &wanted;
    bool known = entry != &wanted && entry->inode == wanted.inode &&
                 entry->size_bytes == wanted.size_bytes && entry->mtime_ns == wanted.mtime_ns &&
                 entry->device_major == wanted.device_major &&
                 entry->device_minor == wanted.device_minor;
    if (!known) {
        wanted.len = perf_build_id_read(read_file, file, wanted.build_id);
        *entry = wanted;
    }
    memcpy(build_id, entry->build_id, sizeof(entry->build_id));
    mapping->build_id_len = entry->len;
    mapping->build_id = build_id;
    mutex_unlock(&build_ids_lock);
}

// ---- areas --------------------------------------------------------------------------------------

struct area_copy {
    uintptr_t start, end;
    uint32_t flags; // VM_*
    uint64_t offset_bytes;
    const char *label;
    struct file *file; // with a reference, or NULL
};

// The first executable area that ends behind `address` and starts below `end`.
static bool area_copy_next(
    struct address_space *space, uintptr_t address, uintptr_t end, struct area_copy *copy)
{
    rwlock_read_lock(&space->lock);
    struct vm_area *area = vm_area_find(space, address);
    while (area != NULL && area->start < end && !(area->flags & VM_EXEC))
        area = vm_area_next(area);
    bool found = area != NULL && area->start < end;
    if (found) {
        *copy = (struct area_copy){.start = area->start,
            .end = area->end,
            .flags = area->flags,
            .label = area->label,
            .file = file_of_area(area)};
        if (copy->file != NULL) {
            copy->offset_bytes = area->cache_index * PAGE_SIZE;
            file_get(copy->file);
        }
    }
    rwlock_read_unlock(&space->lock);
    return found;
}

static bool note_area(const struct thread *thread, const struct area_copy *area, char *path,
    size_t path_size, uint8_t flags)
{
    uint8_t build_id[PERF_BUILD_ID_MAX];
    struct perf_mapping mapping = {.start = area->start,
        .len_bytes = area->end - area->start,
        .offset_bytes = area->offset_bytes,
        .protection = PROT_EXEC | (area->flags & VM_READ ? PROT_READ : 0) |
                      (area->flags & VM_WRITE ? PROT_WRITE : 0),
        .flags = area->flags & VM_SHARED ? MAP_SHARED : MAP_PRIVATE,
        .name = area->label != NULL ? area->label : "//anon"};
    if (area->file != NULL) {
        char *name = file_path(area->file, path, path_size);
        mapping.name = name != NULL ? name : "//toolong";
        describe_file(area->file, &mapping, build_id);
    }
    return perf_note_mapping(thread, &mapping, flags);
}

// Tries until there is room, for at most a second.
static bool note_area_patiently(const struct thread *thread, const struct area_copy *area,
    char *path, size_t path_size, uint8_t flags)
{
    for (int tries = 0; tries < NOTE_TRIES; tries++) {
        if (note_area(thread, area, path, path_size, flags))
            return true;
        if (!(flags & PERF_EXPORT_FLAG_RUNDOWN) || !perf_side_wanted)
            return false;
        thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
        (void)sched_block(time_monotonic_ns() + NOTE_PAUSE_NS);
    }
    return false;
}

// Tells all executable areas of [start, end). False: one could not be told.
static bool note_areas(const struct thread *thread, struct address_space *space, uintptr_t start,
    uintptr_t end, uint8_t flags)
{
    char *path = kmalloc(PATH_MAX, 0);
    struct area_copy area;
    bool all = path != NULL;
    while (all && start < end && area_copy_next(space, start, end, &area)) {
        all = note_area_patiently(thread, &area, path, PATH_MAX, flags);
        if (area.file != NULL)
            file_put(area.file);
        start = area.end;
    }
    kfree(path);
    return all;
}

void profile_exec(void)
{
    const struct thread *thread = thread_current();
    if (likely(!perf_side_wanted))
        return;
    (void)perf_note_comm(thread, PERF_EXPORT_FLAG_EXEC);
    (void)note_areas(thread, thread->space, 0, UINTPTR_MAX, 0);
}

void profile_map(uintptr_t address, size_t len_bytes)
{
    const struct thread *thread = thread_current();
    if (likely(!perf_side_wanted))
        return;
    (void)note_areas(thread, thread->space, address, address + len_bytes, 0);
}

// ---- rundown ------------------------------------------------------------------------------------

static bool note_threads(struct process *process, uint32_t *tasks)
{
    int32_t after = 0;
    bool all = true;
    struct task *task;
    while ((task = process_thread_next_get(process, after)) != NULL) {
        after = task->tid;
        all &= perf_note_comm(&task->thread, PERF_EXPORT_FLAG_RUNDOWN);
        (*tasks)++;
        task_put(task);
    }
    return all;
}

static bool note_process(struct process *process, uint32_t *tasks)
{
    bool all = note_threads(process, tasks);
    struct task *leader = task_find_get(process->pid);
    struct address_space *space = leader != NULL ? task_space_get(leader) : NULL;
    if (space != NULL) {
        all &= note_areas(&leader->thread, space, 0, UINTPTR_MAX, PERF_EXPORT_FLAG_RUNDOWN);
        address_space_put(space);
    }
    if (leader != NULL)
        task_put(leader);
    return all;
}

static uint32_t rundown(uint32_t *tasks)
{
    uint32_t lost = 0;
    int32_t after = 0;
    struct process *process;
    while ((process = process_next_get(after)) != NULL) {
        after = process->pid;
        if (process->state == PROCESS_ALIVE && !note_process(process, tasks))
            lost++;
        process_put(process);
    }
    return lost;
}

void profile_init(void)
{
    perf_rundown = rundown;
}
