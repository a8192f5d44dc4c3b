// SPDX-License-Identifier: MIT
// New tasks and processes: what fork(2), vfork(2), clone(2) and clone3(2) have in common.
//
// First everything is allocated and copied, which may fail; then, under task_list_lock, the child
// gets its number and its place among the others. There a signal that the parent has not yet taken
// makes the call start over
// (-ERESTARTNOINTR), so that a signal to a process group reaches either the parent before the fork
// or both.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/time.h"
#include "kernel/core/trace_points.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/process.h"
#include "mm/address_space.h"
#include "mm/policy.h"
#include "perf/perf.h"
#include "sched/sched.h"
#include <linux/capability.h>
#include <linux/sched.h>

#define CLONE_NAMESPACES                                                                           \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
        CLONE_NEWNET)

static int flags_check(const struct clone_request *request)
{
    uint64_t flags = request->flags;
    if ((flags & CLONE_NAMESPACES) != 0)
        return -EINVAL; // as a kernel that is built without namespaces
    if ((flags & CLONE_THREAD) != 0 && (flags & CLONE_SIGHAND) == 0)
        return -EINVAL;
    if ((flags & CLONE_SIGHAND) != 0 && (flags & CLONE_VM) == 0)
        return -EINVAL;
    if ((flags & CLONE_SIGHAND) != 0 && (flags & CLONE_CLEAR_SIGHAND) != 0)
        return -EINVAL;
    if ((flags & CLONE_PARENT) != 0 && process_current() == process_init)
        return -EINVAL;
    if ((flags & CLONE_PIDFD) != 0 && (flags & (CLONE_THREAD | CLONE_DETACHED)) != 0)
        return -EINVAL;
    if ((flags & CLONE_SETTLS) != 0 && request->tls >= USER_END)
        return -EPERM;
    return 0;
}

// RLIMIT_NPROC counts tasks of the real user; root and the capable are exempt.
static int count_check(const struct credentials *cred)
{
    if (atomic_load_relaxed(&cred->user->process_count) < process_limit(RLIMIT_NPROC))
        return 0;
    if (cred->uid == 0 || capable(CAP_SYS_RESOURCE) || capable(CAP_SYS_ADMIN))
        return 0;
    return -EAGAIN;
}

// Memory, files and fs context of the child: shared or copied. What was done is found in the task,
// for tables_release().
static int tables_copy(struct task *child, const struct task *parent, uint64_t flags)
{
    if ((flags & CLONE_FILES) != 0) {
        child->files = parent->files;
        fd_table_get(child->files);
    } else {
        int error = -ENOMEM;
        child->files = fd_table_clone(parent->files, UINT32_MAX, &error);
        if (child->files == NULL)
            return error;
    }
    if ((flags & CLONE_FS) != 0) {
        child->fs = parent->fs;
        fs_context_get(child->fs);
    } else {
        child->fs = fs_context_clone(parent->fs);
        if (child->fs == NULL)
            return -ENOMEM;
    }
    if ((flags & CLONE_VM) != 0) {
        child->thread.space = parent->thread.space;
        address_space_get(child->thread.space);
    } else {
        child->thread.space = address_space_fork(parent->thread.space);
        if (child->thread.space == NULL)
            return -ENOMEM;
        struct file *exe = parent->thread.space->exe;
        if (exe != NULL)
            file_get(exe);
        child->thread.space->exe = exe;
    }
    return 0;
}

static void tables_release(struct task *child)
{
    if (child->thread.space != NULL)
        address_space_put(child->thread.space);
    if (child->fs != NULL)
        fs_context_put(child->fs);
    if (child->files != NULL)
        fd_table_put(child->files);
}

static int handlers_copy(struct process *child, struct process *parent, uint64_t clone_flags)
{
    if ((clone_flags & CLONE_SIGHAND) != 0) {
        atomic_fetch_add_relaxed(&parent->handlers->refcount, 1u);
        child->handlers = parent->handlers;
        return 0;
    }
    child->handlers = signal_handlers_allocate();
    if (child->handlers == NULL)
        return -ENOMEM;
    uint64_t flags = spin_lock_irqsave(&parent->handlers->lock);
    memcpy(child->handlers->actions, parent->handlers->actions, sizeof(parent->handlers->actions));
    spin_unlock_irqrestore(&parent->handlers->lock, flags);
    if ((clone_flags & CLONE_CLEAR_SIGHAND) != 0) {
        for (int i = 0; i < SIGNAL_COUNT; i++) {
            struct signal_action *action = &child->handlers->actions[i];
            uintptr_t keep = action->handler == (uintptr_t)SIG_IGN ? action->handler : 0;
            *action = (struct signal_action){.handler = keep};
        }
    }
    return 0;
}

