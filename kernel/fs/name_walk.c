// SPDX-License-Identifier: MIT
// Path walking.
//
// A walk starts at the root or a directory and goes on component by component. It is done first in
// RCU mode: inside one RCU read section, without a lock and without a reference. What was read of a dentry is
// believed only while its sequence number stands: a step reads the child's number, then checks that
// the parent's has not changed, so each link of the chain held at the moment the next one was read. Mounts are
// covered by mount_sequence. At the end the place found is made durable: references are taken unless the
// objects are dying, and the numbers are looked at once more. Whatever RCU mode can't do (an entry that is not
// cached, a link whose text has to be made, deep nesting) or finds changed ends it with -ECHILD, and
// the same walk is done again in reference mode, which holds a reference to where it stands and may sleep.
//
// Both modes share one loop (walk_run); they differ in the primitives below that move the walk: start, step, up
// and finish. Texts of links are stacked: when one is used up, the walk continues
// with the rest of the path that it stood in.
#include "kernel/fs/name_walk.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/fs/file.h"
#include "kernel/process/credentials.h"
#include "kernel/process/task.h"
#include "mm/slab.h"

COUNTER(path, walks);
COUNTER(path, references); // walks that RCU mode could not finish

#define WALK_RCU_DEPTH 3 // nesting of links in RCU mode

// The rest of a path in whose middle stood a link, and what keeps the link's text alive.
struct walk_rest {
    struct path_walk rest;
    bool pending;        // something is left of it
    struct inode *inode; // reference mode: holds the text; or
    const char *text;    // memory of its own
};

struct walk {
    struct path path;        // where it stands; references in reference mode
    struct path root;        // ".." stops here; references in reference mode
    struct inode *inode;     // of path.dentry
    uint32_t sequence;       // RCU mode: of path.dentry, mount_sequence and renames at the start
    uint32_t mount_sequence;
    uint32_t rename_sequence;
    uint32_t flags;          // WALK_*
    bool rcu;
    uint32_t links;          // followed so far
    uint32_t depth;          // of stack
    uint32_t pending;        // entries of stack with something left
    bool must_be_directory;  // a slash follows the last component
    struct walk_last last;   // WALK_PARENT, WALK_CREATE
    bool missing;            // WALK_CREATE: path is the directory, last what is missing
    struct walk_rest *stack; // inline_stack or memory for WALK_LINKS_MAX
    struct walk_rest inline_stack[WALK_RCU_DEPTH];
};

// ---- start ----

static int walk_start_rcu(struct walk *walk, struct fs_context *fs, const struct file *directory,
    bool absolute)
{
    uint32_t sequence;
    do {
        sequence = seqcount_read_begin(&fs->sequence);
        walk->root = fs->root;
        walk->path = absolute ? fs->root : fs->cwd;
    } while (seqcount_read_retry(&fs->sequence, sequence));
    if (directory != NULL)
        walk->path = directory->path;
    if (walk->flags & (WALK_IN_ROOT | WALK_BENEATH))
        walk->root = walk->path;
    walk->mount_sequence = seqcount_read_begin(&mount_sequence);
    walk->rename_sequence = seqcount_read_begin(&dentry_rename_sequence);
    walk->sequence = seqcount_read_begin(&walk->path.dentry->sequence);
    walk->inode = walk->path.dentry->inode;
    return walk->inode != NULL ? 0 : -ECHILD;
}

static int walk_start_reference(struct walk *walk, struct fs_context *fs,
    const struct file *directory, bool absolute)
{
    fs_context_path_get(fs, true, &walk->root);
    if (directory != NULL) {
        walk->path = directory->path;
        path_get(&walk->path);
    } else if (absolute) {
        walk->path = walk->root;
        path_get(&walk->path);
    } else {
        fs_context_path_get(fs, false, &walk->path);
    }
    if (walk->flags & (WALK_IN_ROOT | WALK_BENEATH)) {
        path_get(&walk->path);
        path_put(&walk->root);
        walk->root = walk->path;
    }
    walk->inode = walk->path.dentry->inode;
    return 0;
}

