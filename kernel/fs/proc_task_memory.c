// SPDX-License-Identifier: MIT
// What /proc/PID shows of a program's memory: cmdline, environ, auxv, maps, smaps, numa_maps, mem.
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/map.h"
#include "kernel/fs/proc.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "mm/policy.h"
#include "mm/slab.h"
#include <linux/fs.h>

#define TEXT_AREA_MAX ((size_t)2 << 20) // arguments or environment that are shown at most

// The space of the inode's task, which the reader may look into, with a reference; NULL with *error
// (0: it has none).
static struct address_space *memory_space_get(struct inode *inode, int *error)
{
    struct task *task = proc_inode_task(inode);
    *error = proc_may_access(task);
    return *error == 0 ? task_space_get(task) : NULL;
}

static void memory_append_range(
    struct proc_buffer *buffer, struct address_space *space, uintptr_t start, uintptr_t end)
{
    char piece[512];
    if (start >= end)
        return;
    size_t left = MIN(end - start, TEXT_AREA_MAX);
    while (left != 0) {
        size_t count = vm_read_remote(space, start, piece, MIN(left, sizeof(piece)));
        if (count == 0)
            return;
        proc_append(buffer, piece, count);
        start += count;
        left -= count;
    }
}

// A program may have written over its arguments (setproctitle): without a NUL at their end the text
// goes on into the environment.
int proc_show_cmdline(struct proc_buffer *buffer, struct inode *inode)
{
    struct address_space *space = task_space_get(proc_inode_task(inode));
    if (space == NULL)
        return 0;
    memory_append_range(buffer, space, space->arg_start, space->arg_end);
    if (buffer->len != 0 && !buffer->failed && buffer->data[buffer->len - 1] != 0) {
        memory_append_range(buffer, space, space->env_start, space->env_end);
        size_t len = strnlen(buffer->data, buffer->len);
        buffer->len = MIN(len + 1, buffer->len);
    }
    address_space_put(space);
    return 0;
}

int proc_show_environ(struct proc_buffer *buffer, struct inode *inode)
{
    int error;
    struct address_space *space = memory_space_get(inode, &error);
    if (space == NULL)
        return error;
    memory_append_range(buffer, space, space->env_start, space->env_end);
    address_space_put(space);
    return 0;
}

int proc_show_auxv(struct proc_buffer *buffer, struct inode *inode)
{
    int error;
    struct address_space *space = memory_space_get(inode, &error);
    if (space == NULL)
        return error;
    size_t count = 0;
    do {
        count += 2;
    } while (count < ARRAY_SIZE(space->auxv) && space->auxv[count - 2] != 0);
    proc_append(buffer, space->auxv, count * sizeof(space->auxv[0]));
    address_space_put(space);
    return 0;
}

static void memory_show_area(
    struct proc_buffer *buffer, struct vm_area *area, char *name, size_t size)
{
    uint32_t dev_major = 0, dev_minor = 0;
    uint64_t inode = 0;
    uint64_t offset = 0;
    name[0] = 0;
    if (area->ops != NULL && area->ops->identity != NULL) {
        area->ops->identity(area, &dev_major, &dev_minor, &inode);
        offset = area->cache_index * PAGE_SIZE;
    }
    if (area->label != NULL)
        strlcpy(name, area->label, size);
    else if (area->ops != NULL && area->ops->name != NULL)
        area->ops->name(area, name, size);
    size_t before = buffer->len;
    proc_printf(buffer, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", area->start, area->end,
        area->flags & VM_READ ? 'r' : '-', area->flags & VM_WRITE ? 'w' : '-',
        area->flags & VM_EXEC ? 'x' : '-', area->flags & VM_SHARED ? 's' : 'p',
        (unsigned long)offset, dev_major, dev_minor, (unsigned long)inode);
    if (name[0] != 0) {
        int width = 73 - (int)(buffer->len - before);
        proc_printf(buffer, "%*s", MAX(width, 0), "");
        proc_append_escaped(buffer, name, "\n");
    }
    proc_printf(buffer, "\n");
}

