// SPDX-License-Identifier: MIT
// /proc/PID and /proc/PID/task/TID: directories that stand for tasks.
//
// Their dentries are a cache: looked up by number, checked at each use (is the task still there?),
// and forgotten when nobody uses them. An inode below such a directory holds a reference to its
// task; what it shows is looked at when it is read. Listings of the root go through the fixed files
// first and then through the processes, whose positions are their numbers above them.
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/proc.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/slab.h"
#include <linux/capability.h>

#define PID_POSITION (DENTRY_COOKIE_LAST + 1)
#define PID_INODE    (UINT64_C(1) << 32)
#define DT_DIR       4u

// inode->private_data of everything below /proc/PID.
struct proc_task {
    struct task *task;                   // with a reference
    const struct proc_task_entry *entry; // NULL: the directory itself, or one of its lists
    bool thread;                         // task/TID
};

static const struct inode_ops proc_task_dir_inode_ops, proc_task_file_inode_ops,
    proc_threads_inode_ops;
static const struct file_ops proc_task_dir_ops, proc_threads_ops, proc_task_file_ops, proc_oom_ops,
    proc_comm_ops;

struct task *proc_inode_task(const struct inode *inode)
{
    return ((struct proc_task *)inode->private_data)->task;
}

struct inode *proc_task_inode(struct superblock *superblock, struct task *task, uint32_t mode)
{
    struct proc_task *data = kzalloc(sizeof(*data));
    struct inode *inode = data != NULL ? inode_create(superblock, mode) : NULL;
    if (inode == NULL) {
        kfree(data);
        return NULL;
    }
    task_get(task);
    data->task = task;
    inode->private_data = data;
    inode->flags = INODE_NO_ATIME;
    if (S_ISDIR(mode))
        inode->nlink = 2;
    return inode;
}

void proc_task_evict(struct inode *inode)
{
    struct proc_task *data = inode->private_data;
    task_put(data->task);
    kfree(data);
}

void proc_task_refresh(struct inode *inode)
{
    struct task *task = proc_inode_task(inode);
    rcu_read_lock();
    const struct credentials *cred = rcu_load(task->cred);
    bool own = task->process->dumpable || (inode->mode & S_IFMT) == S_IFDIR;
    inode->uid = own && cred != NULL ? cred->euid : 0;
    inode->gid = own && cred != NULL ? cred->egid : 0;
    rcu_read_unlock();
}

int proc_may_access(struct task *task)
{
    const struct credentials *self = credentials_current();
    if (task->process == process_current())
        return 0;
    rcu_read_lock();
    const struct credentials *cred = rcu_load(task->cred);
    bool same = cred != NULL && self->fsuid == cred->euid && self->fsuid == cred->suid &&
                self->fsuid == cred->uid && self->fsgid == cred->egid &&
                self->fsgid == cred->sgid && self->fsgid == cred->gid && task->process->dumpable;
    rcu_read_unlock();
    return same || capable(CAP_SYS_PTRACE) ? 0 : -EACCES;
}

// A task without process is nothing to show: it is being made or has been reaped.
static bool proc_task_is_there(const struct task *task, bool thread)
{
    if (task->process->state == PROCESS_REAPED)
        return false;
    return !thread || task == task->process->leader || !task->exiting;
}

static bool proc_task_revalidate(struct dentry *dentry)
{
    if (dentry->inode == NULL)
        return false; // a number that was free may be taken by now
    struct proc_task *data = dentry->inode->private_data;
    return proc_task_is_there(data->task, data->thread);
}

// "123" without sign or leading zeros, as a pid; -1 otherwise.
static int32_t proc_parse_number(const struct dentry *dentry)
{
    uint64_t number;
    if (dentry->name[0] == '0' && dentry->name_len > 1)
        return -1;
    if (parse_u64(dentry->name, dentry->name_len, 10, &number) != 0 || number > INT32_MAX)
        return -1;
    return (int32_t)number;
}

static int proc_attach_task(
    struct inode *directory, struct dentry *dentry, struct task *task, bool thread)
{
    struct inode *inode = proc_task_inode(directory->superblock, task, S_IFDIR | 0555);
    if (inode == NULL)
        return -ENOMEM;
    ((struct proc_task *)inode->private_data)->thread = thread;
    inode->ops = &proc_task_dir_inode_ops;
    inode->file_ops = &proc_task_dir_ops;
    proc_task_refresh(inode);
    dentry->flags |= DENTRY_REVALIDATE;
    dentry_attach(dentry, inode);
    return 0;
}

// ---- /proc ----

static int proc_root_lookup(struct inode *directory, struct dentry *dentry)
{
    int32_t number = proc_parse_number(dentry);
    struct task *task = number > 0 ? task_find_get(number) : NULL;
    if (task == NULL)
        return -ENOENT; // no negative entry: numbers come and go
    int error = proc_task_is_there(task, false) ? proc_attach_task(directory, dentry, task, false)
                                                : -ENOENT;
    task_put(task);
    return error;
}

