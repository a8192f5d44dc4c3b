// SPDX-License-Identifier: MIT
// /proc/PID/fd, /proc/PID/fdinfo, and the links exe, cwd and root.
//
// A link in fd leads to the open file's place, whatever its text says. A file without a place (a
// pipe) gets one for the occasion: an inode that is in no directory, whose open operation joins the
// pipe.
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/proc.h"
#include "kernel/fs/tmpfs.h"
#include "kernel/fs/vfs.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/address_space.h"
#include "mm/slab.h"

#define DT_REG 8u
#define DT_LNK 10u

static const struct inode_ops proc_fd_link_inode_ops, proc_fdinfo_file_inode_ops;

// Number of the descriptor that an inode stands for.
static int proc_fd_number(const struct inode *inode)
{
    return (int)inode->device.minor;
}

// The open file behind an inode of fd/ or fdinfo/, with a reference; NULL.
static struct file *proc_fd_file(const struct inode *inode)
{
    struct fd_table *table = task_files_get(proc_inode_task(inode));
    if (table == NULL)
        return NULL;
    struct file *file = fd_table_file_get(table, proc_fd_number(inode));
    fd_table_put(table);
    return file;
}

static bool proc_fd_revalidate(struct dentry *dentry)
{
    if (dentry->inode == NULL)
        return false;
    struct file *file = proc_fd_file(dentry->inode);
    if (file == NULL)
        return false;
    file_put(file);
    return true;
}

static int proc_fd_lookup_common(struct inode *directory, struct dentry *dentry, bool link)
{
    uint64_t number;
    struct task *task = proc_inode_task(directory);
    if ((dentry->name[0] == '0' && dentry->name_len > 1) ||
        parse_u64(dentry->name, dentry->name_len, 10, &number) != 0 || number > INT32_MAX)
        return -ENOENT;
    struct fd_table *table = task_files_get(task);
    if (table == NULL)
        return -ENOENT;
    struct file *file = fd_table_file_get(table, (int)number);
    fd_table_put(table);
    if (file == NULL)
        return -ENOENT;
    // The permissions of the link say how the file is open.
    uint32_t bits =
        0100 | (file->mode & FILE_READ ? 0400 : 0) | (file->mode & FILE_WRITE ? 0200 : 0);
    file_put(file);
    struct inode *inode =
        proc_task_inode(directory->superblock, task, link ? S_IFLNK | bits : S_IFREG | 0444);
    if (inode == NULL)
        return -ENOMEM;
    inode->size_bytes = link ? 64 : 0;
    inode->device.minor = (uint32_t)number;
    inode->ops = link ? &proc_fd_link_inode_ops : &proc_fdinfo_file_inode_ops;
    inode->file_ops = &proc_reader_ops;
    proc_task_refresh(inode);
    dentry->flags |= DENTRY_REVALIDATE;
    dentry_attach(dentry, inode);
    return 0;
}

static int proc_fd_lookup(struct inode *directory, struct dentry *dentry)
{
    return proc_fd_lookup_common(directory, dentry, true);
}

static int proc_fdinfo_lookup(struct inode *directory, struct dentry *dentry)
{
    return proc_fd_lookup_common(directory, dentry, false);
}

static int proc_fd_iterate_common(
    struct file *file, struct directory_emitter *emitter, uint32_t type)
{
    struct fd_table *table = task_files_get(proc_inode_task(file->inode));
    if (table == NULL)
        return -ENOENT;
    if (directory_emit_dots(file, emitter)) {
        int fd = (int)emitter->position - 2;
        while ((fd = fd_table_next(table, fd)) >= 0) {
            char name[16];
            int len = fmt_snprintf(name, sizeof(name), "%d", fd);
            if (!directory_emit(emitter, name, (size_t)len, (uint64_t)fd + 2,
                    file->inode->number + (uint64_t)fd + 1, type))
                break;
            fd++;
        }
    }
    fd_table_put(table);
    return 0;
}

