// SPDX-License-Identifier: MIT
// Texts of /proc/PID: stat, status and smaller ones. Formats are Linux's (proc(5)).
#include "kernel/base/bitmap.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/time.h"
#include "kernel/fs/proc.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "sched/sched.h"
#include <linux/sched.h>

#define CLOCK_TICKS_NS (NS_PER_SECOND / 100) // USER_HZ

uint32_t (*proc_tty_device)(const struct tty *tty);

// What several files show of a task, read once so that one file is consistent.
struct task_view {
    struct process *process;
    struct address_space *space; // with a reference, or NULL
    char state;
    int32_t parent, group, session;
    uint32_t tty_device;
    uint64_t user_ns, system_ns;
    uint64_t pending, shared_pending, blocked, ignored, caught;
    uint32_t thread_count;
};

char proc_task_state(struct task *task)
{
    struct process *process = task->process;
    uint32_t state = __atomic_load_n(&task->thread.state, __ATOMIC_RELAXED);
    if (process->state != PROCESS_ALIVE && task == process->leader)
        return 'Z';
    if (task->exiting)
        return task == process->leader ? 'Z' : 'X';
    if (state & THREAD_DEAD)
        return 'Z';
    // Whoever was told of the stop finds it here, though the thread may still be on its way to
    // sleep.
    if (state & THREAD_STOPPED || (process->stopped && process->stop_pending == 0))
        return 'T';
    if (state & THREAD_INTERRUPTIBLE)
        return 'S';
    if (state & (THREAD_UNINTERRUPTIBLE | THREAD_KILLABLE))
        return 'D';
    return 'R';
}

static const char *state_name(char state)
{
    switch (state) {
    case 'R':
        return "R (running)";
    case 'S':
        return "S (sleeping)";
    case 'D':
        return "D (disk sleep)";
    case 'T':
        return "T (stopped)";
    case 'Z':
        return "Z (zombie)";
    default:
        return "X (dead)";
    }
}

static void task_view_signals(struct task *task, struct task_view *view)
{
    struct signal_handlers *handlers = task->handlers;
    if (handlers == NULL)
        return;
    uint64_t flags = spin_lock_irqsave(&handlers->lock);
    view->pending = task->pending.pending;
    view->shared_pending = view->process->pending.pending;
    view->blocked = task->signal_mask;
    view->thread_count = view->process->thread_count;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (handlers->actions[i].handler == (uintptr_t)SIG_IGN)
            view->ignored |= UINT64_C(1) << i;
        else if (handlers->actions[i].handler != (uintptr_t)SIG_DFL)
            view->caught |= UINT64_C(1) << i;
    }
    spin_unlock_irqrestore(&handlers->lock, flags);
}

static void task_view_get(struct task *task, struct task_view *view)
{
    *view = (struct task_view){.process = task->process, .state = proc_task_state(task)};
    view->space = task_space_get(task);
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    view->parent = view->process->parent != NULL ? view->process->parent->pid : 0;
    view->group = view->process->group;
    view->session = view->process->session;
    if (view->process->tty != NULL && proc_tty_device != NULL)
        view->tty_device = proc_tty_device(view->process->tty);
    spin_unlock_irqrestore(&task_list_lock, flags);
    task_view_signals(task, view);
}

static void task_view_put(struct task_view *view)
{
    if (view->space != NULL)
        address_space_put(view->space);
}

static uint64_t space_resident(const struct address_space *space)
{
    int64_t pages = __atomic_load_n(&space->resident_anonymous, __ATOMIC_RELAXED) +
                    __atomic_load_n(&space->resident_file, __ATOMIC_RELAXED);
    return (uint64_t)MAX(pages, INT64_C(0));
}

static bool inode_is_thread(const struct inode *inode, struct task *task)
{
    return task != task->process->leader;
}

// proc(5), /proc/pid/stat (18).
static long shown_priority(const struct sched_parameters *sched)
{
    if (sched->policy == SCHED_DEADLINE)
        return -101;
    return sched->rt_priority != 0 ? -1 - (long)sched->rt_priority : 20 + sched->nice;
}

