// SPDX-License-Identifier: MIT
// Pid numbers, and the table that finds tasks by them.
//
// A number is taken as long as anything bears it: a task (its tid), a process group or a session
// (their ids are the pid of their founder, who may be long dead). Numbers are given out in a
// circle, so that one is used again as late as possible. The table is read under RCU: a task that
// was found is valid until the end of the section and may be kept with reference_get_unless_zero().
#include "kernel/process/process.h"
#include "kernel/base/bitmap.h"

#define PID_RESERVED 300 // numbers below are given out only once, after the start (as Linux does)
#define TABLE_SIZE   1024

struct spinlock task_list_lock = SPINLOCK_INIT("task_list_lock");
struct list_node process_list = LIST_INIT(process_list);
struct process *process_init;

static uint64_t
    numbers[PID_MAX / 64];  // bit set: taken; under task_list_lock, read by process_next_get()
static int32_t last_number; // under task_list_lock
static struct hlist_head table[TABLE_SIZE];

static struct hlist_head *table_chain(int32_t tid)
{
    return &table[(uint32_t)tid % TABLE_SIZE];
}

int pid_number_alloc(int32_t *number)
{
    assert_lock_held(&task_list_lock);
    size_t found = bitmap_find_next_zero(numbers, PID_MAX, (size_t)last_number + 1);
    if (found >= PID_MAX) {
        found = bitmap_find_next_zero(numbers, PID_MAX, PID_RESERVED);
        if (found >= PID_MAX)
            return -EAGAIN;
    }
    bitmap_set_range(numbers, found, 1);
    last_number = (int32_t)found;
    *number = (int32_t)found;
    return 0;
}

void pid_number_release(int32_t number)
{
    assert_lock_held(&task_list_lock);
    debug_assert(number > 0 && number < PID_MAX);
    if (task_lookup(number) == NULL && process_group_find(number) == NULL)
        bitmap_clear_range(numbers, (size_t)number, 1);
}

void pid_table_add(struct task *task)
{
    assert_lock_held(&task_list_lock);
    hlist_add_head(table_chain(task->tid), &task->pid_node);
}

void pid_table_remove(struct task *task)
{
    assert_lock_held(&task_list_lock);
    hlist_remove_rcu(&task->pid_node);
}

void process_list_add(struct process *process)
{
    assert_lock_held(&task_list_lock);
    list_add_tail(&process_list, &process->process_node);
}

void process_list_remove(struct process *process)
{
    assert_lock_held(&task_list_lock);
    list_remove(&process->process_node);
}

struct task *task_lookup(int32_t tid)
{
    if (tid <= 0 || tid >= PID_MAX)
        return NULL;
    struct task *task;
    hlist_for_each_entry_rcu(task, table_chain(tid), pid_node)
    {
        if (atomic_load_relaxed(&task->tid) == tid)
            return task;
    }
    return NULL;
}

struct process *process_lookup(int32_t pid)
{
    struct task *task = task_lookup(pid);
    return task != NULL && task->process->pid == pid ? task->process : NULL;
}

struct task *task_find_get(int32_t tid)
{
    rcu_read_lock();
    struct task *task = task_lookup(tid);
    if (task != NULL && !reference_get_unless_zero(&task->refcount))
        task = NULL;
    rcu_read_unlock();
    return task;
}

struct process *process_find_get(int32_t pid)
{
    rcu_read_lock();
    struct process *process = process_lookup(pid);
    if (process != NULL && !reference_get_unless_zero(&process->refcount))
        process = NULL;
    rcu_read_unlock();
    return process;
}

struct process *process_next_get(int32_t after)
{
    size_t from = after < 0 ? 1 : (size_t)after + 1;
    for (;;) {
        size_t number = bitmap_find_next_set(numbers, PID_MAX, from);
        if (number >= PID_MAX)
            return NULL;
        struct process *process = process_find_get((int32_t)number);
        if (process != NULL)
            return process;
        from = number + 1;
    }
}

struct task *process_thread_next_get(struct process *process, int32_t after_tid)
{
    struct task *next = NULL;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct task *task;
    list_for_each_entry (task, &process->threads, thread_node) {
        if (task->tid > after_tid && (next == NULL || task->tid < next->tid))
            next = task;
    }
    if (next != NULL)
        task_get(next);
    spin_unlock_irqrestore(&task_list_lock, flags);
    return next;
}