static int proc_fd_iterate(struct file *file, struct directory_emitter *emitter)
{
    return proc_fd_iterate_common(file, emitter, DT_LNK);
}

static int proc_fdinfo_iterate(struct file *file, struct directory_emitter *emitter)
{
    return proc_fd_iterate_common(file, emitter, DT_REG);
}

// Only who may look into the task may look into these directories, whatever the mode bits say of
// its own threads.
static int proc_fd_permission(struct inode *inode, uint32_t mask)
{
    return mask & MAY_WRITE ? -EACCES : proc_may_access(proc_inode_task(inode));
}

const struct inode_ops proc_fd_inode_ops = {
    .lookup = proc_fd_lookup,
    .revalidate = proc_fd_revalidate,
    .permission = proc_fd_permission,
    .change = proc_change_refused,
    .refresh = proc_task_refresh,
    .evict = proc_task_evict,
};
const struct inode_ops proc_fdinfo_inode_ops = {
    .lookup = proc_fdinfo_lookup,
    .revalidate = proc_fd_revalidate,
    .permission = proc_fd_permission,
    .change = proc_change_refused,
    .refresh = proc_task_refresh,
    .evict = proc_task_evict,
};
const struct file_ops proc_fd_ops = {.seek = directory_seek, .iterate = proc_fd_iterate};
const struct file_ops proc_fdinfo_ops = {.seek = directory_seek, .iterate = proc_fdinfo_iterate};

// ---- the links ----

static int64_t proc_fd_read_link(struct inode *inode, char *buffer, size_t size)
{
    int error = proc_may_access(proc_inode_task(inode));
    struct file *file = error == 0 ? proc_fd_file(inode) : NULL;
    if (file == NULL)
        return error != 0 ? error : -ENOENT;
    char *text = file_path(file, buffer, size);
    file_put(file);
    if (text == NULL)
        return -ENAMETOOLONG;
    size_t len = strlen(text);
    memmove(buffer, text, len + 1);
    return (int64_t)len;
}

// Opens the pipe that the inode was made for.
static int proc_pipe_open(struct inode *inode, struct file *file)
{
    const struct file *end = inode->private_data;
    struct pipe *pipe = end->private_data; // alive as long as this end is open
    uint32_t flags = file->flags;
    file->mode |= FILE_STREAM;
    if (vfs_fifo_open == NULL)
        return -ENXIO;
    file->flags |= O_NONBLOCK; // unlike that of a FIFO, this open does not wait for the other side
    int error = vfs_fifo_open(&pipe, file);
    file->flags = flags;
    return error;
}

static int proc_nothing_open(struct inode *inode, struct file *file)
{
    return -ENXIO;
}

static void proc_pipe_evict(struct inode *inode)
{
    file_put(inode->private_data);
}

static const struct inode_ops proc_pipe_inode_ops = {
    .open = proc_pipe_open, .evict = proc_pipe_evict};
static const struct inode_ops proc_nothing_inode_ops = {
    .open = proc_nothing_open, .evict = proc_pipe_evict};

// A place for a file that has none. Takes the file's reference over.
static int proc_anonymous_place(struct file *file, struct path *result)
{
    bool pipe = file->anonymous_name != NULL && strcmp(file->anonymous_name, "pipe") == 0;
    struct inode *inode = inode_create_anonymous(pipe ? S_IFIFO | 0600 : 0600);
    if (inode == NULL) {
        file_put(file);
        return -ENOMEM;
    }
    inode->number = file_number(file);
    inode->uid = file->cred->fsuid;
    inode->gid = file->cred->fsgid;
    inode->private_data = file;
    inode->ops = pipe ? &proc_pipe_inode_ops : &proc_nothing_inode_ops;
    return tmpfs_unnamed_place(
        file->anonymous_name != NULL ? file->anonymous_name : "file", inode, result);
}

