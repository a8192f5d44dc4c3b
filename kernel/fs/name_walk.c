// SPDX-License-Identifier: MIT
// Path walking.
//
// A walk starts at the root or a directory and goes on component by component. It is done first in
// RCU mode: inside one RCU read section, without a lock and without a reference. What was read of a
// dentry is believed only while its sequence number stands: a step reads the child's number, then
// checks that the parent's has not changed, so each link of the chain held at the moment the next
// one was read. Mounts are covered by mount_sequence. At the end the place found is made durable:
// references are taken unless the objects are dying, and the numbers are looked at once more.
// Whatever RCU mode can't do (an entry that is not cached, a link whose text has to be made, deep
// nesting) or finds changed ends it with -ECHILD, and the same walk is done again in reference
// mode, which holds a reference to where it stands and may sleep.
//
// Both modes share one loop (walk_run); they differ in the moves of name_walk_step.c and in how
// they finish. In RCU mode most components are done by the tight loop of name_walk_fast.c, which
// stops before everything that is not plain. Texts of links are stacked: when one is used up, the
// walk continues with the rest of the path that it stood in.
#include "kernel/fs/name_walk.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/fs/name_walk_private.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

COUNTER(path, walks);
COUNTER(path, references); // walks that RCU mode could not finish

// ---- the loop ----

// May the walk look for a name here?
static int walk_check_directory(struct walk *walk)
{
    if (unlikely(!inode_is_directory(walk->inode)))
        return -ENOTDIR;
    bool own_rules = walk->inode->ops->permission != NULL;
    if (likely(!own_rules && (walk->inode->mode & 0111) == 0111))
        return 0; // everybody may
    if (walk->rcu && own_rules)
        return -ECHILD;
    return inode_permission(walk->inode, MAY_EXEC);
}

// The walk ends in the directory: at a component that is not to be looked up, or that is missing.
static int walk_stop(struct walk *walk, const struct path_component *component)
{
    walk->last.name = component->name;
    walk->last.len = component->len;
    walk->last.kind = component->kind;
    walk->last.must_be_directory = component->must_be_directory || walk->must_be_directory;
    if (walk->depth == 0)
        return 0;
    if (walk->rcu)
        return -ECHILD;
    char *copy = kmalloc(component->len + 1, 0); // the text of the link goes away with the walk
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, component->name, component->len);
    copy[component->len] = 0;
    walk->last.name = walk->last.copied = copy;
    return 0;
}

static int walk_component(
    struct walk *walk, struct path_walk *rest, const struct path_component *component, bool *stop)
{
    bool final = component->is_last && walk->pending == 0;
    int error = walk_check_directory(walk);
    if (error != 0)
        return error;
    if (unlikely(final && walk->flags & WALK_PARENT)) {
        *stop = true;
        return walk_stop(walk, component);
    }
    if (final && component->must_be_directory) {
        if (walk->flags & WALK_CREATE && component->kind == PATH_COMPONENT_NAME)
            return -EISDIR; // open can't make directories, whatever is there
        walk->must_be_directory = true;
    }
    if (unlikely(component->kind != PATH_COMPONENT_NAME))
        return component->kind == PATH_COMPONENT_DOT ? 0 : walk_up(walk);
    struct walk_entry entry;
    error = walk_step(walk, component, &entry);
    if (unlikely(error != 0)) {
        if (error != -ENOENT || !final || !(walk->flags & WALK_CREATE))
            return error;
        *stop = walk->missing = true;
        return walk_stop(walk, component);
    }
    if (unlikely(S_ISLNK(entry.inode->mode)) &&
        (!final || walk->flags & WALK_FOLLOW || component->must_be_directory))
        return walk_link(walk, &entry, rest);
    walk_enter(walk, &entry);
    return walk_mounts(walk);
}

static int walk_run(struct walk *walk, const char *name, size_t len)
{
    struct path_walk rest;
    int error = path_walk_init(&rest, name, len);
    bool stop = false;
    if (error == 0 && path_walk_at_end(&rest)) // "/"
        walk->last.is_root = true;
    while (error == 0 && !stop) {
        if (walk->rcu)
            walk_fast(walk, &rest);
        if (path_walk_at_end(&rest)) {
            if (walk->depth == 0)
                break;
            walk_pop(walk, &rest);
            continue;
        }
        struct path_component component;
        error = path_walk_next(&rest, &component);
        if (error == 0)
            error = walk_component(walk, &rest, &component, &stop);
    }
    while (walk->depth != 0)
        walk_pop(walk, &rest);
    if (walk->stack != walk->inline_stack)
        kfree(walk->stack);
    if (error == 0 && !stop && (walk->must_be_directory || walk->flags & WALK_DIRECTORY) &&
        !inode_is_directory(walk->inode))
        error = -ENOTDIR;
    return error;
}

// ---- finish ----

// Leaves the RCU section; turns the place into one with references.
static int walk_finish_rcu(struct walk *walk, int error)
{
    struct path *path = &walk->path;
    bool mount_held = false;
    bool dentry_held = false;
    if (error == 0 && walk->visit != NULL &&
        (walk->inode->ops == NULL || walk->inode->ops->refresh == NULL)) {
        walk->visit(path, walk->inode, walk->visit_context);
        walk->visited = true;
        if (seqcount_read_retry(&path->dentry->sequence, walk->sequence))
            error = -ECHILD;
    } else if (error == 0) {
        mount_held = mount_get_unless_dead(path->mount);
        dentry_held = mount_held && dentry_get_unless_dead(path->dentry);
        if (!dentry_held || seqcount_read_retry(&path->dentry->sequence, walk->sequence))
            error = -ECHILD;
    }
    if (seqcount_read_retry(&mount_sequence, walk->mount_sequence))
        error = -ECHILD;
    rcu_read_unlock();
    if (unlikely(error != 0)) {
        if (dentry_held)
            dentry_put(path->dentry);
        if (mount_held)
            mount_put(path->mount);
    }
    return error;
}