static int proc_root_iterate(struct file *file, struct directory_emitter *emitter)
{
    if (emitter->position < PID_POSITION) {
        (void)directory_iterate_children(file, emitter);
        const struct dentry *left = dentry_child_at(file->path.dentry, emitter->position);
        if (emitter->position < 2 || left != NULL)
            return 0; // no room for all
        emitter->position = PID_POSITION;
    }
    struct process *process;
    int32_t after = (int32_t)(emitter->position - PID_POSITION) - 1;
    while ((process = process_next_get(after)) != NULL) {
        char name[16];
        int len = fmt_snprintf(name, sizeof(name), "%d", process->pid);
        after = process->pid;
        process_put(process);
        if (!directory_emit(emitter, name, (size_t)len, PID_POSITION + (uint64_t)after,
                PID_INODE + (uint64_t)after, DT_DIR))
            break;
    }
    return 0;
}

const struct inode_ops proc_root_inode_ops = {
    .lookup = proc_root_lookup, .revalidate = proc_task_revalidate, .change = proc_change_refused};
const struct file_ops proc_root_ops = {.seek = directory_seek, .iterate = proc_root_iterate};

// ---- /proc/PID ----

static int proc_task_dir_lookup(struct inode *directory, struct dentry *dentry)
{
    const struct proc_task *data = directory->private_data;
    for (size_t i = 0; i < proc_task_entry_count; i++) {
        const struct proc_task_entry *entry = &proc_task_entries[i];
        if (strcmp(entry->name, dentry->name) != 0 || (data->thread && entry->process_only))
            continue;
        struct inode *inode = proc_task_inode(directory->superblock, data->task, entry->mode);
        if (inode == NULL)
            return -ENOMEM;
        struct proc_task *own = inode->private_data;
        own->entry = entry;
        own->thread = data->thread;
        inode->ops = entry->inode_ops != NULL ? entry->inode_ops : &proc_task_file_inode_ops;
        inode->file_ops = entry->file_ops != NULL ? entry->file_ops : &proc_task_file_ops;
        proc_task_refresh(inode);
        dentry->flags |= DENTRY_REVALIDATE;
        dentry_attach(dentry, inode);
        return 0;
    }
    return -ENOENT;
}

static int proc_task_dir_iterate(struct file *file, struct directory_emitter *emitter)
{
    const struct proc_task *data = file->inode->private_data;
    if (!directory_emit_dots(file, emitter))
        return 0;
    for (size_t i = (size_t)emitter->position - 2; i < proc_task_entry_count; i++) {
        const struct proc_task_entry *entry = &proc_task_entries[i];
        if (data->thread && entry->process_only) {
            emitter->position = i + 3;
            continue;
        }
        if (!directory_emit(emitter, entry->name, strlen(entry->name), i + 2,
                file->inode->number + i + 1, (entry->mode & S_IFMT) >> 12))
            break;
    }
    return 0;
}

static const struct inode_ops proc_task_dir_inode_ops = {
    .lookup = proc_task_dir_lookup,
    .revalidate = proc_task_revalidate,
    .change = proc_change_refused,
    .refresh = proc_task_refresh,
    .evict = proc_task_evict,
};
static const struct file_ops proc_task_dir_ops = {
    .seek = directory_seek, .iterate = proc_task_dir_iterate};

static int proc_task_file_open(struct inode *inode, struct file *file)
{
    const struct proc_task *data = inode->private_data;
    return data->entry->show != NULL ? proc_reader_open(file, data->entry->show) : 0;
}

static const struct inode_ops proc_task_file_inode_ops = {
    .change = proc_change_refused,
    .refresh = proc_task_refresh,
    .open = proc_task_file_open,
    .evict = proc_task_evict,
};
static const struct file_ops proc_task_file_ops = {
    .read = proc_reader_read, .seek = proc_reader_seek, .release = proc_reader_release};

static int64_t proc_comm_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct task *task = proc_inode_task(file->inode);
    int error;
    size_t len;
    if (task->process != process_current())
        return -EINVAL;
    char *text = proc_copy_written(from, &len, &error);
    if (text == NULL)
        return error;
    size_t end = len > 0 && text[len - 1] == '\n' ? len - 1 : len;
    string_copy_bytes(task->thread.name, THREAD_NAME_BYTES, text, end);
    kfree(text);
    return (int64_t)len;
}

static const struct file_ops proc_comm_ops = {.read = proc_reader_read,
    .write = proc_comm_write,
    .seek = proc_reader_seek,
    .release = proc_reader_release};

static int64_t proc_oom_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct process *process = proc_inode_task(file->inode)->process;
    int error;
    size_t len;
    int64_t value;
    char *text = proc_copy_written(from, &len, &error);
    if (text == NULL)
        return error;
    size_t end = len > 0 && text[len - 1] == '\n' ? len - 1 : len;
    error = parse_s64(text, end, 10, &value) != 0 || value < -1000 || value > 1000 ? -EINVAL : 0;
    kfree(text);
    if (error == 0 && value < process->oom_score_adjust && !capable(CAP_SYS_RESOURCE))
        error = -EACCES;
    if (error != 0)
        return error;
    process->oom_score_adjust = (int16_t)value;
    return (int64_t)len;
}