// To the root, for an absolute path in the middle (a link).
static int walk_jump_root(struct walk *walk)
{
    if (walk->flags & WALK_BENEATH)
        return -EXDEV;
    if (walk->rcu) {
        walk->path = walk->root;
        walk->sequence = seqcount_read_begin(&walk->path.dentry->sequence);
    } else {
        path_get(&walk->root);
        path_put(&walk->path);
        walk->path = walk->root;
    }
    walk->inode = walk->path.dentry->inode;
    return walk->inode != NULL ? 0 : -ECHILD;
}

// ---- one step down ----

static int walk_mounts_rcu(struct walk *walk)
{
    while (unlikely(walk->path.dentry->flags & DENTRY_MOUNTED)) {
        struct mount *mount = mount_lookup(walk->path.mount, walk->path.dentry);
        if (seqcount_read_retry(&mount_sequence, walk->mount_sequence))
            return -ECHILD;
        if (mount == NULL)
            return 0;
        if (walk->flags & WALK_NO_XDEV)
            return -EXDEV;
        walk->path.mount = mount;
        walk->path.dentry = mount->root;
        walk->sequence = seqcount_read_begin(&mount->root->sequence);
        walk->inode = mount->root->inode;
    }
    return 0;
}

// One entry of the directory where the walk stands, not yet entered.
struct walk_entry {
    struct dentry *dentry; // with a reference in reference mode
    struct inode *inode;
    uint32_t sequence;
};

static int walk_step_rcu(struct walk *walk, const struct path_component *component,
    struct walk_entry *entry)
{
    struct dentry *parent = walk->path.dentry;
    uint32_t sequence;
    struct dentry *found = dentry_lookup_rcu(parent, component->name, component->len, &sequence);
    if (found == NULL) {
        if (walk->inode->ops->lookup != NULL)
            return -ECHILD;
        if (seqcount_read_retry(&dentry_rename_sequence, walk->rename_sequence) ||
            seqcount_read_retry(&parent->sequence, walk->sequence))
            return -ECHILD;
        return -ENOENT;
    }
    struct inode *inode = __atomic_load_n(&found->inode, __ATOMIC_ACQUIRE);
    if (unlikely(found->flags & DENTRY_REVALIDATE))
        return -ECHILD;
    if (seqcount_read_retry(&found->sequence, sequence) ||
        seqcount_read_retry(&parent->sequence, walk->sequence))
        return -ECHILD;
    if (inode == NULL)
        return -ENOENT;
    entry->dentry = found;
    entry->inode = inode;
    entry->sequence = sequence;
    return 0;
}

// The entry of a directory: cached, or looked up under the directory's lock. With a reference, perhaps negative.
static struct dentry *walk_lookup(struct dentry *directory, const char *name, size_t len, int *error)
{
    struct dentry *found = dentry_lookup(directory, name, len);
    struct inode *inode = directory->inode;
    if (found != NULL && found->flags & DENTRY_REVALIDATE && inode->ops->revalidate != NULL &&
        !inode->ops->revalidate(found)) {
        rwlock_write_lock(&inode->lock);
        dentry_remove(found);
        rwlock_write_unlock(&inode->lock);
        dentry_put(found);
        found = NULL;
    }
    if (found != NULL || inode->ops->lookup == NULL) {
        *error = found == NULL ? -ENOENT : 0;
        return found;
    }
    rwlock_write_lock(&inode->lock);
    found = walk_lookup_locked(directory, name, len, error);
    rwlock_write_unlock(&inode->lock);
    return found;
}