// A process of its own for the child; what it inherits.
static struct process *process_copy(struct process *parent, uint64_t flags)
{
    struct process *process = process_allocate();
    if (process == NULL)
        return NULL;
    if (handlers_copy(process, parent, flags) != 0) {
        process_put(process);
        return NULL;
    }
    memcpy(process->limits, parent->limits, sizeof(process->limits));
    process->oom_score_adjust = parent->oom_score_adjust;
    process->dumpable = parent->dumpable;
    return process;
}

// The fields of a task that are not tables. `child` is zeroed beyond that.
static void task_copy(struct task *child, struct task *parent, const struct clone_request *request)
{
    uint64_t flags = request->flags;
    memcpy(child->thread.name, parent->thread.name, sizeof(child->thread.name));
    child->signal_mask = parent->signal_mask;
    if ((flags & (CLONE_VM | CLONE_VFORK)) != CLONE_VM) {
        child->altstack_base = parent->altstack_base;
        child->altstack_size = parent->altstack_size;
        child->altstack_flags = parent->altstack_flags;
    }
    child->clear_child_tid = (flags & CLONE_CHILD_CLEARTID) != 0 ? request->child_tid : 0;
    child->set_child_tid = (flags & CLONE_CHILD_SETTID) != 0 ? request->child_tid : 0;
    if ((flags & CLONE_PARENT) != 0)
        child->exit_signal = parent->process->leader->exit_signal;
    else
        child->exit_signal = (uint8_t)request->exit_signal;
    child->no_new_privileges = parent->no_new_privileges;
    child->personality = parent->personality;
    child->io_priority = parent->io_priority;
    child->thread.timer_slack_ns = parent->thread.timer_slack_ns;
    child->start_ns = time_monotonic_ns();
}

static void frame_copy(struct task *child, struct task *parent, const struct clone_request *request)
{
    arch_thread_copy_user_state(&child->thread, &parent->thread);
    struct trap_frame *frame = arch_thread_init_user(&child->thread);
    *frame = *arch_thread_user_frame(&parent->thread);
    frame->rax = 0;
    frame->syscall_number = UINT64_MAX;
    if (request->stack != 0)
        frame->rsp = request->stack;
    if ((request->flags & CLONE_SETTLS) != 0)
        child->thread.arch.fs_base = request->tls;
}

// A new thread of the running process; both locks are held.
static void link_thread(struct task *child, struct process *process)
{
    child->handlers = process->handlers;
    list_add_tail(&process->threads, &child->thread_node);
    process->thread_count++;
}

static void link_process(struct task *child, struct task *parent, uint64_t flags)
{
    struct process *process = child->process;
    struct process *creator = parent->process;
    process->pid = child->tid;
    process->leader = child;
    child->handlers = process->handlers;
    list_add_tail(&process->threads, &child->thread_node);
    process->thread_count = 1;
    if ((flags & CLONE_PARENT) != 0) {
        process->parent = creator->parent;
        process->parent_tid = creator->parent_tid;
    } else {
        process->parent = creator;
        process->parent_tid = parent->tid;
    }
    list_add_tail(&process->parent->children, &process->sibling);
    process->tty = creator->tty;
    process_group_join(process, creator->group_entry);
    process_list_add(process);
}

// Number and place among the others. -ERESTARTNOINTR: a signal comes first; -EAGAIN: no number is
// left.
static int link_child(struct task *child, struct task *parent, const struct clone_request *request)
{
    struct process *creator = parent->process;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    spin_lock(&creator->handlers->lock);
    int error = -ERESTARTNOINTR;
    if (!thread_signal_pending(&parent->thread))
        error = pid_number_alloc(&child->tid);
    if (error == 0) {
        if (child->process == creator)
            link_thread(child, creator);
        else
            link_process(child, parent, request->flags);
        pid_table_add(child);
        child->thread.pid = (uint32_t)child->process->pid;
        child->thread.tid = (uint32_t)child->tid;
    }
    spin_unlock(&creator->handlers->lock);
    spin_unlock_irqrestore(&task_list_lock, flags);
    if (error == 0)
        atomic_fetch_add_relaxed(&child->cred->user->process_count, 1u);
    return error;
}

// Allocates and copies everything that can fail.
static int prepare_child(const struct clone_request *request, struct task **result)
{
    struct task *parent = task_current();
    struct task *child = task_allocate();
    if (child == NULL)
        return -ENOMEM;
    if ((request->flags & CLONE_THREAD) != 0) {
        child->process = parent->process;
        process_get(child->process);
    } else {
        child->process = process_copy(parent->process, request->flags);
    }
    sched_thread_init(&child->thread, &parent->thread);
    task_copy(child, parent, request);
    int error = child->process == NULL ? -ENOMEM : tables_copy(child, parent, request->flags);
    if (error == 0)
        error = perf_event_fork(&child->thread, &parent->thread);
    if (error == 0) {
        child->cred = credentials_get(parent->cred);
        child->thread.memory_policy = memory_policy_get(parent->thread.memory_policy);
        child->thread.interleaved_node = parent->thread.interleaved_node;
        frame_copy(child, parent, request);
        *result = child;
        return 0;
    }
    tables_release(child);
    if (child->process != NULL)
        process_put(child->process);
    task_free_unused(child);
    return error;
}

