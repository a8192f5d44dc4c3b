// SPDX-License-Identifier: MIT
// A task's root, working directory and umask.
#include "kernel/base/assert.h"
#include "kernel/core/errno.h"
#include "kernel/fs/mount.h"
#include "kernel/fs/dentry.h"
#include "kernel/fs/vfs.h"
#include "mm/slab.h"

struct fs_context *fs_context_initial;

struct fs_context *fs_context_create(void)
{
    struct fs_context *context = kzalloc(sizeof(*context));
    if (context == NULL)
        return NULL;
    context->refcount = 1;
    context->umask = 022;
    spin_lock_init(&context->lock);
    struct path root = {.mount = mount_root, .dentry = mount_root->root};
    context->root = root;
    context->cwd = root;
    path_get(&root);
    path_get(&root);
    return context;
}

struct fs_context *fs_context_clone(struct fs_context *from)
{
    struct fs_context *context = kzalloc(sizeof(*context));
    if (context == NULL)
        return NULL;
    context->refcount = 1;
    spin_lock_init(&context->lock);
    spin_lock(&from->lock);
    context->root = from->root;
    context->cwd = from->cwd;
    context->umask = from->umask;
    path_get(&context->root);
    path_get(&context->cwd);
    spin_unlock(&from->lock);
    return context;
}

void fs_context_get(struct fs_context *context)
{
    __atomic_fetch_add(&context->refcount, 1, __ATOMIC_RELAXED);
}

void fs_context_put(struct fs_context *context)
{
    uint32_t left = __atomic_sub_fetch(&context->refcount, 1, __ATOMIC_ACQ_REL);
    assert(left != UINT32_MAX);
    if (left != 0)
        return;
    path_put(&context->root);
    path_put(&context->cwd);
    kfree(context);
}

void fs_context_path_get(struct fs_context *context, bool root, struct path *result)
{
    spin_lock(&context->lock);
    *result = root ? context->root : context->cwd;
    path_get(result);
    spin_unlock(&context->lock);
}

void fs_context_path_set(struct fs_context *context, bool root, const struct path *path)
{
    path_get(path);
    spin_lock(&context->lock);
    struct path *slot = root ? &context->root : &context->cwd;
    struct path old = *slot;
    seqcount_write_begin(&context->sequence);
    *slot = *path;
    seqcount_write_end(&context->sequence);
    spin_unlock(&context->lock);
    path_put(&old);
}