int proc_show_stat(struct proc_buffer *buffer, struct inode *inode)
{
    struct task *task = proc_inode_task(inode);
    struct task_view view;
    struct sched_parameters sched;
    task_view_get(task, &view);
    const struct process *process = view.process;
    bool may_see = proc_may_access(task) == 0;
    if (inode_is_thread(inode, task))
        task_cpu_times(task, &view.user_ns, &view.system_ns);
    else
        process_cpu_times(view.process, &view.user_ns, &view.system_ns);
    sched_parameters_read(&task->thread, &sched);
    const struct address_space *space = view.space;
    proc_printf(buffer, "%d (%s) %c %d %d %d %d %d %u ", task->tid, task->thread.name, view.state,
        view.parent, view.group, view.session, (int)view.tty_device, -1, 0x400000u);
    proc_printf(buffer, "%lu %lu %lu %lu %lu %lu %ld %ld ",
        (unsigned long)task->thread.minor_faults,
        (unsigned long)process->children_usage.minor_faults,
        (unsigned long)task->thread.major_faults,
        (unsigned long)process->children_usage.major_faults,
        (unsigned long)(view.user_ns / CLOCK_TICKS_NS),
        (unsigned long)(view.system_ns / CLOCK_TICKS_NS),
        (long)(process->children_usage.user_ns / CLOCK_TICKS_NS),
        (long)(process->children_usage.system_ns / CLOCK_TICKS_NS));
    proc_printf(buffer, "%ld %ld %u 0 %lu %lu %lu %lu ", shown_priority(&sched), (long)sched.nice,
        view.thread_count, (unsigned long)(task->start_ns / CLOCK_TICKS_NS),
        (unsigned long)(space ? space->mapped_pages * PAGE_SIZE : 0),
        (unsigned long)(space ? space_resident(space) : 0), ~0ul);
    bool layout = space != NULL && may_see;
    proc_printf(buffer, "%lu %lu %lu 0 0 ", layout ? space->code_start : 0ul,
        layout ? space->code_end : 0ul, layout ? space->stack_top : 0ul);
    proc_printf(buffer, "%lu %lu %lu %lu 0 0 0 %d %u %u %u 0 0 0 ", view.pending & 0x7fffffff,
        view.blocked & 0x7fffffff, view.ignored & 0x7fffffff, view.caught & 0x7fffffff,
        inode_is_thread(inode, task) ? -1 : (int)task->exit_signal, task->thread.cpu,
        sched.rt_priority, sched.policy);
    proc_printf(buffer, "%lu %lu %lu %lu %lu %lu %lu %u\n", layout ? space->data_start : 0ul,
        layout ? space->data_end : 0ul, layout ? space->brk_start : 0ul,
        layout ? space->arg_start : 0ul, layout ? space->arg_end : 0ul,
        layout ? space->env_start : 0ul, layout ? space->env_end : 0ul,
        may_see ? task->exit_code : 0);
    task_view_put(&view);
    return 0;
}

static void status_show_ids(struct proc_buffer *buffer, struct task *task)
{
    rcu_read_lock();
    const struct credentials *cred = credentials_get(rcu_load(task->cred));
    rcu_read_unlock();
    proc_printf(buffer, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", cred->uid, cred->euid,
        cred->suid, cred->fsuid, cred->gid, cred->egid, cred->sgid, cred->fsgid);
    struct fd_table *files = task_files_get(task);
    proc_printf(buffer, "FDSize:\t%u\nGroups:\t", files != NULL ? fd_table_capacity(files) : 0);
    if (files != NULL)
        fd_table_put(files);
    for (uint32_t i = 0; i < cred->group_count; i++)
        proc_printf(buffer, "%u ", cred->groups[i]);
    proc_printf(buffer, "\n");
    credentials_put(cred);
}

static void status_show_memory(struct proc_buffer *buffer, const struct address_space *space)
{
    const unsigned long kilo = PAGE_SIZE / 1024;
    uint64_t resident = space_resident(space);
    uint64_t peak = address_space_resident_peak(space);
    proc_printf(buffer,
        "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t%8u kB\nVmHWM:\t%8lu "
        "kB\nVmRSS:\t%8lu kB\n",
        space->mapped_pages * kilo, space->mapped_pages * kilo, space->locked_pages * kilo, 0,
        peak * kilo, resident * kilo);
    proc_printf(buffer, "RssAnon:\t%8lu kB\nRssFile:\t%8lu kB\nRssShmem:\t%8u kB\n",
        (unsigned long)space->resident_anonymous * kilo, (unsigned long)space->resident_file * kilo,
        0);
    proc_printf(buffer,
        "VmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8lu kB\nVmLib:\t%8u kB\nVmPTE:\t%8lu "
        "kB\nVmSwap:\t%8u kB\n",
        (space->data_end - space->data_start + space->brk_end - space->brk_start) / 1024, 132ul,
        (space->code_end - space->code_start) / 1024, 0, space->table_pages * kilo, 0);
}

