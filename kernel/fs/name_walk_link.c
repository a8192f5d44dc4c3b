// SPDX-License-Identifier: MIT
// Symbolic links in a path walk: the stack of texts, and links that lead to a place instead of a
// text.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/name_walk_private.h"
#include "mm/slab.h"

int64_t walk_link_text(struct inode *inode, const char **text, bool *allocated)
{
    *allocated = false;
    if (inode->link_target != NULL) {
        *text = inode->link_target;
        return inode->link_target_len;
    }
    if (inode->ops->read_link == NULL)
        return -EINVAL;
    char *buffer = kmalloc(PATH_WALK_PATH_MAX, 0);
    if (buffer == NULL)
        return -ENOMEM;
    int64_t len = inode->ops->read_link(inode, buffer, PATH_WALK_PATH_MAX - 1);
    if (len < 0) {
        kfree(buffer);
        return len;
    }
    buffer[len] = 0;
    *text = buffer;
    *allocated = true;
    return len;
}

void walk_pop(struct walk *walk, struct path_walk *rest)
{
    struct walk_rest *top = &walk->stack[--walk->depth];
    *rest = top->rest;
    walk->pending -= top->pending;
    if (top->inode != NULL)
        inode_put(top->inode);
    if (top->text != NULL)
        kfree(top->text);
}

// Room for one more entry on the stack.
static int walk_push(
    struct walk *walk, const struct path_walk *rest, struct inode *inode, const char *text)
{
    if (walk->depth == WALK_RCU_DEPTH && walk->stack == walk->inline_stack) {
        if (walk->rcu)
            return -ECHILD;
        struct walk_rest *stack = kmalloc(WALK_LINKS_MAX * sizeof(*stack), 0);
        if (stack == NULL)
            return -ENOMEM;
        memcpy(stack, walk->inline_stack, sizeof(walk->inline_stack));
        walk->stack = stack;
    }
    assert(walk->depth < WALK_LINKS_MAX);
    struct walk_rest *top = &walk->stack[walk->depth++];
    top->rest = *rest;
    top->pending = !path_walk_at_end(rest);
    top->inode = inode;
    top->text = text;
    walk->pending += top->pending;
    return 0;
}

// The link leads to a place, not to a text: /proc/PID/exe and the like.
static int walk_link_magic(struct walk *walk, const struct walk_entry *entry)
{
    struct path target;
    if (walk->flags & (WALK_NO_MAGIC | WALK_BENEATH | WALK_IN_ROOT))
        return walk->flags & WALK_NO_MAGIC ? -ELOOP : -EXDEV;
    int error = entry->inode->ops->follow_link(entry->inode, &target);
    if (error != 0)
        return error;
    path_put(&walk->path);
    walk->path = target;
    walk->inode = target.dentry->inode;
    return 0;
}

// Turns the walk into the link's text; *rest becomes the walk over it. In reference mode the
// entry's reference is used up.
int walk_link(struct walk *walk, const struct walk_entry *entry, struct path_walk *rest)
{
    struct inode *inode = entry->inode;
    const char *text = inode->link_target;
    bool allocated = false;
    int64_t len = inode->link_target_len;
    int error = 0;
    if (walk->rcu && text == NULL)
        return -ECHILD;
    if (walk->flags & WALK_NO_SYMLINKS || ++walk->links > WALK_LINKS_MAX) {
        error = -ELOOP;
    } else if (inode->ops->follow_link != NULL) {
        error = walk_link_magic(walk, entry);
        if (error == 0) {
            dentry_put(entry->dentry);
            return 0;
        }
    } else {
        inode_touch_accessed(inode, walk->path.mount);
        len = walk_link_text(inode, &text, &allocated);
        error = len < 0 ? (int)len : 0;
    }
    if (!walk->rcu) {
        if (error == 0 && !allocated)
            inode_get(inode);
        dentry_put(entry->dentry);
    }
    if (error != 0)
        return error;
    error = walk_push(walk, rest, walk->rcu || allocated ? NULL : inode, allocated ? text : NULL);
    if (error != 0) {
        if (allocated)
            kfree(text);
        else if (!walk->rcu)
            inode_put(inode);
        return error;
    }
    error = path_walk_init(rest, text, (size_t)len);
    return error == 0 && rest->is_absolute ? walk_jump_root(walk) : error;
}
