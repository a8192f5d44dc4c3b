// SPDX-License-Identifier: MIT
// exec: replaces the running program by another.
//
// Two phases. The first opens the file, gathers the arguments, follows `#!` lines, judges the ELF
// headers and maps everything into a new address space: whatever fails is returned, and nothing has
// happened. Then the other threads of the process are ended, and from there on (the point of no
// return) the process gives up what belonged to the old program; the few things that can still fail
// kill it.
#include "kernel/process/exec.h"
#include "kernel/process/profile.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/process/vdso.h"
#include "kernel/fs/vfs.h"
#include "mm/address_space.h"
#include "perf/perf.h"
#include "mm/slab.h"
#include "sched/sched.h"
#include <linux/fcntl.h>

#define SCRIPT_DEPTH_MAX 5 // interpreters of interpreters, as Linux

// ---- first phase -------------------------------------------------------------------------------

static int read_head(struct exec_program *program)
{
    if (program->head == NULL)
        program->head = kmalloc(EXEC_HEAD_BYTES, 0);
    if (program->head == NULL)
        return -ENOMEM;
    int64_t got = file_read_kernel(program->file, program->head, EXEC_HEAD_BYTES, 0);
    if (got < 0)
        return (int)got;
    program->head_len_bytes = (size_t)got;
    return 0;
}

// The file is a script: its interpreter becomes the program, with the script's path among its
// arguments.
static int follow_script(
    struct exec_program *program, struct exec_arguments *arguments, const char *script_path)
{
    char interpreter[SCRIPT_LINE_MAX];
    char argument[SCRIPT_LINE_MAX];
    int error = script_parse(program->head, program->head_len_bytes, interpreter, argument);
    if (error != 0)
        return error;
    struct file *file;
    error = vfs_open_exec(AT_FDCWD, interpreter, 0, &file);
    if (error != 0)
        return error;
    file_put(program->file);
    program->file = file;

    size_t room = strlen(interpreter) + strlen(argument) + strlen(script_path) + 3;
    char *strings = kmalloc(room, 0);
    if (strings == NULL)
        return -ENOMEM;
    uint32_t count = 2;
    size_t len = strlcpy(strings, interpreter, room) + 1;
    if (argument[0] != '\0') {
        len += strlcpy(strings + len, argument, room - len) + 1;
        count = 3;
    }
    len += strlcpy(strings + len, script_path, room - len) + 1;
    error = exec_arguments_prepend(
        arguments, strings, len, count, MIN(arguments->argument_count, UINT32_C(1)));
    kfree(strings);
    return error;
}

// Reads what the file is, through scripts to the ELF program.
static int find_program(
    struct exec_program *program, struct exec_arguments *arguments, const char *path)
{
    char *script_path = NULL; // of the second and further levels
    int error = 0;
    for (uint32_t depth = 0; error == 0; depth++) {
        error = read_head(program);
        if (error != 0)
            break;
        error = elf_prepare(program);
        if (error != -ENOEXEC || program->head_len_bytes < 2 || program->head[0] != '#' ||
            program->head[1] != '!')
            break;
        if (depth == SCRIPT_DEPTH_MAX || program->path_vanishes) {
            error = depth == SCRIPT_DEPTH_MAX ? -ELOOP : -ENOENT;
            break;
        }
        // The next level's argument is the path of this level's interpreter: it stands first among
        // the strings.
        error = follow_script(program, arguments, script_path != NULL ? script_path : path);
        kfree(script_path);
        script_path = error == 0 ? kstrdup(arguments->strings) : NULL;
        if (error == 0 && script_path == NULL)
            error = -ENOMEM;
    }
    kfree(script_path);
    return error;
}

static int build_space(struct exec_program *program, const struct exec_arguments *arguments)
{
    program->space = address_space_create();
    if (program->space == NULL)
        return -ENOMEM;
    struct process *process = process_current();
    struct address_space *space = program->space;
    const struct address_space *old = thread_current()->space;
    if (old != NULL) // as on Linux, the program's successor does not ask either
        space->huge_disabled = old->huge_disabled;
    space->limit_as_bytes = process->limits[RLIMIT_AS].rlim_cur;
    space->limit_data_bytes = process->limits[RLIMIT_DATA].rlim_cur;
    space->limit_memlock_bytes = process->limits[RLIMIT_MEMLOCK].rlim_cur;
    size_t pointers =
        ((size_t)arguments->argument_count + arguments->environment_count + 3) * sizeof(uintptr_t);
    int error = elf_map(program, process->limits[RLIMIT_STACK].rlim_cur,
        arguments->len_bytes + pointers + sizeof(space->auxv) + 64);
    if (error == 0)
        error = vdso_map(space);
    if (error != 0)
        return error;
    file_get(program->file);
    space->exe = program->file;
    return 0;
}

// ---- the other threads -------------------------------------------------------------------------