void proc_show_cpu_words(struct proc_buffer *buffer, const struct cpumask *mask)
{
    uint32_t cpus = MAX(cpu_count_possible, UINT32_C(1));
    for (uint32_t i = DIV_ROUND_UP(cpus, 32u); i-- > 0;) {
        uint32_t bits = MIN(cpus - i * 32, UINT32_C(32));
        proc_printf(buffer, "%0*x%s", (int)DIV_ROUND_UP(bits, 4u),
            (uint32_t)(mask->words[i / 2] >> (i % 2 * 32)), i != 0 ? "," : "\n");
    }
}

static void status_show_cpus(struct proc_buffer *buffer, struct task *task)
{
    struct cpumask mask;
    sched_get_affinity(&task->thread, &mask);
    uint32_t cpus = MAX(cpu_count_possible, UINT32_C(1));
    for (uint32_t cpu = cpus; cpu < CPU_MAX; cpu++)
        cpumask_clear(&mask, cpu);
    proc_printf(buffer, "Cpus_allowed:\t");
    proc_show_cpu_words(buffer, &mask);
    proc_printf(buffer, "Cpus_allowed_list:\t");
    proc_show_cpu_list(buffer, &mask);
}

void proc_show_cpu_list(struct proc_buffer *buffer, const struct cpumask *mask)
{
    const char *separator = "";
    for (uint32_t cpu = cpumask_next(mask, 0); cpu < CPU_MAX;) {
        uint32_t last = cpu;
        while (last + 1 < CPU_MAX && cpumask_test(mask, last + 1))
            last++;
        if (last > cpu)
            proc_printf(buffer, "%s%u-%u", separator, cpu, last);
        else
            proc_printf(buffer, "%s%u", separator, cpu);
        separator = ",";
        cpu = cpumask_next(mask, last + 1);
    }
    proc_printf(buffer, "\n");
}

int proc_show_status(struct proc_buffer *buffer, struct inode *inode)
{
    struct task *task = proc_inode_task(inode);
    struct task_view view;
    task_view_get(task, &view);
    uint32_t umask = 0;
    spin_lock(&task->alloc_lock);
    if (task->fs != NULL)
        umask = task->fs->umask;
    spin_unlock(&task->alloc_lock);
    proc_printf(buffer, "Name:\t");
    proc_append_escaped(buffer, task->thread.name, "\n\\");
    proc_printf(buffer,
        "\nUmask:\t%04o\nState:\t%s\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n",
        umask, state_name(view.state), view.process->pid, task->tid, view.parent);
    status_show_ids(buffer, task);
    proc_printf(buffer, "NStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n", view.process->pid,
        task->tid, view.group, view.session);
    if (view.space != NULL)
        status_show_memory(buffer, view.space);
    proc_printf(buffer, "CoreDumping:\t0\nTHP_enabled:\t0\nThreads:\t%u\nSigQ:\t0/%lu\n",
        view.thread_count, (unsigned long)view.process->limits[RLIMIT_SIGPENDING].rlim_cur);
    proc_printf(buffer,
        "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
        view.pending, view.shared_pending, view.blocked, view.ignored, view.caught);
    rcu_read_lock();
    const struct credentials *cred = rcu_load(task->cred);
    uint64_t caps[] = {cred->cap_inheritable, cred->cap_permitted, cred->cap_effective,
        cred->cap_bounding, cred->cap_ambient};
    rcu_read_unlock();
    proc_printf(buffer,
        "CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t%016lx\n",
        caps[0], caps[1], caps[2], caps[3], caps[4]);
    proc_printf(
        buffer, "NoNewPrivs:\t%d\nSeccomp:\t0\nSeccomp_filters:\t0\n", task->no_new_privileges);
    status_show_cpus(buffer, task);
    proc_printf(buffer,
        "Mems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_"
        "switches:\t%lu\n",
        task->thread.sched.switches_voluntary, task->thread.sched.switches_involuntary);
    task_view_put(&view);
    return 0;
}

int proc_show_statm(struct proc_buffer *buffer, struct inode *inode)
{
    struct address_space *space = task_space_get(proc_inode_task(inode));
    if (space == NULL) {
        proc_printf(buffer, "0 0 0 0 0 0 0\n");
        return 0;
    }
    uint64_t code = DIV_ROUND_UP(space->code_end - space->code_start, PAGE_SIZE);
    uint64_t data =
        (space->data_end - space->data_start + space->brk_end - space->brk_start) / PAGE_SIZE;
    proc_printf(buffer, "%lu %lu %lu %lu 0 %lu 0\n", space->mapped_pages, space_resident(space),
        (unsigned long)MAX(space->resident_file, INT64_C(0)), code, data);
    address_space_put(space);
    return 0;
}

int proc_show_comm(struct proc_buffer *buffer, struct inode *inode)
{
    proc_printf(buffer, "%s\n", proc_inode_task(inode)->thread.name);
    return 0;
}

