// SPDX-License-Identifier: MIT
// Open files and descriptor tables.
#pragma once

#include "kernel/base/list.h"
#include "kernel/base/types.h"
#include "kernel/core/mutex.h"
#include "kernel/core/rcu.h"
#include "kernel/core/wait.h"
#include "kernel/fs/iter.h"
#include "kernel/fs/read_ahead.h"
#include <linux/fcntl.h>

struct block_plug;
struct dentry;
struct file;
struct inode;
struct mount;
struct vm_map_request;
struct pipe;
struct poll_table;
struct directory_emitter;

struct path { // a place in the tree; holds references to both
    struct mount *mount;
    struct dentry *dentry;
};

// How far the requests of one transfer are: the affair of the file that does it.
struct io_progress {
    uint32_t pending;      // requests under way, and one for the submitter; atomic
    int32_t error;         // of any request; atomic
    uint64_t bytes;        // submitted
    struct thread *waiter; // who waits; NULL: it belongs to a file_io, which is told
};

// An operation that may end after the call: O_DIRECT I/O of AIO and io_uring.
struct file_io {
    struct io_iter iter;
    struct block_plug *plug; // where requests gather that begin together; NULL: begins at once
    uint64_t offset;
    bool write;
    // Called when it ends, if submit() answered FILE_IO_QUEUED. Any context: must not sleep.
    // result: bytes or -errno.
    void (*done)(struct file_io *io, int64_t result);
    struct io_progress progress; // set by submit()
};
#define FILE_IO_QUEUED (-529) // as EIOCBQUEUED: done() will be called, or has been

// Every operation may sleep and runs in task context. An operation that is NULL answers the error
// behind it.
struct file_ops {
    // Begins an operation; FILE_IO_QUEUED, or its result. -EOPNOTSUPP: only read and write can do
    // it. NULL: the same.
    int64_t (*submit)(struct file *file, struct file_io *io);
    // Takes what the device has finished, instead of waiting for its interrupt. NULL: there is
    // none.
    void (*harvest)(struct file *file);
    // At *offset, which they advance. Bytes done or -errno (-EAGAIN with O_NONBLOCK; -ERESTARTSYS
    // when a signal is pending). [-EINVAL]
    int64_t (*read)(struct file *file, struct io_iter *to, uint64_t *offset);
    int64_t (*write)(struct file *file, struct io_iter *from, uint64_t *offset);
    int64_t (*seek)(struct file *file, int64_t offset, int whence); // new position [-ESPIPE]
    uint32_t (*poll)(struct file *file,
        struct poll_table *table); // EPOLL* bits ready [always readable and writable]
    int64_t (*ioctl)(struct file *file, uint32_t command, uintptr_t argument); // [-ENOTTY]
    // Fills request->cache, cache_index, backing, ops for a mapping of this file. [-ENODEV]
    int (*map)(struct file *file, struct vm_map_request *request);
    int (*iterate)(struct file *file, struct directory_emitter *emitter); // directories [-ENOTDIR]
    int (*sync)(struct file *file, bool data_only);                       // [-EINVAL]
    int64_t (*fallocate)(
        struct file *file, int mode, uint64_t offset, uint64_t len); // [-EOPNOTSUPP]
    int (*flush)(struct file *file);    // each close(2) of a descriptor
    void (*release)(struct file *file); // the last reference is gone
    void (*show_fdinfo)(
        struct file *file, void (*print)(void *context, const char *format, ...), void *context);
};

struct file {
    uint32_t refcount; // atomic
    uint32_t flags;    // O_*; under `lock`, racy reads fine
    uint32_t mode;     // FILE_READ, FILE_WRITE, ...: fixed at open
    const struct file_ops *ops;
    struct inode *inode; // NULL for anonymous files without one
    struct path path;    // where it was opened; for anonymous files a name in path.dentry or NULL
    uint64_t offset;     // under offset_lock when FILE_SEEKABLE and shared
    struct mutex offset_lock;
    struct spinlock lock;
    void *private_data;           // the owner's
    const char *anonymous_name;   // of a file without path: "pipe", "eventfd", ...; static text
    uint64_t anonymous_number;    // inode number of one without inode
    uint32_t advice;              // POSIX_FADV_* of the whole file
    struct read_ahead read_ahead; // racy: a wrong guess is no fault
    int32_t owner_pid;            // F_SETOWN; under lock
    int32_t owner_signal;
    struct process
        *owner_process; // of owner_pid > 0, with a reference; under lock, wakers read it under RCU
    struct file_async *async;       // O_ASYNC (async.c); under lock
    struct list_node poll_links;    // epoll entries that watch the file; under lock
    const struct credentials *cred; // of the opener
    struct rcu_head rcu;
};
#define FILE_READ         BIT(0)
#define FILE_WRITE        BIT(1)
#define FILE_SEEKABLE     BIT(2)
#define FILE_PATH         BIT(3) // O_PATH: no I/O
#define FILE_EXEC         BIT(4) // opened by exec: denies writers
#define FILE_STREAM       BIT(5) // position is not used (pipes, ttys)
#define FILE_EXCLUSIVE    BIT(7) // O_EXCL without O_CREAT: block devices
#define FILE_MOUNT_WRITER BIT(6) // counted in its mount's writers and its inode's write_count

