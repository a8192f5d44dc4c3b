// SPDX-License-Identifier: MIT
// The first process.
//
// Pid 1 is made by hand and gets its program in its own context, before it enters user mode for the
// first time. What it runs: the option init= with the words behind ` -- ` of the command line, else
// the usual places. Everything else (mounts, the terminal, which command) is that program's affair:
// docs/decisions/0003-first-process.md.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/option.h"
#include "kernel/core/time.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/process.h"
#include "mm/address_space.h"
#include "mm/slab.h"
#include "sched/sched.h"
#include <linux/resource.h>

#define INIT_ARGUMENTS_MAX 1024

static const char *option_init;
BOOT_OPTION_STRING(
    option_init, "init", "First program: its path. Words behind ` -- ` are its arguments.");
static const char default_environment[] =
    "HOME=/\0TERM=linux\0PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static struct completion started;
static int start_error;

// ---- the task ----------------------------------------------------------------------------------

static void limits_init(struct process *process)
{
    for (unsigned i = 0; i < RLIM_NLIMITS; i++)
        process->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    process->limits[RLIMIT_STACK].rlim_cur = _STK_LIM;
    process->limits[RLIMIT_CORE].rlim_cur = 0;
    process->limits[RLIMIT_NOFILE] = (struct rlimit){1024, 4096};
    process->limits[RLIMIT_MEMLOCK] = (struct rlimit){MLOCK_LIMIT, MLOCK_LIMIT};
    process->limits[RLIMIT_MSGQUEUE] = (struct rlimit){819200, 819200};
    process->limits[RLIMIT_NICE] = (struct rlimit){0, 0};
    process->limits[RLIMIT_RTPRIO] = (struct rlimit){0, 0};
    // By the size of memory, as Linux: half of what threads would fit if each took eight pages.
    struct page_statistics statistics;
    page_statistics_read(&statistics);
    uint64_t threads = MIN(MAX(statistics.total_pages / 32, UINT64_C(64)), (uint64_t)PID_MAX);
    process->limits[RLIMIT_NPROC] = (struct rlimit){threads / 2, threads / 2};
    process->limits[RLIMIT_SIGPENDING] = (struct rlimit){threads / 2, threads / 2};
}

// The group and session 0, to which pid 1 belongs as on Linux: it may found its own.
static void found_first_group(struct process *process, struct process_group *group)
{
    group->id = 0;
    group->session = group;
    group->member_count = 1; // never goes away
    group->session_groups = 1;
    process_group_add(group);
    process_group_join(process, group);
}

static struct task *make_task(void)
{
    struct task *task = task_allocate();
    struct process *process = process_allocate();
    struct process_group *group = process_group_allocate();
    if (task == NULL || process == NULL || group == NULL)
        return NULL; // the machine does not start: nothing is freed
    process->handlers = signal_handlers_allocate();
    task->files = fd_table_create();
    task->fs = fs_context_create();
    if (process->handlers == NULL || task->files == NULL || task->fs == NULL)
        return NULL;
    memset(process->handlers->actions, 0, sizeof(process->handlers->actions));
    limits_init(process);
    process->dumpable = true;
    task->process = process;
    task->handlers = process->handlers;
    task->cred = &credentials_root;
    task->exit_signal = SIGCHLD;
    task->thread.timer_slack_ns = 50 * NS_PER_US;
    task->start_ns = time_monotonic_ns();
    sched_thread_init(&task->thread, NULL);
    strlcpy(task->thread.name, "init", sizeof(task->thread.name));
    (void)arch_thread_init_user(&task->thread);

    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    int error = pid_number_alloc(&task->tid);
    assert(error == 0);
    assert(task->tid == 1);
    process->pid = task->tid;
    task->thread.pid = 1;
    task->thread.tid = 1;
    process->leader = task;
    process->thread_count = 1;
    list_add_tail(&process->threads, &task->thread_node);
    found_first_group(process, group);
    process_list_add(process);
    pid_table_add(task);
    rcu_store(process_init, process);
    spin_unlock_irqrestore(&task_list_lock, flags);
    atomic_fetch_add_relaxed(&task->cred->user->process_count, 1u);
    task_get(task); // it runs
    return task;
}