struct dentry *walk_lookup_locked(struct dentry *directory, const char *name, size_t len, int *error)
{
    *error = 0;
    struct dentry *found = dentry_lookup(directory, name, len);
    if (found != NULL)
        return found;
    found = dentry_create(directory->superblock, directory, name, len);
    if (found == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    const struct inode_ops *ops = directory->inode->ops;
    if (ops->lookup == NULL)
        return found;
    *error = directory->inode->flags & INODE_DEAD ? -ENOENT : ops->lookup(directory->inode, found);
    if (*error != 0) {
        dentry_put(found);
        return NULL;
    }
    if (!(found->flags & DENTRY_HASHED))
        dentry_add(found, false);
    return found;
}

static int walk_step_reference(struct walk *walk, const struct path_component *component,
    struct walk_entry *entry)
{
    int error;
    struct dentry *found = walk_lookup(walk->path.dentry, component->name, component->len, &error);
    if (found == NULL)
        return error;
    struct inode *inode = __atomic_load_n(&found->inode, __ATOMIC_ACQUIRE);
    if (inode == NULL) {
        dentry_put(found);
        return -ENOENT;
    }
    entry->dentry = found;
    entry->inode = inode;
    return 0;
}

static void walk_enter(struct walk *walk, const struct walk_entry *entry)
{
    if (!walk->rcu)
        dentry_put(walk->path.dentry);
    walk->path.dentry = entry->dentry;
    walk->inode = entry->inode;
    walk->sequence = entry->sequence;
}

static int walk_mounts(struct walk *walk)
{
    if (likely(!(walk->path.dentry->flags & DENTRY_MOUNTED)))
        return 0;
    if (walk->rcu)
        return walk_mounts_rcu(walk);
    struct mount *before = walk->path.mount;
    mount_follow(&walk->path);
    walk->inode = walk->path.dentry->inode;
    return walk->path.mount != before && walk->flags & WALK_NO_XDEV ? -EXDEV : 0;
}

// ---- up ----

static int walk_up_rcu(struct walk *walk)
{
    while (walk->path.dentry == walk->path.mount->root) {
        if (path_equal(&walk->path, &walk->root))
            return walk->flags & WALK_BENEATH ? -EXDEV : 0;
        struct mount *mount = walk->path.mount;
        struct mount *parent = mount->parent;
        struct dentry *mountpoint = mount->mountpoint;
        if (seqcount_read_retry(&mount_sequence, walk->mount_sequence))
            return -ECHILD;
        if (parent == mount)
            return 0;
        if (walk->flags & WALK_NO_XDEV)
            return -EXDEV;
        walk->path.mount = parent;
        walk->path.dentry = mountpoint;
        walk->sequence = seqcount_read_begin(&mountpoint->sequence);
    }
    if (path_equal(&walk->path, &walk->root))
        return walk->flags & WALK_BENEATH ? -EXDEV : 0;
    struct dentry *parent = __atomic_load_n(&walk->path.dentry->parent, __ATOMIC_ACQUIRE);
    uint32_t sequence = seqcount_read_begin(&parent->sequence);
    if (seqcount_read_retry(&walk->path.dentry->sequence, walk->sequence))
        return -ECHILD;
    walk->path.dentry = parent;
    walk->sequence = sequence;
    walk->inode = parent->inode;
    return walk->inode != NULL ? walk_mounts_rcu(walk) : -ECHILD;
}

static int walk_up(struct walk *walk)
{
    if (walk->rcu)
        return walk_up_rcu(walk);
    if (walk->flags & WALK_BENEATH && path_equal(&walk->path, &walk->root))
        return -EXDEV;
    while (walk->path.dentry == walk->path.mount->root && !path_equal(&walk->path, &walk->root)) {
        if (walk->flags & WALK_NO_XDEV)
            return -EXDEV;
        if (!mount_follow_up(&walk->path))
            break;
    }
    if (!path_equal(&walk->path, &walk->root) && walk->path.dentry != walk->path.mount->root) {
        struct dentry *parent = dentry_parent_get(walk->path.dentry);
        dentry_put(walk->path.dentry);
        walk->path.dentry = parent;
        mount_follow(&walk->path);
    }
    walk->inode = walk->path.dentry->inode;
    return 0;
}

// ---- symbolic links ----

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

static void walk_pop(struct walk *walk, struct path_walk *rest)
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
static int walk_push(struct walk *walk, const struct path_walk *rest, struct inode *inode,
    const char *text)
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

// Turns the walk into the link's text; *rest becomes the walk over it. In reference mode the entry's reference is used up.
static int walk_link(struct walk *walk, const struct walk_entry *entry, struct path_walk *rest)
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

static int walk_component(struct walk *walk, struct path_walk *rest,
    const struct path_component *component, bool *stop)
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
    error = walk->rcu ? walk_step_rcu(walk, component, &entry)
                      : walk_step_reference(walk, component, &entry);
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

static inline void walk_place(struct walk *walk, struct dentry *dentry, struct inode *inode, uint32_t sequence)
{
    walk->path.dentry = dentry;
    walk->inode = inode;
    walk->sequence = sequence;
}

// RCU mode: goes over components that need nothing special (cached entries that are no links, in directories that everybody
// may search), and stops before the first that does; walk_component() judges that one. The same steps and checks,
// without the general case: what it does not like it leaves alone, so it never fails.
static void walk_ahead(struct walk *walk, struct path_walk *rest)
{
    bool may_finish = !(walk->flags & (WALK_PARENT | WALK_CREATE));
    const char *at = rest->at;
    struct dentry *parent = walk->path.dentry;
    struct inode *inode = walk->inode;
    uint32_t sequence = walk->sequence;
    do {
        const char *slash = path_walk_find_slash(rest->start, at, rest->end);
        const char *next = path_walk_skip_slashes(slash, rest->end);
        uint32_t found_sequence;
        if (slash - at > PATH_WALK_NAME_MAX || (*at == '.' && slash - at <= 2))
            break;
        if (next == rest->end && (!may_finish || slash != rest->end))
            break;
        if ((inode->mode & (S_IFMT | 0111)) != (S_IFDIR | 0111) || inode->ops->permission != NULL)
            break;
        struct dentry *found = dentry_lookup_rcu(parent, at, (size_t)(slash - at), &found_sequence);
        if (found == NULL || found->flags & (DENTRY_REVALIDATE | DENTRY_LINK))
            break;
        // That the inode belongs to what was found is checked with its sequence by the next step, or at the end.
        struct inode *found_inode = __atomic_load_n(&found->inode, __ATOMIC_ACQUIRE);
        if (found_inode == NULL || seqcount_read_retry(&parent->sequence, sequence))
            break;
        if (unlikely(found->flags & DENTRY_MOUNTED)) {
            struct mount *mount = walk->path.mount;
            walk_place(walk, found, found_inode, found_sequence);
            if (walk_mounts_rcu(walk) != 0) {
                walk->path.mount = mount;
                break;
            }
            parent = walk->path.dentry;
            inode = walk->inode;
            sequence = walk->sequence;
        } else {
            parent = found;
            inode = found_inode;
            sequence = found_sequence;
        }
        at = next;
    } while (at != rest->end);
    walk_place(walk, parent, inode, sequence);
    rest->at = at;
}

static int walk_run(struct walk *walk, const char *name, size_t len)
{
    struct path_walk rest;
    int error = path_walk_init(&rest, name, len);
    bool stop = false;
    if (error == 0 && path_walk_at_end(&rest)) // "/"
        walk->last.is_root = true;
    while (error == 0 && !stop) {
        if (path_walk_at_end(&rest)) {
            if (walk->depth == 0)
                break;
            walk_pop(walk, &rest);
            continue;
        }
        if (walk->rcu) {
            walk_ahead(walk, &rest);
            if (path_walk_at_end(&rest))
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
    if (error == 0) {
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
static int walk_do(struct walk *walk, const struct file *directory, const char *name, size_t len,
    uint32_t flags)
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

static int walk_from_descriptor(struct walk *walk, int dirfd, const char *name, size_t len,
    uint32_t flags)
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

int walk_path(int dirfd, const char *name, size_t len, uint32_t flags, struct path *result)
{
    struct walk walk __attribute__((uninitialized));
    int error = walk_from_descriptor(&walk, dirfd, name, len, flags);
    if (error == 0)
        *result = walk.path;
    return error;
}

int walk_parent(int dirfd, const char *name, size_t len, struct path *parent, struct walk_last *last)
{
    struct walk walk __attribute__((uninitialized));
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
    int error = walk_from_descriptor(&walk, dirfd, name, len, flags | WALK_CREATE);
    if (error == 0) {
        *result = walk.path;
        *last = walk.last;
        return walk.missing ? 1 : 0;
    }
    return error;
}
