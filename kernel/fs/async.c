// SPDX-License-Identifier: MIT
// Signal-driven I/O.
//
// The file is watched as poll would: its poll operation names the wait queues, and an entry is
// queued on each. The entries' wake function runs under the queue's lock with interrupts off.
// Signals to one process are sent there and then; a group needs the task list, so that is left to
// deferred work.
#include "kernel/fs/async.h"
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/core/work.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

#define ASYNC_QUEUES 4 // wait queues that a file may name

struct file_async {
    struct poll_table table;
    struct file *file; // no reference: the file owns this
    struct work work;  // group signals
    uint32_t count;
    struct {
        struct wait_entry entry;
        struct wait_queue *queue;
    } waits[ASYNC_QUEUES];
};

static void async_fill_info(const struct file *file, uint32_t events, siginfo_t *info)
{
    *info = (siginfo_t){.si_signo = file->owner_signal != 0 ? file->owner_signal : SIGIO};
    info->si_code = SI_KERNEL;
    if (file->owner_signal != 0) {
        info->si_code = events & EPOLLOUT && !(events & EPOLLIN) ? POLL_OUT : POLL_IN;
        info->si_band = events;
    }
}

static bool async_wake(struct wait_entry *entry, uint32_t key)
{
    struct file_async *async = entry->context;
    struct file *file = async->file;
    siginfo_t info;
    async_fill_info(file, key, &info);
    struct process *process = __atomic_load_n(&file->owner_process, __ATOMIC_ACQUIRE);
    if (process != NULL)
        (void)signal_send_process(process, info.si_signo, &info);
    else if (file->owner_pid < 0)
        (void)work_queue(&async->work);
    return false; // takes no exclusive wake-up from a reader
}

static void async_work(struct work *work)
{
    struct file_async *async = container_of(work, struct file_async, work);
    siginfo_t info;
    async_fill_info(async->file, EPOLLIN, &info);
    if (async->file->owner_pid < 0)
        (void)signal_send_group(-async->file->owner_pid, info.si_signo, &info);
}

static void async_queue(struct poll_table *table, struct file *file, struct wait_queue *queue)
{
    struct file_async *async = container_of(table, struct file_async, table);
    if (async->count == ASYNC_QUEUES)
        return;
    struct wait_entry *entry = &async->waits[async->count].entry;
    wait_entry_init(entry, false);
    entry->wake = async_wake;
    entry->context = async;
    async->waits[async->count++].queue = queue;
    wait_add(queue, entry);
}

static void async_destroy(struct file_async *async)
{
    for (uint32_t i = 0; i < async->count; i++)
        wait_remove(async->waits[i].queue, &async->waits[i].entry);
    work_flush(); // a group signal may be on its way
    kfree(async);
}

int file_async_set(struct file *file, bool on)
{
    if (file->ops->poll == NULL)
        return 0;
    struct file_async *fresh = NULL;
    if (on && file->async == NULL) {
        fresh = kzalloc(sizeof(*fresh));
        if (fresh == NULL)
            return -ENOMEM;
        fresh->file = file;
        fresh->table.queue = async_queue;
        work_init(&fresh->work, async_work);
    }
    spin_lock(&file->lock);
    struct file_async *old = file->async;
    if (on && old == NULL)
        file->async = fresh;
    else if (!on)
        file->async = NULL;
    spin_unlock(&file->lock);
    if (on && old == NULL)
        (void)file->ops->poll(file, &fresh->table);
    else if (on)
        kfree(fresh);
    else if (old != NULL)
        async_destroy(old);
    return 0;
}

void file_async_release(struct file *file)
{
    if (file->async != NULL)
        async_destroy(file->async);
    if (file->owner_process != NULL)
        process_put(file->owner_process);
}

int file_owner_set(struct file *file, int32_t pid)
{
    struct process *process = pid > 0 ? process_find_get(pid) : NULL;
    if (pid > 0 && process == NULL)
        return -ESRCH;
    if (pid < 0 && !process_group_is_known(-pid))
        return -ESRCH;
    spin_lock(&file->lock);
    struct process *old = file->owner_process;
    __atomic_store_n(&file->owner_process, process, __ATOMIC_RELEASE);
    file->owner_pid = pid;
    spin_unlock(&file->lock);
    if (old != NULL) {
        rcu_synchronize(); // a wake-up may be using it
        process_put(old);
    }
    return 0;
}
