// SPDX-License-Identifier: MIT
// What other folders add to the tree: device nodes, /proc files, file-system types.
#pragma once

#include "kernel/base/fmt.h"
#include "kernel/base/types.h"

struct file;
struct file_ops;

// A character device: its node appears as /dev/NAME (mode as given, uid:gid). open may be NULL; it
// sets file->ops/private_data further. 0 or -errno.
struct character_device {
    bool block;       // a block device instead
    const char *name; // may contain one '/' (pts/...: see devpts)
    uint32_t major, minor;
    uint32_t mode;     // permission bits
    uint32_t uid, gid; // of the node; 0: root
    const struct file_ops *ops;
    // Called at open with file->ops = ops and file->private_data = context already set; may change
    // both. 0 or -errno.
    int (*open)(struct file *file);
    void *context;
};
[[nodiscard]] int device_register(const struct character_device *device);
// Removes the node; files that are open stay as they are. No open() of the device runs when it
// returns.
void device_unregister(const struct character_device *device);

// A /proc file whose text is made anew at each open-and-read from offset 0. `path` is relative to
// /proc ("lodger/pv", "sys/kernel/ostype"); directories are made. show prints into a growing
// buffer: 0 or -errno. store: NULL for read-only; gets what one write(2) wrote, NUL-terminated.
struct proc_buffer;
void proc_printf(struct proc_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
struct proc_file {
    const char *path;
    uint32_t mode;
    int (*show)(struct proc_buffer *buffer, void *context);
    int (*store)(const char *text, size_t len_bytes, void *context);
    void *context;
};
[[nodiscard]] int proc_register(const struct proc_file *file);
[[nodiscard]] int sysfs_register(
    const struct proc_file *file); // the same in /sys, after vfs_init()
// A symbolic link in /sys; directories are made. 0, -EEXIST, -ENOMEM.
[[nodiscard]] int sysfs_link(const char *path, const char *target);
// Removes a file, link or directory with everything below it from /sys; nothing if it is not there.
// When it returns, no show or store of the removed files runs or will run.
void sysfs_remove(const char *path);

// Device number (as in st_rdev) of a process's controlling terminal; set by the terminals. NULL
// until then.
struct tty;
extern uint32_t (*proc_tty_device)(const struct tty *tty);

// A file system of such files of its own; `type` is its type, whose mount operation gives the same
// superblock to each mount. NULL: no memory. proc_tree_register(): -EEXIST, -ENOMEM.
struct superblock;
struct filesystem_type;
struct superblock *proc_tree_create(const struct filesystem_type *type, uint64_t magic);
[[nodiscard]] int proc_tree_register(struct superblock *superblock, const struct proc_file *file);