static const struct file_ops proc_oom_ops = {.read = proc_reader_read,
    .write = proc_oom_write,
    .seek = proc_reader_seek,
    .release = proc_reader_release};

// ---- /proc/PID/task ----

static int proc_threads_lookup(struct inode *directory, struct dentry *dentry)
{
    int32_t number = proc_parse_number(dentry);
    struct task *task = number > 0 ? task_find_get(number) : NULL;
    if (task == NULL)
        return -ENOENT;
    int error = -ENOENT;
    if (task->process == proc_inode_task(directory)->process && proc_task_is_there(task, true))
        error = proc_attach_task(directory, dentry, task, true);
    task_put(task);
    return error;
}

static int proc_threads_iterate(struct file *file, struct directory_emitter *emitter)
{
    struct process *process = proc_inode_task(file->inode)->process;
    struct task *task;
    if (!directory_emit_dots(file, emitter))
        return 0;
    int32_t after = (int32_t)emitter->position - 3;
    while ((task = process_thread_next_get(process, after)) != NULL) {
        char name[16];
        int len = fmt_snprintf(name, sizeof(name), "%d", task->tid);
        after = task->tid;
        task_put(task);
        if (!directory_emit(emitter, name, (size_t)len, (uint64_t)after + 2,
                PID_INODE + (uint64_t)after, DT_DIR))
            break;
    }
    return 0;
}

static const struct inode_ops proc_threads_inode_ops = {
    .lookup = proc_threads_lookup,
    .revalidate = proc_task_revalidate,
    .change = proc_change_refused,
    .refresh = proc_task_refresh,
    .evict = proc_task_evict,
};
static const struct file_ops proc_threads_ops = {
    .seek = directory_seek, .iterate = proc_threads_iterate};

// What is in /proc/PID, in the order of the listing.
const struct proc_task_entry proc_task_entries[] = {
    {"task", S_IFDIR | 0555, true, .file_ops = &proc_threads_ops,
        .inode_ops = &proc_threads_inode_ops},
    {"fd", S_IFDIR | 0500, .file_ops = &proc_fd_ops, .inode_ops = &proc_fd_inode_ops},
    {"fdinfo", S_IFDIR | 0555, .file_ops = &proc_fdinfo_ops, .inode_ops = &proc_fdinfo_inode_ops},
    {"environ", S_IFREG | 0400, .show = proc_show_environ},
    {"auxv", S_IFREG | 0400, .show = proc_show_auxv},
    {"status", S_IFREG | 0444, .show = proc_show_status},
    {"personality", S_IFREG | 0400, .show = proc_show_personality},
    {"limits", S_IFREG | 0444, .show = proc_show_limits},
    {"comm", S_IFREG | 0644, .show = proc_show_comm, .file_ops = &proc_comm_ops},
    {"cmdline", S_IFREG | 0444, .show = proc_show_cmdline},
    {"stat", S_IFREG | 0444, .show = proc_show_stat},
    {"statm", S_IFREG | 0444, .show = proc_show_statm},
    {"maps", S_IFREG | 0444, .show = proc_show_maps},
    {"mem", S_IFREG | 0600, .file_ops = &proc_mem_ops},
    {"cwd", S_IFLNK | 0777, .inode_ops = &proc_cwd_inode_ops},
    {"root", S_IFLNK | 0777, .inode_ops = &proc_root_link_inode_ops},
    {"exe", S_IFLNK | 0777, .inode_ops = &proc_exe_inode_ops},
    {"mounts", S_IFREG | 0444, .show = proc_show_mounts},
    {"mountinfo", S_IFREG | 0444, .show = proc_show_mountinfo},
    {"mountstats", S_IFREG | 0400, true, .show = proc_show_mountstats},
    {"numa_maps", S_IFREG | 0444, .show = proc_show_numa_maps},
    {"smaps", S_IFREG | 0444, .show = proc_show_smaps},
    {"smaps_rollup", S_IFREG | 0444, .show = proc_show_smaps_rollup},
    {"wchan", S_IFREG | 0444, .show = proc_show_wchan},
    {"schedstat", S_IFREG | 0444, .show = proc_show_schedstat},
    {"cpuset", S_IFREG | 0444, .show = proc_show_cpuset},
    {"cgroup", S_IFREG | 0444, .show = proc_show_cgroup},
    {"oom_score", S_IFREG | 0444, .show = proc_show_oom_score},
    {"oom_score_adj", S_IFREG | 0644, .show = proc_show_oom_score_adj, .file_ops = &proc_oom_ops},
    {"loginuid", S_IFREG | 0644, .show = proc_show_loginuid},
    {"sessionid", S_IFREG | 0444, .show = proc_show_loginuid},
    {"io", S_IFREG | 0400, .show = proc_show_io},
};
const size_t proc_task_entry_count = ARRAY_SIZE(proc_task_entries);
