// SPDX-License-Identifier: MIT
// /proc: what its files share. Programs and other folders see kernel/fs/register.h.
#pragma once

#include "kernel/fs/directory.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/register.h"

struct task;
struct process;

// ---- text (proc_text.c) ----
// A text that grows. After a failure (no memory) everything that is added is dropped.
struct proc_buffer {
    char *data;
    size_t len, capacity;
    bool failed;
};
void proc_append(struct proc_buffer *buffer, const void *bytes, size_t len);
void proc_append_escaped(struct proc_buffer *buffer, const char *text,
    const char *special); // \ooo for the characters of `special`
// A file's text, made by `show` when the file is read from its beginning. file->private_data is the
// reader.
struct proc_reader;
typedef int proc_show_function(struct proc_buffer *buffer, struct inode *inode);
[[nodiscard]] int proc_reader_open(struct file *file, proc_show_function *show);
int64_t proc_reader_read(struct file *file, struct io_iter *to, uint64_t *offset);
int64_t proc_reader_seek(struct file *file, int64_t offset, int whence);
void proc_reader_release(struct file *file);
extern const struct file_ops proc_reader_ops;
// What one write(2) brought, NUL-terminated (at most a page): memory to be freed by kfree, or NULL
// with *error.
char *proc_copy_written(struct io_iter *from, size_t *len, int *error);

// ---- trees of text files (proc_tree.c): /proc and /sys ----
extern struct superblock *proc_superblock; // NULL before proc_init()
// A link with fixed text, or (ops) one whose text is made.
[[nodiscard]] int proc_tree_link(
    struct dentry *directory, const char *name, const char *target, const struct inode_ops *ops);
void proc_tree_publish(
    struct superblock *superblock); // becomes proc_superblock, with all files registered before
void proc_tree_remove(struct superblock *superblock, const char *path);
extern const struct inode_ops proc_directory_inode_ops, proc_file_inode_ops;
extern const struct file_ops proc_directory_ops;
int proc_change_refused(struct inode *inode, const struct inode_change *change);

// ---- processes (proc_pid.c) ----
extern const struct inode_ops proc_root_inode_ops;
extern const struct file_ops proc_root_ops;
// An inode that stands for something of a task: holds a reference to it; owner and mode follow the
// task.
struct inode *proc_task_inode(struct superblock *superblock, struct task *task, uint32_t mode);
struct task *proc_inode_task(const struct inode *inode);
void proc_task_evict(struct inode *inode);
void proc_task_refresh(struct inode *inode);
// May the running task look into that one, as ptrace(2) has it? 0 or -EACCES.
[[nodiscard]] int proc_may_access(struct task *task);

// One name in /proc/PID.
struct proc_task_entry {
    const char *name;
    uint32_t mode;                     // with type
    bool process_only;                 // not in task/TID
    proc_show_function *show;          // text; or
    const struct file_ops *file_ops;   // its own, or of a directory
    const struct inode_ops *inode_ops; // NULL: the usual
};
extern const struct proc_task_entry proc_task_entries[];
extern const size_t proc_task_entry_count;
char proc_task_state(struct task *task);

// proc_task_text.c
proc_show_function proc_show_stat, proc_show_status, proc_show_statm, proc_show_comm,
    proc_show_limits, proc_show_io, proc_show_oom_score_adj, proc_show_oom_score,
    proc_show_personality, proc_show_wchan, proc_show_cgroup, proc_show_cpuset, proc_show_schedstat,
    proc_show_loginuid;
struct cpumask;
void proc_show_cpu_list(
    struct proc_buffer *buffer, const struct cpumask *mask); // "0-3,8" and a line end
void proc_show_cpu_words(
    struct proc_buffer *buffer, const struct cpumask *mask); // "ff,ffffffff" and a line end
// proc_task_memory.c
proc_show_function proc_show_cmdline, proc_show_environ, proc_show_auxv, proc_show_maps,
    proc_show_numa_maps, proc_show_smaps, proc_show_smaps_rollup;
extern const struct file_ops proc_mem_ops;
// proc_mounts.c
proc_show_function proc_show_mounts, proc_show_mountinfo, proc_show_mountstats;
// proc_fd.c
extern const struct inode_ops proc_fd_inode_ops, proc_fdinfo_inode_ops;
extern const struct file_ops proc_fd_ops, proc_fdinfo_ops;
// proc_link.c
extern const struct inode_ops proc_exe_inode_ops, proc_cwd_inode_ops, proc_root_link_inode_ops;

void proc_system_register(void);     // proc_system.c
void proc_cpu_register(void);        // proc_cpu.c
void proc_fail_alloc_register(void); // proc_fail_alloc.c
void proc_sys_register(void);        // proc_sys.c
void proc_init(void);
void sysfs_init(void);
void sysfs_memory_init(void);
void sysfs_node_init(void); // sys_node.c
