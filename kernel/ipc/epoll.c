// SPDX-License-Identifier: MIT
// epoll(7).
//
// An epoll object has one item for each (file, descriptor) of interest, in a tree, and a list of
// the items that may be ready. Each item sits on its file's wait queues; their wake-ups put it on
// the ready list, in any context. epoll_wait() takes items off the ready list, asks their files,
// and reports those that are ready; a level-triggered item that was reported goes back to the end
// of the list, to be asked again by the next call, and leaves it when its file has nothing to say.
// So a call costs as much as there are items to report, however many are watched.
//
// Locks, in this order:
//   release_lock    global; a watched file or an epoll object goes away (not for files that nobody
//   watches) nesting_lock    global; an epoll object is added to another: the graph of epolls stays
//   free of cycles and shallow epoll->mutex    the tree, the items' events, and being the one who
//   collects; may be held over user copies file->lock      file->poll_links (one file's watchers)
//   a source's wait queue lock → epoll->lock   the ready list; interrupts off. poll_wait (epolls
//   that watch this
//                   one) is woken outside epoll->lock.
//
//   I1  item->queued says whether the item is on the ready list; both change under epoll->lock.
//       Only the holder of the mutex takes items off.
//   I2  An item that may be ready is on the list, or its file's next wake-up puts it there: a
//       collector clears queued before it asks the file, so a wake-up that comes after the answer
//       queues it again.
//   I3  An item lives while it is in the tree; it is removed under the mutex, after it left all
//       wait queues.
//   I4  An item holds no reference to its file (closing the last descriptor ends the watch). The
//       file's last reference calls epoll_file_released() before anything of the file goes away;
//       that needs the mutex of each epoll that watches it, so who holds the mutex may use the
//       files of the epoll's items.
//   I5  A chain of epolls that watch each other has at most EPOLL_CHAIN_MAX members, so wake-ups
//       through it are bounded. `above` is the longest chain that ever ended in an epoll, itself
//       included; it never shrinks.
#include "kernel/ipc/epoll.h"

#include "kernel/base/rbtree.h"
#include "kernel/core/errno.h"
#include "kernel/core/mutex.h"
#include "kernel/core/user.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "mm/slab.h"