// The running task takes over the leader's number and place; the leader is dead or dying.
static void become_leader(struct task *task)
{
    struct process *process = task->process;
    struct task *old = process->leader;
    int32_t own_tid = task->tid;
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    spin_lock(&task->handlers->lock);
    pid_table_remove(task);
    pid_table_remove(old);
    atomic_store_relaxed(&old->tid, own_tid);
    atomic_store_relaxed(&task->tid, process->pid);
    atomic_store_relaxed(&old->thread.tid, (uint32_t)own_tid);
    atomic_store_relaxed(&task->thread.tid, (uint32_t)process->pid);
    pid_table_add(old);
    pid_table_add(task);
    task->exit_signal = old->exit_signal;
    task->start_ns = old->start_ns;
    process->leader = task;
    spin_unlock(&task->handlers->lock);
    bool parked = old->parked;
    if (parked)
        task_unlink_dead_thread(old); // else it finds itself a mere thread and goes by itself
    spin_unlock_irqrestore(&task_list_lock, flags);
    if (parked)
        task_put(old);
}

// Ends the other threads. -EAGAIN: another of them was first, or the process is dying.
static int end_other_threads(struct task *task)
{
    struct process *process = task->process;
    struct spinlock *lock = &task->handlers->lock;
    uint64_t flags = spin_lock_irqsave(lock);
    if (process->group_exit || process->exec_task != NULL) {
        spin_unlock_irqrestore(lock, flags);
        return -EAGAIN;
    }
    process->exec_task = task;
    struct task *other;
    list_for_each_entry (other, &process->threads, thread_node) {
        if (other != task && !other->exiting)
            task_kill_locked(other);
    }
    int error = 0;
    while (process->thread_count > 1 && error == 0) {
        thread_prepare_sleep(THREAD_KILLABLE); // under the lock; the leaving ones wake
        spin_unlock_irqrestore(lock, flags);
        error = sched_block(UINT64_MAX);
        flags = spin_lock_irqsave(lock);
    }
    process->exec_task = NULL;
    spin_unlock_irqrestore(lock, flags);
    if (error != 0)
        return -EAGAIN; // killed
    if (process->leader != task)
        become_leader(task);
    return 0;
}

// ---- second phase ------------------------------------------------------------------------------

// Handlers of the old program become default actions; those that are shared with another process
// are left to it.
static void reset_handlers(struct task *task, struct signal_handlers *fresh)
{
    struct process *process = task->process;
    struct signal_handlers *old = task->handlers;
    if (fresh != NULL) {
        uint64_t flags = spin_lock_irqsave(&old->lock);
        memcpy(fresh->actions, old->actions, sizeof(fresh->actions));
        rcu_store(process->handlers, fresh);
        task->handlers = fresh;
        spin_unlock_irqrestore(&old->lock, flags);
        rcu_synchronize();
        signal_handlers_put(old);
    }
    uint64_t flags = spin_lock_irqsave(&task->handlers->lock);
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct signal_action *action = &task->handlers->actions[i];
        if (action->handler != (uintptr_t)SIG_IGN)
            action->handler = (uintptr_t)SIG_DFL;
        action->flags = 0;
        action->restorer = 0;
        action->mask = 0;
    }
    spin_unlock_irqrestore(&task->handlers->lock, flags);
}

static void switch_space(struct task *task, struct address_space *space)
{
    struct address_space *old = task->thread.space;
    if (old != NULL)
        task_release_space(task);
    address_space_activate(space);
    spin_lock(&task->alloc_lock); // who saw the old one in /proc has its reference now
    struct completion *vfork_done = task->vfork_done;
    task->vfork_done = NULL;
    if (vfork_done != NULL)
        completion_complete(vfork_done);
    spin_unlock(&task->alloc_lock);
    if (old != NULL)
        address_space_put(old);
}

static void set_name(struct task *task, const char *path)
{
    const char *name = path;
    for (const char *c = path; *c != '\0'; c++) {
        if (*c == '/')
            name = c + 1;
    }
    char padded[THREAD_NAME_BYTES] = {};
    strlcpy(padded, name, sizeof(padded));
    memcpy(task->thread.name, padded, sizeof(padded));
}

// What belonged to the old program and is not one of the shared tables.
static void reset_task(struct task *task, bool gained)
{
    struct process *process = task->process;
    task->altstack_base = 0;
    task->altstack_size = 0;
    task->altstack_flags = 0;
    task->clear_child_tid = 0;
    task->robust_list = 0;
    task->futex_pi = (struct futex_pi_task){};
    task->restart.function = NULL;
    if (gained)
        task->pdeath_signal = 0;
    task->exit_signal = SIGCHLD;
    process->did_exec = true;
    process->dumpable = !gained;
    posix_timers_release(process);
    arch_thread_reset_user_state();
}

