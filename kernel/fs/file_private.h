// SPDX-License-Identifier: MIT
// What the files of kernel/fs share about open files.
#pragma once

#include "kernel/fs/file.h"
#include <linux/inotify.h>

void file_init(void);
uint64_t file_open_count(void);

// inotify: tells who watches the inode or the directory of `dentry`. Cheap when nobody does.
void notify_dentry(struct dentry *dentry, uint32_t mask);
void notify_name(struct inode *directory, struct inode *inode, uint32_t mask, const char *name);
void file_notify(struct file *file, uint32_t mask);
void file_notify_close(struct file *file);
void notify_move(struct inode *old_directory, const char *old_name, struct inode *new_directory,
    const char *new_name, struct inode *inode);
void notify_gone(struct inode *inode); // a name of it was removed