// A file that is not in any directory (pipe ends, eventfd, ...): one reference. `name` is shown as
// anon_inode:[name]. NULL: no memory.
struct file *file_create_anonymous(
    const char *name, const struct file_ops *ops, void *private_data, uint32_t open_flags);
void file_discard(struct file
        *file); // undoes it for a file that never had its private_data: no release operation
static inline void file_get(struct file *file)
{
    __atomic_fetch_add(&file->refcount, 1, __ATOMIC_RELAXED);
}
void file_put(struct file *file);

// An unopened file for an open under way: flags and mode set, one reference, no path. NULL: no
// memory.
struct file *file_alloc(uint32_t open_flags);
// Reads or writes with everything that the system calls have in common (mode checks, limits,
// times); at *offset, which moves.
int64_t file_read(struct file *file, struct io_iter *to, uint64_t *offset);
int64_t file_write(struct file *file, struct io_iter *from, uint64_t *offset);
// Is the file's position shared with others, so that it has to be locked for the length of a call?
bool file_position_lock(struct file *file);
static inline void file_position_unlock(struct file *file, bool locked)
{
    if (locked)
        mutex_unlock(&file->offset_lock);
}

// In-kernel I/O at an offset (exec, firmware): bytes or -errno.
int64_t file_read_kernel(struct file *file, void *buffer, size_t len_bytes, uint64_t offset);
int64_t file_write_kernel(struct file *file, const void *buffer, size_t len_bytes, uint64_t offset);
uint64_t file_number(const struct file *file); // inode number
// Path into the buffer from the end (like d_path): pointer into buffer, or NULL if too long. "
// (deleted)" appended for unlinked ones.
char *file_path(const struct file *file, char *buffer, size_t size);

// ---- descriptor tables ----
struct fd_table;
struct fd_table *fd_table_create(void);
struct fd_table *fd_table_clone(
    struct fd_table *from, uint32_t max_fd, int *error); // fork; descriptors up to max_fd
void fd_table_get(struct fd_table *table);
void fd_table_put(struct fd_table *table);
void fd_table_close_on_exec(struct fd_table *table);
bool fd_table_is_shared(const struct fd_table
        *table); // has it other users than the running task (exec copies it then)?
// The running task's file behind a descriptor. *borrowed says how to give it back: file_fd_put().
// Without a reference count when the table is not shared. NULL: -EBADF. O_PATH files are only found
// by the _any form.
struct file *file_fd_get(int fd, bool *borrowed);
struct file *file_fd_get_any(int fd, bool *borrowed);
static inline void file_fd_put(struct file *file, bool borrowed)
{
    if (!borrowed)
        file_put(file);
}
struct file *fd_table_file_get(
    struct fd_table *table, int fd);                 // of another task's table; with a reference
int fd_table_next(struct fd_table *table, int from); // next open descriptor ≥ from, or -1
// Reserves the lowest free descriptor ≥ minimum of the running task: fd, -EMFILE, -ENOMEM. Then
// install (takes over the reference) or release.
[[nodiscard]] int file_fd_reserve(int minimum, bool close_on_exec);
void file_fd_install(int fd, struct file *file);
void file_fd_release(int fd);
// Both at once: the descriptor, or the error, and the file is put.
[[nodiscard]] int file_fd_add(struct file *file, bool close_on_exec);
[[nodiscard]] int file_fd_close(int fd);
// dup2, dup3: makes `fd` stand for the file (takes the reference over), closing what was there. fd
// or -errno.
[[nodiscard]] int file_fd_replace(int fd, struct file *file, bool close_on_exec);
[[nodiscard]] int file_fd_flags_get(int fd); // FD_CLOEXEC or 0, -EBADF
[[nodiscard]] int file_fd_flags_set(int fd, bool close_on_exec);
// close_range(2): closes (or marks) all descriptors of [first, last] of the running task.
void file_fd_close_range(uint32_t first, uint32_t last, bool only_mark);
// unshare(CLONE_FILES) of the running task. 0 or -ENOMEM.
[[nodiscard]] int fd_table_unshare(void);
uint32_t fd_table_capacity(const struct fd_table *table); // FDSize of /proc/PID/status
bool fd_table_is_close_on_exec(struct fd_table *table, int fd);