// From here on there is no old program. Does not return on failure.
static void commit(struct exec_program *program, const struct exec_arguments *arguments,
    struct credentials *cred, struct signal_handlers *handlers, struct fd_table *files,
    const char *path, bool secure, bool gained)
{
    struct task *task = task_current();
    switch_space(task, program->space);
    if (files != NULL) {
        struct fd_table *shared = task->files;
        spin_lock(&task->alloc_lock);
        task->files = files;
        spin_unlock(&task->alloc_lock);
        fd_table_put(shared);
    }
    fd_table_close_on_exec(task->files);
    reset_handlers(task, handlers);
    reset_task(task, gained);
    set_name(task, path);
    if (cred != NULL)
        credentials_commit(cred);
    task->process->dumpable = !gained;
    uintptr_t rsp;
    if (elf_clear_tails(program) != 0 || elf_fill_stack(program, arguments, secure, &rsp) != 0)
        process_exit_group(SIGKILL);
    perf_event_exec(&task->thread);
    profile_exec();
    struct trap_frame *frame = arch_thread_user_frame(&task->thread);
    arch_frame_start(frame, elf_entry(program), rsp);
    frame->syscall_number = UINT64_MAX;
}

// Everything between the gathered arguments and the new program.
static int replace(struct exec_program *program, struct exec_arguments *arguments, const char *path)
{
    struct task *task = task_current();
    struct credentials *cred = NULL;
    struct signal_handlers *handlers = NULL;
    struct fd_table *files = NULL;
    bool secure, gained;
    int error = find_program(program, arguments, path);
    if (error == 0)
        error = exec_credentials(program->file, &cred, &secure, &gained);
    if (error == 0)
        error = build_space(program, arguments);
    if (error == 0 && fd_table_is_shared(task->files)) {
        error = -ENOMEM;
        files = fd_table_clone(task->files, UINT32_MAX, &error);
        error = files != NULL ? 0 : error;
    }
    if (error == 0 && atomic_load_relaxed(&task->handlers->refcount) > 1) {
        handlers = signal_handlers_allocate();
        error = handlers != NULL ? 0 : -ENOMEM;
    }
    if (error == 0)
        error = end_other_threads(task);
    if (error == 0) {
        commit(program, arguments, cred, handlers, files, path, secure, gained);
        return 0;
    }
    if (cred != NULL)
        credentials_put(cred);
    if (handlers != NULL)
        signal_handlers_put(handlers);
    if (files != NULL)
        fd_table_put(files);
    if (program->space != NULL)
        address_space_put(program->space);
    return error;
}

// What a program that was named relative to a descriptor is called: /dev/fd/N or /dev/fd/N/path.
// NULL: no memory.
static char *path_of_descriptor(int dirfd, const char *path)
{
    size_t size = strlen(path) + 32;
    char *text = kmalloc(size, 0);
    if (text != NULL)
        fmt_snprintf(text, size, path[0] == '\0' ? "/dev/fd/%d" : "/dev/fd/%d/%s", dirfd, path);
    return text;
}

static int exec_opened(
    struct exec_program *program, const char *path, uintptr_t argv, uintptr_t envp)
{
    struct exec_arguments arguments;
    uint32_t paths = 0;
    exec_arguments_init(&arguments, process_limit(RLIMIT_STACK));
    int error = exec_arguments_add_user(&arguments, argv, &arguments.argument_count);
    if (error == 0 && arguments.argument_count == 0) // never none: programs rely on argv[0]
        error = exec_arguments_add_kernel(&arguments, "", 1, &arguments.argument_count);
    if (error == 0)
        error = exec_arguments_add_user(&arguments, envp, &arguments.environment_count);
    if (error == 0)
        error = exec_arguments_add_kernel(&arguments, path, strlen(path) + 1, &paths);
    if (error == 0)
        error = replace(program, &arguments, path);
    exec_arguments_release(&arguments);
    return error;
}

int process_exec(int dirfd, const char *path, uintptr_t argv, uintptr_t envp, int flags)
{
    struct exec_program program = {};
    int error = vfs_open_exec(dirfd, path, flags, &program.file);
    if (error != 0)
        return error;
    char *allocated = NULL;
    if (dirfd != AT_FDCWD && path[0] != '/') {
        program.path_vanishes = fd_table_is_close_on_exec(task_current()->files, dirfd);
        allocated = path_of_descriptor(dirfd, path);
        path = allocated;
    }
    error = path != NULL ? exec_opened(&program, path, argv, envp) : -ENOMEM;
    kfree(allocated);
    exec_program_release(&program);
    return error;
}

int process_exec_kernel(
    const char *path, const char *argv, size_t argv_len, const char *envp, size_t envp_len)
{
    struct exec_program program = {};
    struct exec_arguments arguments;
    exec_arguments_init(&arguments, process_limit(RLIMIT_STACK));
    uint32_t paths = 0;
    int error = vfs_open_exec(AT_FDCWD, path, 0, &program.file);
    if (error == 0)
        error = exec_arguments_add_kernel(&arguments, argv, argv_len, &arguments.argument_count);
    if (error == 0)
        error = exec_arguments_add_kernel(&arguments, envp, envp_len, &arguments.environment_count);
    if (error == 0)
        error = exec_arguments_add_kernel(&arguments, path, strlen(path) + 1, &paths);
    if (error == 0)
        error = replace(&program, &arguments, path);
    exec_arguments_release(&arguments);
    exec_program_release(&program);
    return error;
}