#define EPOLL_CHAIN_MAX    5
#define EPOLL_PRIVATE_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EPOLL_EXCLUSIVE_OK                                                                         \
    (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

struct epoll {
    struct mutex mutex;
    struct rbtree items; // by (file, fd); under mutex
    struct spinlock lock;
    struct list_node ready;      // epoll_item.ready_node; under lock
    struct wait_queue wait;      // tasks in epoll_wait
    struct wait_queue poll_wait; // who polls this epoll file
    uint32_t above;              // I5; under nesting_lock
};

// One wait queue that an item is on.
struct epoll_link {
    struct wait_entry wait;
    struct wait_queue *queue;
    struct epoll_item *item;
    struct epoll_link *next;
};

struct epoll_item {
    struct rbtree_node node;     // in epoll->items
    struct list_node ready_node; // in epoll->ready or a collector's list
    struct list_node file_node;  // in file->poll_links, under file->lock
    struct epoll *epoll;
    struct file *file;
    int fd;
    bool queued;                   // I1
    uint32_t events;               // wanted; under epoll->mutex, racily read by wake-ups
    uint64_t data;                 // the program's; under epoll->mutex
    struct epoll_link *links;      // under mutex
    int error;                     // -ENOMEM while queueing
    struct epoll_link inline_link; // nearly every file has one or two queues
    bool inline_used;
};

static struct slab_cache *item_cache;
static struct mutex release_lock = MUTEX_INIT(release_lock, "epoll: release");
static struct mutex nesting_lock = MUTEX_INIT(nesting_lock, "epoll: nesting");
static const struct file_ops epoll_ops;

bool file_is_epoll(const struct file *file)
{
    return file->ops == &epoll_ops;
}

// ---- readiness ----

static void epoll_wake_waiters(struct epoll *epoll)
{
    wait_wake_one(&epoll->wait);
    wait_wake(&epoll->poll_wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM);
}

// Puts the item on the ready list. Returns whether it was not there. Interrupts off or task
// context.
static bool epoll_item_queue(struct epoll_item *item)
{
    struct epoll *epoll = item->epoll;
    uint64_t flags = spin_lock_irqsave(&epoll->lock);
    bool added = !item->queued;
    if (added) {
        item->queued = true;
        list_add_tail(&epoll->ready, &item->ready_node);
    }
    spin_unlock_irqrestore(&epoll->lock, flags);
    return added;
}

static bool epoll_link_wake(struct wait_entry *wait, uint32_t key)
{
    struct epoll_link *link = container_of(wait, struct epoll_link, wait);
    struct epoll_item *item = link->item;
    uint32_t wanted = atomic_load_relaxed(&item->events);
    if ((wanted & ~EPOLL_PRIVATE_BITS) == 0) // a one-shot item that has fired
        return false;
    if (key != 0 && (key & (wanted | EPOLLERR | EPOLLHUP)) == 0)
        return false;
    bool waited_for = !wait_queue_is_empty(&item->epoll->wait);
    if (epoll_item_queue(item))
        epoll_wake_waiters(item->epoll);
    return (wanted & EPOLLEXCLUSIVE) != 0 && waited_for;
}

struct epoll_queue_table {
    struct poll_table table;
    struct epoll_item *item;
};

static void epoll_item_link(struct poll_table *table, struct file *file, struct wait_queue *queue)
{
    struct epoll_item *item = container_of(table, struct epoll_queue_table, table)->item;
    struct epoll_link *link = &item->inline_link;
    (void)file;
    if (item->inline_used)
        link = kmalloc(sizeof(*link), 0);
    if (link == NULL) {
        item->error = -ENOMEM;
        return;
    }
    item->inline_used = true;
    wait_entry_init(&link->wait, (item->events & EPOLLEXCLUSIVE) != 0);
    link->wait.wake = epoll_link_wake;
    link->queue = queue;
    link->item = item;
    link->next = item->links;
    item->links = link;
    wait_add(queue, &link->wait);
}

// The item's ready events now.
static uint32_t epoll_item_poll(struct epoll_item *item)
{
    return file_poll(item->file, NULL) & (item->events | EPOLLERR | EPOLLHUP) & ~EPOLL_PRIVATE_BITS;
}

// ---- the tree ----

static int epoll_compare(const struct file *file, int fd, const struct epoll_item *item)
{
    if (file != item->file)
        return (uintptr_t)file < (uintptr_t)item->file ? -1 : 1;
    return fd < item->fd ? -1 : fd > item->fd;
}

static struct epoll_item *epoll_find(struct epoll *epoll, const struct file *file, int fd)
{
    struct rbtree_node *node = epoll->items.root;
    while (node != NULL) {
        struct epoll_item *item = container_of(node, struct epoll_item, node);
        int order = epoll_compare(file, fd, item);
        if (order == 0)
            return item;
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

static bool epoll_item_less(const struct rbtree_node *a, const struct rbtree_node *b)
{
    const struct epoll_item *item = container_of(a, struct epoll_item, node);
    return epoll_compare(item->file, item->fd, container_of(b, struct epoll_item, node)) < 0;
}

// Takes the item off everything and frees it; under the mutex, the file still exists (I4).
static void epoll_item_destroy(struct epoll_item *item)
{
    struct epoll *epoll = item->epoll;
    while (item->links != NULL) {
        struct epoll_link *link = item->links;
        item->links = link->next;
        wait_remove(link->queue, &link->wait);
        if (link != &item->inline_link)
            kfree(link);
    }
    // A file that sees its list empty is freed after an RCU grace period, i.e. not before this
    // unlock.
    spin_lock(&item->file->lock);
    list_remove(&item->file_node);
    spin_unlock(&item->file->lock);
    uint64_t flags = spin_lock_irqsave(&epoll->lock);
    if (item->queued)
        list_remove(&item->ready_node);
    spin_unlock_irqrestore(&epoll->lock, flags);
    rbtree_remove(&epoll->items, &item->node, NULL);
    slab_free(item_cache, item);
}

static void epoll_file_released(struct file *file)
{
    mutex_lock(&release_lock);
    struct epoll_item *item;
    while ((item = list_first_entry_or_null(&file->poll_links, struct epoll_item, file_node)) !=
           NULL) {
        struct epoll *epoll = item->epoll;
        mutex_lock(&epoll->mutex);
        // Only release_lock's holder removes items of a file without references.
        epoll_item_destroy(item);
        mutex_unlock(&epoll->mutex);
    }
    mutex_unlock(&release_lock);
}

static void epoll_release(struct file *file)
{
    struct epoll *epoll = file->private_data;
    mutex_lock(&release_lock);
    mutex_lock(&epoll->mutex);
    while (epoll->items.root != NULL)
        epoll_item_destroy(container_of(epoll->items.root, struct epoll_item, node));
    mutex_unlock(&epoll->mutex);
    mutex_unlock(&release_lock);
    kfree(epoll);
}

// ---- nesting (I5) ----

#ifdef LODGER_DEBUG
// Locks of chained epolls nest: a class for each level, so that the order checker knows them apart.
static struct lock_class mutex_classes[EPOLL_CHAIN_MAX + 1];
static struct lock_class wait_classes[EPOLL_CHAIN_MAX + 1];
#endif

static void epoll_set_above(struct epoll *epoll, uint32_t above)
{
    epoll->above = above;
#ifdef LODGER_DEBUG
    mutex_classes[above].name = "epoll: mutex";
    wait_classes[above].name = "epoll: poll_wait";
    epoll->mutex.class = &mutex_classes[above];
    epoll->poll_wait.lock.class = &wait_classes[above];
#endif
}

// Calls itself for the epolls that `epoll` watches. Length of the longest chain from `epoll` down,
// or -ELOOP if `forbidden` is on it or it has more than `limit` members. Under nesting_lock.
static int epoll_chain_below(struct epoll *epoll, const struct epoll *forbidden, int limit)
{
    int longest = 0;
    if (epoll == forbidden || limit == 0)
        return -ELOOP;
    mutex_lock(&epoll->mutex);
    for (struct rbtree_node *node = rbtree_first(&epoll->items); node != NULL && longest >= 0;
        node = rbtree_next(node)) {
        struct epoll_item *item = container_of(node, struct epoll_item, node);
        if (!file_is_epoll(item->file))
            continue;
        int below = epoll_chain_below(item->file->private_data, forbidden, limit - 1);
        longest = below < 0 ? below : MAX(longest, below);
    }
    mutex_unlock(&epoll->mutex);
    return longest < 0 ? longest : longest + 1;
}

static void epoll_chain_set_above(struct epoll *epoll, uint32_t above)
{
    if (epoll->above >= above)
        return;
    epoll_set_above(epoll, above);
    mutex_lock(&epoll->mutex);
    for (struct rbtree_node *node = rbtree_first(&epoll->items); node != NULL;
        node = rbtree_next(node)) {
        struct epoll_item *item = container_of(node, struct epoll_item, node);
        if (file_is_epoll(item->file))
            epoll_chain_set_above(item->file->private_data, above + 1);
    }
    mutex_unlock(&epoll->mutex);
}

// May `epoll` watch `target`? Called, and the addition made, under nesting_lock.
static int epoll_nest(struct epoll *epoll, struct epoll *target)
{
    int below = epoll_chain_below(target, epoll, EPOLL_CHAIN_MAX);
    if (below < 0)
        return below;
    if (epoll->above + (uint32_t)below > EPOLL_CHAIN_MAX)
        return -ELOOP;
    epoll_chain_set_above(target, epoll->above + 1);
    return 0;
}

// ---- epoll_ctl ----

// Asks the file and, when it is ready already, behaves as a wake-up would. Under the mutex.
static void epoll_item_check(struct epoll_item *item, uint32_t events)
{
    if ((events & (item->events | EPOLLERR | EPOLLHUP) & ~EPOLL_PRIVATE_BITS) != 0 &&
        epoll_item_queue(item))
        epoll_wake_waiters(item->epoll);
}

static int epoll_add(struct epoll *epoll, struct file *target, int fd, struct epoll_event event)
{
    struct epoll_item *item = slab_alloc(item_cache, PAGE_ALLOC_ZERO);
    if (item == NULL)
        return -ENOMEM;
    item->epoll = epoll;
    item->file = target;
    item->fd = fd;
    item->events = event.events;
    item->data = event.data;
    rbtree_insert(&epoll->items, &item->node, epoll_item_less);
    spin_lock(&target->lock);
    list_add_tail(&target->poll_links, &item->file_node);
    spin_unlock(&target->lock);
    struct epoll_queue_table queue = {
        .table = {.queue = epoll_item_link, .wanted = event.events}, .item = item};
    uint32_t events = file_poll(target, &queue.table);
    if (item->error != 0) {
        int error = item->error;
        epoll_item_destroy(item);
        return error;
    }
    epoll_item_check(item, events);
    return 0;
}

static int epoll_modify(struct epoll_item *item, struct epoll_event event)
{
    if (((item->events | event.events) & EPOLLEXCLUSIVE) != 0)
        return -EINVAL;
    item->data = event.data;
    // Full fence: a wake-up that saw the old events came before the file is asked.
    atomic_store(&item->events, event.events);
    epoll_item_check(item, file_poll(item->file, NULL));
    return 0;
}

static int epoll_control_locked(
    struct epoll *epoll, int operation, struct file *target, int fd, struct epoll_event event)
{
    mutex_lock(&epoll->mutex);
    struct epoll_item *item = epoll_find(epoll, target, fd);
    int error = 0;
    if (operation == EPOLL_CTL_ADD)
        error = item != NULL ? -EEXIST : epoll_add(epoll, target, fd, event);
    else if (item == NULL)
        error = -ENOENT;
    else if (operation == EPOLL_CTL_MOD)
        error = epoll_modify(item, event);
    else
        epoll_item_destroy(item);
    mutex_unlock(&epoll->mutex);
    return error;
}

int epoll_control(
    struct file *epoll_file, int operation, struct file *target, int fd, struct epoll_event event)
{
    bool nested = file_is_epoll(target);
    if (target->ops->poll == NULL)
        return -EPERM;
    if (target == epoll_file || !file_is_epoll(epoll_file))
        return -EINVAL;
    if (operation != EPOLL_CTL_ADD && operation != EPOLL_CTL_MOD && operation != EPOLL_CTL_DEL)
        return -EINVAL;
    if (operation != EPOLL_CTL_DEL && (event.events & EPOLLEXCLUSIVE) != 0 &&
        (operation == EPOLL_CTL_MOD || nested || (event.events & ~EPOLL_EXCLUSIVE_OK) != 0))
        return -EINVAL;
    event.events |= EPOLLERR | EPOLLHUP; // always wanted, also of who asks for nothing else
    struct epoll *epoll = epoll_file->private_data;
    if (operation != EPOLL_CTL_ADD || !nested)
        return epoll_control_locked(epoll, operation, target, fd, event);
    mutex_lock(&nesting_lock);
    int error = epoll_nest(epoll, target->private_data);
    if (error == 0)
        error = epoll_control_locked(epoll, operation, target, fd, event);
    mutex_unlock(&nesting_lock);
    return error;
}

// ---- epoll_wait ----

static bool epoll_may_have_events(const struct epoll *epoll)
{
    return !list_is_empty(&epoll->ready);
}

// Writes one event to user memory. False: that faulted.
static bool epoll_report(const struct epoll_item *item, uint32_t found, uintptr_t user)
{
    struct epoll_event event = {.events = found, .data = item->data};
    return copy_to_user(user, &event, sizeof(event)) == 0;
}

// Takes an item off the ready list. Under the mutex.
static void epoll_item_unqueue(struct epoll_item *item)
{
    struct epoll *epoll = item->epoll;
    uint64_t flags = spin_lock_irqsave(&epoll->lock);
    list_remove(&item->ready_node);
    item->queued = false;
    spin_unlock_irqrestore(&epoll->lock, flags);
}

// What an item on the ready list has to report, 0 for nothing. A level-triggered one with events
// stays on the list; every other leaves it, before its file is asked for the last time (I2).
static uint32_t epoll_item_take(struct epoll_item *item)
{
    if ((item->events & EPOLLET) == 0) {
        uint32_t found = epoll_item_poll(item);
        if (found != 0)
            return found;
    }
    epoll_item_unqueue(item);
    return epoll_item_poll(item);
}

// An item whose events were reported: on or off the list as its kind wants it.
static void epoll_item_settle(struct epoll_item *item)
{
    if ((item->events & EPOLLONESHOT) != 0) {
        atomic_store_relaxed(&item->events, item->events & EPOLL_PRIVATE_BITS);
        if (item->queued)
            epoll_item_unqueue(item);
    } else if ((item->events & EPOLLET) == 0 && !item->queued) {
        (void)epoll_item_queue(item); // its event came between the two looks
    }
}

// Lets the next call begin behind `last`: who has much to say does not starve the others. Moves the
// head, not the items.
static void epoll_rotate(struct epoll *epoll, struct list_node *last)
{
    uint64_t flags = spin_lock_irqsave(&epoll->lock);
    list_remove(&epoll->ready);
    list_add_after(last, &epoll->ready);
    spin_unlock_irqrestore(&epoll->lock, flags);
}

// Goes through the ready list once. user 0: only looks whether anything is ready. Number of events,
// or -EFAULT.
//
// Wake-ups append to the list at any time, but only the holder of the mutex takes items off it, so
// it is walked without the lock up to what was its end. In the usual case, level-triggered items
// that are ready, no lock is taken at all.
static int64_t epoll_collect(struct epoll *epoll, uintptr_t user, int maximum)
{
    int64_t count = 0;
    struct list_node *reported = NULL;
    mutex_lock(&epoll->mutex);
    struct list_node *node = atomic_load_relaxed(&epoll->ready.next);
    struct list_node *end = atomic_load_acquire(&epoll->ready.prev);
    bool at_end = node == &epoll->ready;
    while (!at_end && count < maximum) {
        struct epoll_item *item = list_entry(node, struct epoll_item, ready_node);
        at_end = node == end;
        node = atomic_load_relaxed(&node->next);
        uint32_t found = epoll_item_take(item);
        if (found == 0)
            continue;
        if (user != 0 &&
            !epoll_report(item, found, user + (uintptr_t)count * sizeof(struct epoll_event))) {
            (void)epoll_item_queue(item);
            count = count != 0 ? count : -EFAULT; // what was reported is not lost
            break;
        }
        count++;
        if (user != 0)
            epoll_item_settle(item);
        else if (!item->queued)
            (void)epoll_item_queue(item);
        if (item->queued)
            reported = &item->ready_node;
    }
    bool more = epoll_may_have_events(epoll);
    if (reported != NULL && atomic_load_relaxed(&reported->next) != &epoll->ready)
        epoll_rotate(epoll, reported);
    mutex_unlock(&epoll->mutex);
    if (more)
        wait_wake_one(&epoll->wait);
    return count;
}

// Waits until there may be events: 0, -EINTR, -ETIMEDOUT.
[[gnu::noinline]] static int epoll_sleep(struct epoll *epoll, uint64_t deadline_ns)
{
    return wait_event_state(
        &epoll->wait, epoll_may_have_events(epoll), THREAD_INTERRUPTIBLE, true, deadline_ns);
}

int64_t epoll_wait_events(
    struct file *epoll_file, uintptr_t events, int maximum, uint64_t deadline_ns)
{
    struct epoll *epoll = epoll_file->private_data;
    bool last = deadline_ns == 0;
    for (;;) {
        if (epoll_may_have_events(epoll)) {
            int64_t count = epoll_collect(epoll, events, maximum);
            if (count != 0)
                return count;
        }
        if (last)
            return 0;
        int error = epoll_sleep(epoll, deadline_ns);
        if (error == -EINTR)
            return error;
        last = error == -ETIMEDOUT;
    }
}

static uint32_t epoll_poll(struct file *file, struct poll_table *table)
{
    struct epoll *epoll = file->private_data;
    poll_wait(table, file, &epoll->poll_wait);
    if (!epoll_may_have_events(epoll))
        return 0;
    return epoll_collect(epoll, 0, 1) > 0 ? EPOLLIN | EPOLLRDNORM : 0;
}

static void epoll_show(
    struct file *file, void (*print)(void *context, const char *format, ...), void *context)
{
    struct epoll *epoll = file->private_data;
    mutex_lock(&epoll->mutex);
    for (struct rbtree_node *node = rbtree_first(&epoll->items); node != NULL;
        node = rbtree_next(node)) {
        struct epoll_item *item = container_of(node, struct epoll_item, node);
        print(context, "tfd: %8d events: %8x data: %16llx\n", item->fd, item->events,
            (unsigned long long)item->data);
    }
    mutex_unlock(&epoll->mutex);
}

static const struct file_ops epoll_ops = {
    .poll = epoll_poll,
    .release = epoll_release,
    .show_fdinfo = epoll_show,
};

struct file *epoll_create(void)
{
    struct epoll *epoll = kzalloc(sizeof(*epoll));
    if (epoll == NULL)
        return NULL;
    mutex_init(&epoll->mutex);
    spin_lock_init(&epoll->lock);
    list_init(&epoll->ready);
    wait_queue_init(&epoll->wait);
    wait_queue_init(&epoll->poll_wait);
    epoll_set_above(epoll, 1);
    struct file *file = file_create_anonymous("eventpoll", &epoll_ops, epoll, O_RDWR);
    if (file == NULL)
        kfree(epoll);
    return file;
}

void epoll_init(void)
{
    file_poll_links_release = epoll_file_released;
    item_cache = slab_cache_create("epoll_item", sizeof(struct epoll_item), 0);
}
