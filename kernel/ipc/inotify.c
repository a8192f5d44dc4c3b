// SPDX-License-Identifier: MIT
// inotify(7).
//
// A watch joins an inode and an inotify object; it is in the inode's list and in the object's
// table. The file system tells what happens to an inode that has a list (kernel/fs/notify.c); that
// costs nobody anything who is not watched.
//
// Locks, in this order:
//   inotify->mutex          the table of watches, adding and removing
//   inode->attribute_lock   inode->watches and its list, the watches' masks
//   inotify->lock           the queue of events
// A notification takes the second and third. A watch that it ends (IN_ONESHOT, the inode's last
// name is gone) is only marked there and is removed after the lock is given back, by whoever takes
// it out of the table first.
//
// A watch holds a reference to its inode, and is itself counted: by the table, and by a
// notification that is about to remove it. The object is counted by its file and by such
// notifications.
#include "kernel/ipc/inotify.h"

#include "kernel/base/rbtree.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/mutex.h"
#include "kernel/core/user.h"
#include "kernel/fs/file.h"
#include "kernel/fs/inode.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/vfs.h"
#include "mm/slab.h"
#include <asm/ioctls.h>

#define INOTIFY_EVENTS_MAX  16384                         // queued; then IN_Q_OVERFLOW
#define INOTIFY_WATCHES_MAX 65536                         // of one object
#define INOTIFY_FLAGS       (IN_EXCL_UNLINK | IN_ONESHOT) // kept in a watch's mask

struct inotify {
    struct mutex mutex;
    struct rbtree watches;   // by descriptor; under mutex
    uint32_t watch_count;    // under mutex
    int32_t last_descriptor; // descriptors are not reused; under mutex
    struct spinlock lock;
    struct list_node events; // under lock
    uint32_t event_count;    // under lock
    struct wait_queue wait;
    uint32_t refcount; // atomic
};

struct watch {
    struct rbtree_node node;     // in inotify->watches
    struct list_node inode_node; // in the inode's list
    struct list_node ending;     // a notification's list of watches to remove
    struct inotify *inotify;
    struct inode *inode; // with a reference
    int32_t descriptor;
    uint32_t mask;     // under inode->attribute_lock
    bool ended;        // no more events; under inode->attribute_lock
    bool listed;       // in the table; under inotify->mutex
    uint32_t refcount; // atomic
};

// What inode->watches points to while the inode has watches.
struct inode_watches {
    struct list_node list;
};

struct inotify_queued {
    struct list_node node;
    size_t name_len;            // 0: no name
    struct inotify_event event; // as the program gets it, then the name
    char name[];
};

static const struct file_ops inotify_ops;

bool file_is_inotify(const struct file *file)
{
    return file->ops == &inotify_ops;
}