// The parent of a vfork waits until the child has its own memory, or the parent is killed.
static void wait_for_vfork(struct task *child, struct completion *done)
{
    (void)completion_wait_killable(done); // killed: the next return to user mode dies
    // The child completes under this lock: it is through with our stack once we had the lock.
    spin_lock(&child->alloc_lock);
    child->vfork_done = NULL;
    spin_unlock(&child->alloc_lock);
}

// CLONE_PIDFD: a descriptor for the child, which is installed when the child is there. The number
// is written at once.
static int pidfd_prepare(
    struct task *child, const struct clone_request *request, struct file **file)
{
    int fd = file_fd_reserve(0, true);
    if (fd < 0)
        return fd;
    *file = pidfd_create(child->process, 0);
    int error = *file == NULL ? -ENOMEM : user_put_u32(request->pidfd, (uint32_t)fd);
    if (error == 0)
        return fd;
    if (*file != NULL)
        file_put(*file);
    file_fd_release(fd);
    return error;
}

// The child was never linked.
static void child_discard(struct task *child)
{
    perf_event_exit(&child->thread);
    memory_policy_put(child->thread.memory_policy);
    tables_release(child);
    credentials_put(child->cred);
    process_put(child->process);
    task_free_unused(child);
}

// Links the prepared child; with its pidfd.
static int publish(struct task *child, struct task *parent, const struct clone_request *request)
{
    struct file *pidfd = NULL;
    int fd = 0;
    if ((request->flags & CLONE_PIDFD) != 0) {
        fd = pidfd_prepare(child, request, &pidfd);
        if (fd < 0)
            return fd;
    }
    int error = link_child(child, parent, request);
    if (pidfd != NULL && error == 0) {
        file_fd_install(fd, pidfd);
    } else if (pidfd != NULL) {
        file_put(pidfd);
        file_fd_release(fd);
    }
    return error;
}

int64_t process_clone(const struct clone_request *request)
{
    struct task *parent = task_current();
    struct task *child;
    struct completion vfork_done;
    int error = flags_check(request);
    if (error == 0 && !sched_may_fork(&parent->thread))
        error = -EAGAIN; // sched(7): the bandwidth cannot be had twice
    if (error == 0)
        error = count_check(parent->cred);
    if (error == 0 && unlikely(thread_signal_pending(&parent->thread)))
        error = -ERESTARTNOINTR;
    if (error == 0)
        error = prepare_child(request, &child);
    if (error != 0)
        return error;
    bool vfork = (request->flags & CLONE_VFORK) != 0;
    if (vfork) {
        completion_init(&vfork_done);
        child->vfork_done = &vfork_done;
    }
    error = publish(child, parent, request);
    if (error != 0) {
        child_discard(child);
        return error;
    }
    int32_t tid = child->tid;
    if ((request->flags & CLONE_PARENT_SETTID) != 0)
        (void)!user_put_u32(
            request->parent_tid, (uint32_t)tid); // a bad address is no error, as in Linux
    task_get(child); // for the task that runs; the other reference is that of the pid table
    if (vfork)
        task_get(child);
    trace(sched_process_fork, .parent_comm = trace_comm(&parent->thread), .parent_pid = parent->tid,
        .child_comm = trace_comm(&child->thread), .child_pid = tid);
    if (unlikely(perf_side_wanted))
        perf_note_fork(&child->thread, &parent->thread);
    sched_start(&child->thread);
    if (vfork) {
        wait_for_vfork(child, &vfork_done);
        task_put(child);
    }
    return tid;
}

int process_unshare(bool files, bool fs)
{
    struct task *task = task_current();
    struct fd_table *own_files = NULL;
    struct fs_context *own_fs = NULL;
    int error = -ENOMEM;
    if (files && fd_table_is_shared(task->files)) {
        own_files = fd_table_clone(task->files, UINT32_MAX, &error);
        if (own_files == NULL)
            return error;
    }
    if (fs && atomic_load_relaxed(&task->fs->refcount) > 1) {
        own_fs = fs_context_clone(task->fs);
        if (own_fs == NULL) {
            if (own_files != NULL)
                fd_table_put(own_files);
            return -ENOMEM;
        }
    }
    struct fd_table *old_files = task->files;
    struct fs_context *old_fs = task->fs;
    spin_lock(&task->alloc_lock);
    if (own_files != NULL)
        task->files = own_files;
    if (own_fs != NULL)
        task->fs = own_fs;
    spin_unlock(&task->alloc_lock);
    if (own_files != NULL)
        fd_table_put(old_files);
    if (own_fs != NULL)
        fs_context_put(old_fs);
    return 0;
}
