// SPDX-License-Identifier: MIT
// Out of memory: which process has to go.
//
// The one whose end gives back most: resident and page-table pages, shifted by oom_score_adj (in
// thousandths of all memory; -1000: never). While a victim is dying no other is chosen: its memory
// comes back soon. Called by the page allocator in task context, with arbitrary sleeping locks
// held; so it takes none.
#include "kernel/core/log.h"
#include "kernel/core/time.h"
#include "kernel/process/process.h"
#include "mm/address_space.h"

#define PATIENCE_NS                                                                                \
    (5 * NS_PER_SECOND) // a victim that did not die until then blocks nobody any more

static struct spinlock oom_lock = SPINLOCK_INIT("oom_lock");
static int32_t victim_pid; // under oom_lock
static uint64_t victim_chosen_ns;

static int64_t pages_of(const struct address_space *space)
{
    return atomic_load_relaxed(&space->resident_anonymous) +
           atomic_load_relaxed(&space->resident_file) +
           (int64_t)atomic_load_relaxed(&space->table_pages);
}

// Points of a process; negative: not to be chosen. task_list_lock is held.
static int64_t badness(struct process *process, int64_t total_pages)
{
    if (process == process_init || process->state != PROCESS_ALIVE ||
        process->oom_score_adjust <= -1000)
        return -1;
    // Any living task will do: they share the memory.
    struct task *task;
    int64_t points = -1;
    list_for_each_entry (task, &process->threads, thread_node) {
        spin_lock(&task->alloc_lock);
        if (task->thread.space != NULL && points < 0)
            points = pages_of(task->thread.space);
        spin_unlock(&task->alloc_lock);
    }
    if (points < 0)
        return -1;
    points += process->oom_score_adjust * total_pages / 1000;
    return points > 0 ? points : 1;
}

static struct process *choose(int64_t total_pages, int64_t *points)
{
    struct process *process, *worst = NULL;
    *points = 0;
    list_for_each_entry (process, &process_list, process_node) {
        int64_t own = badness(process, total_pages);
        if (own > *points) {
            *points = own;
            worst = process;
        }
    }
    return worst;
}

// Is an earlier victim still about to give its memory back? task_list_lock is held.
static bool victim_is_dying(void)
{
    struct process *victim = victim_pid != 0 ? process_lookup(victim_pid) : NULL;
    if (victim == NULL || victim->state != PROCESS_ALIVE || !victim->group_exit)
        return false;
    return time_monotonic_ns() - victim_chosen_ns < PATIENCE_NS;
}

// Why: what was asked for, and where the memory is.
static void log_reason(
    const struct page_shortage *shortage, const struct page_statistics *statistics)
{
    log_error("out of memory: %s asked for %llu pages; %llu of %llu free (%llu kept back), "
              "%llu of programs, %llu cached (%llu of them shared memory), %llu slabs, "
              "%llu page tables, %llu stacks",
        thread_current()->name, 1ull << shortage->order, (unsigned long long)statistics->free_pages,
        (unsigned long long)statistics->total_pages, (unsigned long long)statistics->reserve_pages,
        (unsigned long long)statistics->anonymous_pages,
        (unsigned long long)statistics->cache_pages, (unsigned long long)statistics->shared_pages,
        (unsigned long long)statistics->slab_pages,
        (unsigned long long)statistics->page_table_pages,
        (unsigned long long)statistics->kernel_stack_pages);
}

bool process_out_of_memory(const struct page_shortage *shortage)
{
    struct page_statistics statistics;
    page_statistics_read(&statistics);
    bool self = false;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    spin_lock(&oom_lock);
    bool dying = victim_is_dying();
    int64_t points = 0;
    struct process *victim = dying ? NULL : choose((int64_t)statistics.total_pages, &points);
    if (victim != NULL) {
        victim_pid = victim->pid;
        victim_chosen_ns = time_monotonic_ns();
        (void)signal_send_process(victim, SIGKILL, NULL);
        self = (thread_current()->flags & THREAD_FLAG_KERNEL) == 0 && victim == process_current();
        log_reason(shortage, &statistics);
        log_error("out of memory: killed process %d (%s), the largest with %lld pages "
                  "(oom_score_adj %d), %llu of %llu free",
            victim->pid, victim->leader->thread.name, (long long)points, victim->oom_score_adjust,
            (unsigned long long)statistics.free_pages, (unsigned long long)statistics.total_pages);
    }
    spin_unlock(&oom_lock);
    spin_unlock_irqrestore(&task_list_lock, flags);
    // The victim itself does not wait for the memory: its allocation fails and it dies.
    return !self && (dying || victim != NULL);
}