static void limit_print(struct proc_buffer *buffer, uint64_t value)
{
    if (value == (uint64_t)RLIM_INFINITY)
        proc_printf(buffer, "%-20s ", "unlimited");
    else
        proc_printf(buffer, "%-20lu ", (unsigned long)value);
}

int proc_show_limits(struct proc_buffer *buffer, struct inode *inode)
{
    static const struct {
        const char *name, *unit;
    } names[RLIM_NLIMITS] = {
        [RLIMIT_CPU] = {"Max cpu time", "seconds"},
        [RLIMIT_FSIZE] = {"Max file size", "bytes"},
        [RLIMIT_DATA] = {"Max data size", "bytes"},
        [RLIMIT_STACK] = {"Max stack size", "bytes"},
        [RLIMIT_CORE] = {"Max core file size", "bytes"},
        [RLIMIT_RSS] = {"Max resident set", "bytes"},
        [RLIMIT_NPROC] = {"Max processes", "processes"},
        [RLIMIT_NOFILE] = {"Max open files", "files"},
        [RLIMIT_MEMLOCK] = {"Max locked memory", "bytes"},
        [RLIMIT_AS] = {"Max address space", "bytes"},
        [RLIMIT_LOCKS] = {"Max file locks", "locks"},
        [RLIMIT_SIGPENDING] = {"Max pending signals", "signals"},
        [RLIMIT_MSGQUEUE] = {"Max msgqueue size", "bytes"},
        [RLIMIT_NICE] = {"Max nice priority", NULL},
        [RLIMIT_RTPRIO] = {"Max realtime priority", NULL},
        [RLIMIT_RTTIME] = {"Max realtime timeout", "us"},
    };
    const struct process *process = proc_inode_task(inode)->process;
    proc_printf(buffer, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (size_t i = 0; i < RLIM_NLIMITS; i++) {
        proc_printf(buffer, "%-25s ", names[i].name);
        limit_print(buffer, process->limits[i].rlim_cur);
        limit_print(buffer, process->limits[i].rlim_max);
        proc_printf(buffer, names[i].unit != NULL ? "%-10s\n" : "\n", names[i].unit);
    }
    return 0;
}

int proc_show_io(struct proc_buffer *buffer, struct inode *inode)
{
    if (proc_may_access(proc_inode_task(inode)) != 0)
        return -EACCES;
    proc_printf(buffer, "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: "
                        "0\ncancelled_write_bytes: 0\n");
    return 0;
}

int proc_show_oom_score_adj(struct proc_buffer *buffer, struct inode *inode)
{
    proc_printf(buffer, "%d\n", proc_inode_task(inode)->process->oom_score_adjust);
    return 0;
}

int proc_show_oom_score(struct proc_buffer *buffer, struct inode *inode)
{
    struct task *task = proc_inode_task(inode);
    struct page_statistics statistics;
    page_statistics_read(&statistics);
    struct address_space *space = task_space_get(task);
    uint64_t resident = space != NULL ? space_resident(space) : 0;
    if (space != NULL)
        address_space_put(space);
    int64_t score = (int64_t)(resident * 1000 / MAX(statistics.total_pages, UINT64_C(1))) +
                    task->process->oom_score_adjust;
    proc_printf(buffer, "%ld\n", (long)CLAMP((1000 + score) * 2 / 3, INT64_C(0), INT64_C(1333)));
    return 0;
}

int proc_show_personality(struct proc_buffer *buffer, struct inode *inode)
{
    struct task *task = proc_inode_task(inode);
    if (proc_may_access(task) != 0)
        return -EPERM;
    proc_printf(buffer, "%08x\n", task->personality);
    return 0;
}

int proc_show_wchan(struct proc_buffer *buffer, struct inode *inode)
{
    proc_printf(buffer, "0");
    return 0;
}

int proc_show_cgroup(struct proc_buffer *buffer, struct inode *inode)
{
    proc_printf(buffer, "0::/\n");
    return 0;
}

int proc_show_cpuset(struct proc_buffer *buffer, struct inode *inode)
{
    proc_printf(buffer, "/\n");
    return 0;
}

int proc_show_schedstat(struct proc_buffer *buffer, struct inode *inode)
{
    const struct thread *thread = &proc_inode_task(inode)->thread;
    proc_printf(buffer, "%lu 0 %lu\n", sched_thread_cpu_ns(thread),
        thread->sched.switches_voluntary + thread->sched.switches_involuntary);
    return 0;
}

// Also sessionid: both belong to auditing, which there is none of.
int proc_show_loginuid(struct proc_buffer *buffer, struct inode *inode)
{
    proc_printf(buffer, "%u", UINT32_MAX);
    return 0;
}