// ---- its program -------------------------------------------------------------------------------

static int open_standard(const char *path, uint32_t flags)
{
    struct file *file;
    int error = vfs_open(AT_FDCWD, path, flags, 0, &file);
    if (error != 0) {
        log_warning("process: can't open %s for init (error %d)", path, -error);
        return error;
    }
    return file_fd_add(file, false);
}

static void open_standard_files(void)
{
    // The terminals' folder makes these devices when the boot option asks for them (stdio=streams).
    struct file *stream;
    if (vfs_open(AT_FDCWD, "/dev/stream0", O_RDONLY, 0, &stream) == 0) {
        (void)!file_fd_add(stream, false);
        (void)open_standard("/dev/stream1", O_WRONLY);
        (void)open_standard("/dev/stream2", O_WRONLY);
        return;
    }
    if (open_standard("/dev/console", O_RDWR | O_NOCTTY) != 0)
        return;
    bool borrowed;
    struct file *console = file_fd_get(0, &borrowed);
    for (int i = 0; i < 2; i++) {
        file_get(console);
        (void)!file_fd_add(console, false);
    }
    file_fd_put(console, borrowed);
}

// The words behind ` -- ` of the command line as NUL-terminated strings behind `path`. Their
// length.
static size_t command_line_arguments(const char *path, char *to, size_t size)
{
    size_t len = strlcpy(to, path, size) + 1;
    if (len > size)
        return 0;
    const char *rest = NULL;
    for (const char *c = option_command_line; c != NULL && *c != '\0'; c++) {
        if (strncmp(c, " -- ", 4) == 0) {
            rest = c + 4;
            break;
        }
    }
    while (rest != NULL && *rest != '\0' && len + 1 < size) {
        while (*rest == ' ')
            rest++;
        size_t start = len;
        while (*rest != ' ' && *rest != '\0' && len + 1 < size)
            to[len++] = *rest++;
        if (len > start)
            to[len++] = '\0';
    }
    return len;
}

static int run(const char *path)
{
    char *arguments = kmalloc(INIT_ARGUMENTS_MAX, 0);
    if (arguments == NULL)
        return -ENOMEM;
    size_t len = command_line_arguments(path, arguments, INIT_ARGUMENTS_MAX);
    int error =
        process_exec_kernel(path, arguments, len, default_environment, sizeof(default_environment));
    kfree(arguments);
    if (error != 0 && error != -ENOENT)
        log_error("process: can't run %s (error %d)", path, -error);
    return error;
}

static int run_init(void)
{
    static const char *const places[] = {
        "/init", "/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
    open_standard_files();
    if (option_init != NULL)
        return run(option_init);
    int error = -ENOENT;
    for (size_t i = 0; i < ARRAY_SIZE(places) && error != 0; i++)
        error = run(places[i]);
    return error;
}

void process_thread_start(struct trap_frame *frame)
{
    (void)frame;
    struct task *task = task_current();
    if (unlikely(task->thread.space == NULL)) {
        start_error = run_init();
        completion_complete(&started);
        if (start_error != 0)
            sched_exit(); // the machine ends: process_start_init() says why
        return;
    }
    if (task->set_child_tid != 0)
        (void)user_put_u32(task->set_child_tid, (uint32_t)task->tid);
}

static void exe_put(void *exe)
{
    file_put(exe);
}

int process_start_init(void)
{
    process_caches_init();
    signal_caches_init();
    clocks_init();
    sched_thread_set_reaper(task_reaper);
    address_space_exe_put = exe_put;
    mm_out_of_memory = process_out_of_memory;
    completion_init(&started);
    struct task *task = make_task();
    if (task == NULL)
        return -ENOMEM;
    sched_start(&task->thread);
    completion_wait(&started);
    return start_error;
}