static int walk_finish_reference(struct walk *walk, int error)
{
    path_put(&walk->root);
    if (error != 0) {
        path_put(&walk->path);
        if (walk->last.copied != NULL) {
            kfree(walk->last.copied);
            walk->last.copied = NULL;
        }
    }
    return error;
}

static void walk_init(struct walk *walk, uint32_t flags, bool rcu)
{
    walk->flags = flags;
    walk->rcu = rcu;
    walk->links = 0;
    walk->depth = 0;
    walk->pending = 0;
    walk->must_be_directory = false;
    walk->missing = false;
    walk->visited = false;
    walk->stack = walk->inline_stack;
    walk->last.copied = NULL;
    walk->last.is_root = false;
}

static struct fs_context *walk_context(void)
{
    if (thread_current()->flags & (THREAD_FLAG_KERNEL | THREAD_FLAG_IDLE))
        return fs_context_initial;
    return task_current()->fs;
}

// The walk in both modes; `directory` NULL: from the working directory.
static int walk_do(
    struct walk *walk, const struct file *directory, const char *name, size_t len, uint32_t flags)
{
    struct fs_context *fs = walk_context();
    bool absolute = len > 0 && name[0] == '/' && !(flags & WALK_IN_ROOT);
    counter_add(path, walks, 1);
    if (absolute && flags & WALK_BENEATH)
        return -EXDEV;
    if (absolute)
        directory = NULL;
    walk_init(walk, flags, true);
    rcu_read_lock();
    int error = walk_start_rcu(walk, fs, directory, absolute);
    if (error == 0)
        error = walk_run(walk, name, len);
    error = walk_finish_rcu(walk, error);
    if (likely(error != -ECHILD))
        return error;
    counter_add(path, references, 1);
    walk_init(walk, flags, false);
    error = walk_start_reference(walk, fs, directory, absolute);
    if (error == 0)
        error = walk_run(walk, name, len);
    return walk_finish_reference(walk, error);
}

static int walk_from_descriptor(
    struct walk *walk, int dirfd, const char *name, size_t len, uint32_t flags)
{
    if (dirfd == AT_FDCWD && (len != 0 || !(flags & WALK_EMPTY)))
        return walk_do(walk, NULL, name, len, flags);
    if (len != 0 && name[0] == '/' && !(flags & (WALK_BENEATH | WALK_IN_ROOT)))
        return walk_do(walk, NULL, name, len, flags);
    if (len == 0) {
        if (!(flags & WALK_EMPTY))
            return -ENOENT;
        if (dirfd == AT_FDCWD)
            return walk_do(walk, NULL, ".", 1, flags);
    }
    bool borrowed;
    struct file *file = file_fd_get_any(dirfd, &borrowed);
    if (file == NULL)
        return -EBADF;
    int error;
    if (file->path.dentry == NULL) {
        error = len == 0 ? -EINVAL : -ENOTDIR;
    } else if (len == 0) {
        walk->path = file->path;
        path_get(&walk->path);
        error = 0;
    } else if (!inode_is_directory(file->inode)) {
        error = -ENOTDIR;
    } else {
        error = walk_do(walk, file, name, len, flags);
    }
    file_fd_put(file, borrowed);
    return error;
}

int walk_visit(
    int dirfd, const char *name, size_t len, uint32_t flags, walk_visitor *visit, void *context)
{
    struct walk walk __attribute__((uninitialized));
    walk.visit = visit;
    walk.visit_context = context;
    walk.visited = false;
    int error = walk_from_descriptor(&walk, dirfd, name, len, flags);
    if (error == 0 && !walk.visited) {
        visit(&walk.path, walk.path.dentry->inode, context);
        path_put(&walk.path);
    }
    return error;
}

int walk_path(int dirfd, const char *name, size_t len, uint32_t flags, struct path *result)
{
    struct walk walk __attribute__((uninitialized));
    walk.visit = NULL;
    int error = walk_from_descriptor(&walk, dirfd, name, len, flags);
    if (error == 0)
        *result = walk.path;
    return error;
}

int walk_parent(
    int dirfd, const char *name, size_t len, struct path *parent, struct walk_last *last)
{
    struct walk walk __attribute__((uninitialized));
    walk.visit = NULL;
    int error = walk_from_descriptor(&walk, dirfd, name, len, WALK_PARENT);
    if (error == 0) {
        *parent = walk.path;
        *last = walk.last;
    }
    return error;
}

int walk_create(int dirfd, const char *name, size_t len, uint32_t flags, struct path *result,
    struct walk_last *last)
{
    struct walk walk __attribute__((uninitialized));
    walk.visit = NULL;
    int error = walk_from_descriptor(&walk, dirfd, name, len, flags | WALK_CREATE);
    if (error == 0) {
        *result = walk.path;
        *last = walk.last;
        return walk.missing ? 1 : 0;
    }
    return error;
}