static void inotify_put(struct inotify *inotify)
{
    if (__atomic_sub_fetch(&inotify->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    while (!list_is_empty(&inotify->events)) {
        struct inotify_queued *queued =
            list_first_entry(&inotify->events, struct inotify_queued, node);
        list_remove(&queued->node);
        kfree(queued);
    }
    kfree(inotify);
}

static void watch_put(struct watch *watch)
{
    if (__atomic_sub_fetch(&watch->refcount, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    inode_put(watch->inode);
    inotify_put(watch->inotify);
    kfree(watch);
}

// ---- events ----

static bool same_event(const struct inotify_queued *queued, int32_t descriptor, uint32_t mask,
    uint32_t cookie, const char *name, size_t name_len)
{
    return queued->event.wd == descriptor && queued->event.mask == mask &&
           queued->event.cookie == cookie && queued->name_len == name_len &&
           memcmp(queued->name, name, name_len) == 0;
}

// Queues an event; one that repeats the newest is merged into it. Without memory or room the queue
// overflows, which the program is told. Spin locks may be held.
static void inotify_queue(
    struct inotify *inotify, int32_t descriptor, uint32_t mask, uint32_t cookie, const char *name)
{
    size_t name_len = name != NULL ? strlen(name) : 0;
    // The name's room is a multiple of the header, with at least one NUL.
    size_t room = name != NULL ? ALIGN_UP(name_len + 1, sizeof(struct inotify_event)) : 0;
    struct inotify_queued *queued =
        kmalloc(sizeof(*queued) + room, PAGE_ALLOC_ATOMIC | PAGE_ALLOC_ZERO);
    uint64_t flags = spin_lock_irqsave(&inotify->lock);
    struct inotify_queued *newest =
        list_last_entry_or_null(&inotify->events, struct inotify_queued, node);
    bool merged = newest != NULL && same_event(newest, descriptor, mask, cookie, name, name_len);
    if (!merged && queued != NULL && inotify->event_count <= INOTIFY_EVENTS_MAX) {
        bool overflow = inotify->event_count == INOTIFY_EVENTS_MAX;
        queued->event = (struct inotify_event){.wd = overflow ? -1 : descriptor,
            .mask = overflow ? IN_Q_OVERFLOW : mask,
            .cookie = overflow ? 0 : cookie,
            .len = overflow ? 0 : (uint32_t)room};
        queued->name_len = overflow ? 0 : name_len;
        memcpy(queued->name, name, queued->name_len);
        list_add_tail(&inotify->events, &queued->node);
        inotify->event_count++;
        queued = NULL;
    }
    spin_unlock_irqrestore(&inotify->lock, flags);
    kfree(queued);
    wait_wake(&inotify->wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM);
}

// ---- watches ----

// Takes the watch off the table and the inode, once. Under inotify->mutex. Whether it was there.
static bool watch_unlist(struct watch *watch)
{
    struct inode *inode = watch->inode;
    struct inode_watches *unused = NULL;
    if (!watch->listed)
        return false;
    watch->listed = false;
    rbtree_remove(&watch->inotify->watches, &watch->node, NULL);
    watch->inotify->watch_count--;
    spin_lock(&inode->attribute_lock);
    struct inode_watches *watches = inode->watches;
    list_remove(&watch->inode_node);
    if (list_is_empty(&watches->list)) {
        unused = watches;
        inode->watches = NULL;
    }
    spin_unlock(&inode->attribute_lock);
    kfree(unused);
    return true;
}

// Ends a watch for which the caller holds a reference, and tells the program.
static void watch_end(struct watch *watch)
{
    struct inotify *inotify = watch->inotify;
    mutex_lock(&inotify->mutex);
    bool was_listed = watch_unlist(watch);
    mutex_unlock(&inotify->mutex);
    if (!was_listed)
        return;
    inotify_queue(inotify, watch->descriptor, IN_IGNORED, 0, NULL);
    watch_put(watch); // the table's reference
}

static void inotify_notify(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name)
{
    struct list_node ending;
    list_init(&ending);
    spin_lock(&inode->attribute_lock);
    struct inode_watches *watches = inode->watches;
    if (watches != NULL) {
        struct watch *watch;
        list_for_each_entry (watch, &watches->list, inode_node) {
            bool gone = (mask & IN_DELETE_SELF) != 0;
            bool wanted = (mask & watch->mask & IN_ALL_EVENTS) != 0;
            if (watch->ended || (!wanted && !gone))
                continue;
            if (wanted)
                inotify_queue(watch->inotify, watch->descriptor, mask, cookie, name);
            if (gone || (watch->mask & IN_ONESHOT) != 0) {
                watch->ended = true;
                __atomic_fetch_add(&watch->refcount, 1, __ATOMIC_RELAXED);
                list_add_tail(&ending, &watch->ending);
            }
        }
    }
    spin_unlock(&inode->attribute_lock);
    while (!list_is_empty(&ending)) {
        struct watch *watch = list_first_entry(&ending, struct watch, ending);
        list_remove(&watch->ending);
        watch_end(watch);
        watch_put(watch);
    }
}

// The object's watch of the inode, or NULL. Under inotify->mutex, which keeps it there, and
// inode->attribute_lock.
static struct watch *watch_find(const struct inotify *inotify, const struct inode *inode)
{
    struct inode_watches *watches = inode->watches;
    struct watch *watch;
    if (watches == NULL)
        return NULL;
    list_for_each_entry (watch, &watches->list, inode_node) {
        if (watch->inotify == inotify && !watch->ended)
            return watch;
    }
    return NULL;
}

// Changes an existing watch: its descriptor, 0 if there is none, -EEXIST. Under inotify->mutex.
static int watch_update(struct inotify *inotify, struct inode *inode, uint32_t mask)
{
    int result = 0;
    spin_lock(&inode->attribute_lock);
    struct watch *watch = watch_find(inotify, inode);
    if (watch != NULL && (mask & IN_MASK_CREATE) != 0) {
        result = -EEXIST;
    } else if (watch != NULL) {
        uint32_t kept = (mask & IN_MASK_ADD) != 0 ? watch->mask : 0;
        watch->mask = kept | (mask & (IN_ALL_EVENTS | INOTIFY_FLAGS));
        result = watch->descriptor;
    }
    spin_unlock(&inode->attribute_lock);
    return result;
}

static bool watch_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    return container_of(a, struct watch, node)->descriptor <
           container_of(b, struct watch, node)->descriptor;
}

// Under inotify->mutex. The new watch's descriptor, or -errno.
static int watch_create(struct inotify *inotify, struct inode *inode, uint32_t mask)
{
    if (inotify->watch_count >= INOTIFY_WATCHES_MAX)
        return -ENOSPC;
    struct watch *watch = kzalloc(sizeof(*watch));
    struct inode_watches *watches = kzalloc(sizeof(*watches));
    if (watch == NULL || watches == NULL) {
        kfree(watch);
        kfree(watches);
        return -ENOMEM;
    }
    list_init(&watches->list);
    inode_get(inode);
    __atomic_fetch_add(&inotify->refcount, 1, __ATOMIC_RELAXED);
    watch->inotify = inotify;
    watch->inode = inode;
    watch->descriptor = ++inotify->last_descriptor;
    watch->mask = mask & (IN_ALL_EVENTS | INOTIFY_FLAGS);
    watch->refcount = 1;
    watch->listed = true;
    rbtree_insert(&inotify->watches, &watch->node, watch_less);
    inotify->watch_count++;
    spin_lock(&inode->attribute_lock);
    if (inode->watches == NULL) {
        inode->watches = watches;
        watches = NULL;
    }
    list_add_tail(&((struct inode_watches *)inode->watches)->list, &watch->inode_node);
    spin_unlock(&inode->attribute_lock);
    kfree(watches);
    return watch->descriptor;
}

int inotify_watch_add(struct file *file, struct inode *inode, uint32_t mask)
{
    struct inotify *inotify = file->private_data;
    mutex_lock(&inotify->mutex);
    int result = watch_update(inotify, inode, mask);
    if (result == 0)
        result = watch_create(inotify, inode, mask);
    mutex_unlock(&inotify->mutex);
    return result;
}

int inotify_watch_remove(struct file *file, int descriptor)
{
    struct inotify *inotify = file->private_data;
    struct watch *watch = NULL;
    mutex_lock(&inotify->mutex);
    for (struct rbtree_node *node = inotify->watches.root; node != NULL && watch == NULL;) {
        struct watch *candidate = container_of(node, struct watch, node);
        if (candidate->descriptor == descriptor)
            watch = candidate;
        else
            node = descriptor < candidate->descriptor ? node->left : node->right;
    }
    if (watch != NULL)
        __atomic_fetch_add(&watch->refcount, 1, __ATOMIC_RELAXED);
    mutex_unlock(&inotify->mutex);
    if (watch == NULL)
        return -EINVAL;
    watch_end(watch);
    watch_put(watch);
    return 0;
}

// ---- the file ----

// The oldest event if it fits into `room` bytes, taken off. *too_small: there is one that does not
// fit.
static struct inotify_queued *inotify_take(struct inotify *inotify, size_t room, bool *too_small)
{
    uint64_t flags = spin_lock_irqsave(&inotify->lock);
    struct inotify_queued *oldest =
        list_first_entry_or_null(&inotify->events, struct inotify_queued, node);
    *too_small = oldest != NULL && sizeof(oldest->event) + oldest->event.len > room;
    if (*too_small)
        oldest = NULL;
    if (oldest != NULL) {
        list_remove(&oldest->node);
        inotify->event_count--;
    }
    spin_unlock_irqrestore(&inotify->lock, flags);
    return oldest;
}

static bool inotify_has_events(const struct inotify *inotify)
{
    return !list_is_empty(&inotify->events);
}

static int64_t inotify_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct inotify *inotify = file->private_data;
    int64_t done = 0;
    (void)offset;
    for (;;) {
        bool too_small;
        struct inotify_queued *queued = inotify_take(inotify, to->count, &too_small);
        if (queued != NULL) {
            size_t len = sizeof(queued->event) + queued->event.len;
            size_t copied = iter_copy_to(to, &queued->event, len);
            kfree(queued);
            if (copied < len)
                return done != 0 ? done : -EFAULT;
            done += (int64_t)len;
            continue;
        }
        if (done != 0)
            return done;
        if (too_small)
            return -EINVAL;
        if ((file->flags & O_NONBLOCK) != 0)
            return -EAGAIN;
        if (wait_event_interruptible(&inotify->wait, inotify_has_events(inotify)) != 0)
            return -ERESTARTSYS;
    }
}

static uint32_t inotify_poll(struct file *file, struct poll_table *table)
{
    struct inotify *inotify = file->private_data;
    poll_wait(table, file, &inotify->wait);
    return inotify_has_events(inotify) ? EPOLLIN | EPOLLRDNORM : 0;
}

static int64_t inotify_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    struct inotify *inotify = file->private_data;
    struct inotify_queued *queued;
    uint32_t len_bytes = 0;
    if (command != FIONREAD)
        return -ENOTTY;
    uint64_t flags = spin_lock_irqsave(&inotify->lock);
    list_for_each_entry (queued, &inotify->events, node)
        len_bytes += (uint32_t)sizeof(queued->event) + queued->event.len;
    spin_unlock_irqrestore(&inotify->lock, flags);
    return user_put_u32(argument, len_bytes);
}

static void inotify_release(struct file *file)
{
    struct inotify *inotify = file->private_data;
    mutex_lock(&inotify->mutex);
    while (inotify->watches.root != NULL) {
        struct watch *watch = container_of(inotify->watches.root, struct watch, node);
        (void)watch_unlist(watch);
        watch_put(watch);
    }
    mutex_unlock(&inotify->mutex);
    inotify_put(inotify);
}

static const struct file_ops inotify_ops = {
    .read = inotify_read,
    .poll = inotify_poll,
    .ioctl = inotify_ioctl,
    .release = inotify_release,
};

struct file *inotify_create(uint32_t open_flags)
{
    struct inotify *inotify = kzalloc(sizeof(*inotify));
    if (inotify == NULL)
        return NULL;
    mutex_init(&inotify->mutex);
    spin_lock_init(&inotify->lock);
    list_init(&inotify->events);
    wait_queue_init(&inotify->wait);
    inotify->refcount = 1;
    // From now on the file system tells what happens: until the first program asks, it costs
    // nothing.
    vfs_notify = inotify_notify;
    struct file *file =
        file_create_anonymous("inotify", &inotify_ops, inotify, O_RDONLY | open_flags);
    if (file == NULL)
        kfree(inotify);
    return file;
}