// Pages that others have, too, count as shared; what part of them is ours (Pss) nobody knows here,
// so they count whole.
static void memory_show_usage(struct proc_buffer *buffer, struct vm_area *area)
{
    const unsigned long kilo = PAGE_SIZE / 1024;
    struct vm_area_usage usage;
    vm_area_usage_read(area, &usage);
    unsigned long resident = (usage.anonymous + usage.file) * kilo;
    const struct {
        const char *name;
        unsigned long kilobytes;
    } lines[] = {
        {"Size:", (area->end - area->start) / 1024},
        {"KernelPageSize:", kilo},
        {"MMUPageSize:", kilo},
        {"Rss:", resident},
        {"Pss:", resident},
        {"Shared_Clean:", usage.file * kilo},
        {"Shared_Dirty:", (usage.anonymous - usage.exclusive) * kilo},
        {"Private_Clean:", 0},
        {"Private_Dirty:", usage.exclusive * kilo},
        {"Anonymous:", usage.anonymous * kilo},
        {"AnonHugePages:", usage.huge * kilo},
        {"Locked:", area->flags & VM_LOCKED ? resident : 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        proc_printf(buffer, "%-15s %8lu kB\n", lines[i].name, lines[i].kilobytes);
}

static int memory_show_areas(struct proc_buffer *buffer, struct inode *inode, bool usage)
{
    int error;
    struct address_space *space = memory_space_get(inode, &error);
    if (space == NULL)
        return error;
    char *name = kmalloc(PAGE_SIZE, 0);
    if (name == NULL) {
        address_space_put(space);
        return -ENOMEM;
    }
    rwlock_read_lock(&space->lock);
    for (struct vm_area *area = vm_area_first(space); area != NULL; area = vm_area_next(area)) {
        memory_show_area(buffer, area, name, PAGE_SIZE);
        if (usage)
            memory_show_usage(buffer, area);
    }
    rwlock_read_unlock(&space->lock);
    kfree(name);
    address_space_put(space);
    return 0;
}

int proc_show_maps(struct proc_buffer *buffer, struct inode *inode)
{
    return memory_show_areas(buffer, inode, false);
}

int proc_show_smaps(struct proc_buffer *buffer, struct inode *inode)
{
    return memory_show_areas(buffer, inode, true);
}

// ---- numa_maps ----

static void memory_show_nodes(
    struct proc_buffer *buffer, struct vm_area *area, const struct memory_policy *own)
{
    char text[128], name[64] = "";
    uint64_t nodes[NUMA_NODES_MAX];
    struct vm_area_usage usage;
    memory_policy_text(area->policy != NULL ? area->policy : own, text, sizeof(text));
    proc_printf(buffer, "%08lx %s", area->start, text);
    if (area->label != NULL &&
        (strcmp(area->label, "[heap]") == 0 || strcmp(area->label, "[stack]") == 0)) {
        proc_printf(buffer, " %.*s", (int)strlen(area->label) - 2, area->label + 1);
    } else if (area->label == NULL && area->ops != NULL && area->ops->name != NULL) {
        area->ops->name(area, name, sizeof(name));
        proc_printf(buffer, " file=");
        proc_append_escaped(buffer, name, "\n\t= ");
    }
    vm_area_usage_read(area, &usage);
    vm_area_nodes_read(area, nodes);
    if (usage.anonymous != 0)
        proc_printf(buffer, " anon=%lu dirty=%lu", usage.anonymous, usage.anonymous);
    if (usage.file != 0)
        proc_printf(buffer, " mapped=%lu", usage.anonymous + usage.file);
    for (uint32_t node = 0; node < NUMA_NODES_MAX; node++) {
        if (nodes[node] != 0)
            proc_printf(buffer, " N%u=%lu", node, nodes[node]);
    }
    if (usage.anonymous + usage.file != 0)
        proc_printf(buffer, " kernelpagesize_kB=%lu", PAGE_SIZE / 1024);
    proc_printf(buffer, "\n");
}

// The policy of another task than the reader's is its own affair: areas without one are shown as
// default then.
int proc_show_numa_maps(struct proc_buffer *buffer, struct inode *inode)
{
    int error;
    struct address_space *space = memory_space_get(inode, &error);
    if (space == NULL)
        return error;
    const struct memory_policy *own =
        proc_inode_task(inode) == task_current() ? thread_current()->memory_policy : NULL;
    rwlock_read_lock(&space->lock);
    for (struct vm_area *area = vm_area_first(space); area != NULL; area = vm_area_next(area))
        memory_show_nodes(buffer, area, own);
    rwlock_read_unlock(&space->lock);
    address_space_put(space);
    return 0;
}

int proc_show_smaps_rollup(struct proc_buffer *buffer, struct inode *inode)
{
    int error;
    struct address_space *space = memory_space_get(inode, &error);
    if (space == NULL)
        return error;
    unsigned long anonymous =
        (unsigned long)MAX(space->resident_anonymous, INT64_C(0)) * (PAGE_SIZE / 1024);
    unsigned long file = (unsigned long)MAX(space->resident_file, INT64_C(0)) * (PAGE_SIZE / 1024);
    proc_printf(buffer, "%08lx-%08lx ---p 00000000 00:00 0                          [rollup]\n",
        0ul, space->stack_top);
    unsigned long huge = 0;
    rwlock_read_lock(&space->lock);
    for (struct vm_area *area = vm_area_first(space); area != NULL; area = vm_area_next(area)) {
        struct vm_area_usage usage;
        vm_area_usage_read(area, &usage);
        huge += usage.huge * (PAGE_SIZE / 1024);
    }
    rwlock_read_unlock(&space->lock);
    proc_printf(buffer,
        "Rss:            %8lu kB\nPss:            %8lu kB\nAnonymous:      %8lu kB\n"
        "AnonHugePages:  %8lu kB\n",
        anonymous + file, anonymous + file, anonymous, huge);
    address_space_put(space);
    return 0;
}

// ---- /proc/PID/mem ----

enum memory_direction { MEMORY_READ, MEMORY_WRITE };

static int64_t memory_transfer(
    struct file *file, struct io_iter *iter, uint64_t *offset, enum memory_direction direction)
{
    int error;
    struct address_space *space = memory_space_get(file->inode, &error);
    if (space == NULL)
        return error;
    char *page = page_alloc_kernel(0, 0);
    int64_t done = 0;
    error = page == NULL ? -ENOMEM : 0;
    while (error == 0 && iter->count != 0) {
        size_t piece = MIN(iter->count, PAGE_SIZE - *offset % PAGE_SIZE);
        size_t count;
        if (direction == MEMORY_READ) {
            count = vm_read_remote(space, *offset, page, piece);
            if (count != 0)
                count = iter_copy_to(iter, page, count);
        } else {
            count = iter_copy_from(iter, page, piece);
            if (count != 0)
                count = vm_write_remote(space, *offset, page, count);
        }
        if (count == 0)
            error = direction == MEMORY_READ ? -EIO : -EFAULT;
        done += (int64_t)count;
        *offset += count;
    }
    if (page != NULL)
        page_free_kernel(page, 0);
    address_space_put(space);
    return done != 0 ? done : error;
}

static int64_t proc_mem_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    return memory_transfer(file, to, offset, MEMORY_READ);
}

static int64_t proc_mem_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    return memory_transfer(file, from, offset, MEMORY_WRITE);
}

// Addresses of the upper half are positions too.
static int64_t proc_mem_seek(struct file *file, int64_t offset, int whence)
{
    if (whence != SEEK_SET && whence != SEEK_CUR)
        return -EINVAL;
    file->offset = whence == SEEK_SET ? (uint64_t)offset : file->offset + (uint64_t)offset;
    return (int64_t)file->offset;
}

const struct file_ops proc_mem_ops = {
    .read = proc_mem_read, .write = proc_mem_write, .seek = proc_mem_seek};