static int proc_fd_follow(struct inode *inode, struct path *result)
{
    int error = proc_may_access(proc_inode_task(inode));
    struct file *file = error == 0 ? proc_fd_file(inode) : NULL;
    if (file == NULL)
        return error != 0 ? error : -ENOENT;
    if (file->path.dentry == NULL || file->path.mount == NULL)
        return proc_anonymous_place(file, result);
    *result = file->path;
    path_get(result);
    file_put(file);
    return 0;
}

static const struct inode_ops proc_fd_link_inode_ops = {
    .read_link = proc_fd_read_link,
    .follow_link = proc_fd_follow,
    .change = proc_change_refused,
    .refresh = proc_task_refresh,
    .evict = proc_task_evict,
};

static void proc_fdinfo_print(void *context, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    fmt_vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    proc_printf(context, "%s", text);
}

static int proc_show_fdinfo(struct proc_buffer *buffer, struct inode *inode)
{
    struct fd_table *table = task_files_get(proc_inode_task(inode));
    if (table == NULL)
        return -ENOENT;
    struct file *file = fd_table_file_get(table, proc_fd_number(inode));
    bool close_on_exec = fd_table_is_close_on_exec(table, proc_fd_number(inode));
    fd_table_put(table);
    if (file == NULL)
        return -ENOENT;
    proc_printf(buffer, "pos:\t%lu\nflags:\t0%o\nmnt_id:\t%u\nino:\t%lu\n",
        (unsigned long)file->offset, file->flags | (close_on_exec ? O_CLOEXEC : 0),
        file->path.mount != NULL ? file->path.mount->id : 0, (unsigned long)file_number(file));
    if (file->ops->show_fdinfo != NULL)
        file->ops->show_fdinfo(file, proc_fdinfo_print, buffer);
    file_put(file);
    return 0;
}

static int proc_fdinfo_open(struct inode *inode, struct file *file)
{
    return proc_reader_open(file, proc_show_fdinfo);
}

static const struct inode_ops proc_fdinfo_file_inode_ops = {
    .open = proc_fdinfo_open,
    .change = proc_change_refused,
    .refresh = proc_task_refresh,
    .evict = proc_task_evict,
};

// ---- exe, cwd, root ----

static int proc_exe_follow(struct inode *inode, struct path *result)
{
    struct task *task = proc_inode_task(inode);
    int error = proc_may_access(task);
    if (error != 0)
        return error;
    struct address_space *space = task_space_get(task);
    if (space == NULL)
        return -ENOENT;
    rwlock_read_lock(&space->lock);
    struct file *file = space->exe;
    error = file != NULL && file->path.mount != NULL ? 0 : -ENOENT;
    if (error == 0) {
        *result = file->path;
        path_get(result);
    }
    rwlock_read_unlock(&space->lock);
    address_space_put(space);
    return error;
}

static int proc_context_follow(struct inode *inode, struct path *result, bool root)
{
    struct task *task = proc_inode_task(inode);
    int error = proc_may_access(task);
    if (error != 0)
        return error;
    spin_lock(&task->alloc_lock);
    struct fs_context *fs = task->fs;
    if (fs != NULL)
        fs_context_get(fs);
    spin_unlock(&task->alloc_lock);
    if (fs == NULL)
        return -ENOENT;
    fs_context_path_get(fs, root, result);
    fs_context_put(fs);
    return 0;
}

static int proc_cwd_follow(struct inode *inode, struct path *result)
{
    return proc_context_follow(inode, result, false);
}

static int proc_root_follow(struct inode *inode, struct path *result)
{
    return proc_context_follow(inode, result, true);
}

#define PROC_LINK_OPS(follow)                                                                      \
    {.follow_link = follow,                                                                        \
        .change = proc_change_refused,                                                             \
        .refresh = proc_task_refresh,                                                              \
        .evict = proc_task_evict}
const struct inode_ops proc_exe_inode_ops = PROC_LINK_OPS(proc_exe_follow);
const struct inode_ops proc_cwd_inode_ops = PROC_LINK_OPS(proc_cwd_follow);
const struct inode_ops proc_root_link_inode_ops = PROC_LINK_OPS(proc_root_follow);
