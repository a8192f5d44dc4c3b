// SPDX-License-Identifier: MIT
// timerfd(2): expirations of a timer as a readable counter.
//
// An interval timer is re-armed by its own function, from the deadline and not from "now", so it
// does not drift; a reader that comes late gets the number of intervals that have passed, computed,
// not counted one by one. A timer on the wall clock keeps the offset of that clock at which it was
// set. When the clock is set (time_on_change), absolute timers move with it, and those with
// TFD_TIMER_CANCEL_ON_SET wake their readers, who see that the offset is another one.
#include "kernel/ipc/timerfd.h"

#include "kernel/core/errno.h"
#include "kernel/core/mutex.h"
#include "kernel/core/time.h"
#include "kernel/core/timer.h"
#include "kernel/fs/file.h"
#include "kernel/fs/poll.h"
#include "mm/slab.h"
#include <linux/time.h>
#include <linux/timerfd.h>

struct timerfd {
    struct spinlock lock; // everything below; interrupts off
    int clock;
    uint64_t deadline_ns; // monotonic, of the next expiration; 0: disarmed
    uint64_t interval_ns;
    uint64_t expirations;    // since the last read, up to deadline_ns
    int64_t realtime_offset; // realtime - monotonic when it was set: has the clock been set since?
    bool cancel_on_set;
    bool absolute;
    struct timer timer;
    struct wait_queue wait;
    struct list_node realtime_node; // on a wall clock: in realtime_timers, under realtime_lock
};

static struct mutex realtime_lock =
    MUTEX_INIT(realtime_lock, "timerfd: wall-clock timers"); // before a timer's lock
static struct list_node realtime_timers = LIST_INIT(realtime_timers);
static bool realtime_registered; // with time_on_change; under realtime_lock

static bool timerfd_is_realtime(const struct timerfd *timerfd)
{
    return timerfd->clock == CLOCK_REALTIME || timerfd->clock == CLOCK_REALTIME_ALARM;
}

// Counts the expirations that have passed and moves the deadline behind now. Under the lock.
static void timerfd_advance(struct timerfd *timerfd, uint64_t now_ns)
{
    if (timerfd->deadline_ns == 0 || timerfd->deadline_ns > now_ns)
        return;
    if (timerfd->interval_ns == 0) {
        timerfd->expirations++;
        timerfd->deadline_ns = 0;
        return;
    }
    uint64_t passed = (now_ns - timerfd->deadline_ns) / timerfd->interval_ns + 1;
    timerfd->expirations += passed;
    timerfd->deadline_ns += passed * timerfd->interval_ns;
}

static void timerfd_expire(struct timer *timer)
{
    struct timerfd *timerfd = container_of(timer, struct timerfd, timer);
    uint64_t flags = spin_lock_irqsave(&timerfd->lock);
    timerfd_advance(timerfd, time_monotonic_ns());
    if (timerfd->deadline_ns != 0)
        timer_arm(&timerfd->timer, timerfd->deadline_ns);
    spin_unlock_irqrestore(&timerfd->lock, flags);
    wait_wake(&timerfd->wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM);
}

// Was the wall clock set since a TFD_TIMER_CANCEL_ON_SET timer was armed? Reports it once. Under
// the lock.
static bool timerfd_take_cancel(struct timerfd *timerfd)
{
    int64_t offset = time_realtime_offset_ns();
    if (!timerfd->cancel_on_set || offset == timerfd->realtime_offset)
        return false;
    timerfd->realtime_offset = offset;
    return true;
}

// Takes the expirations so far: their number, 0 for none yet, -ECANCELED.
static int64_t timerfd_take(struct timerfd *timerfd)
{
    uint64_t flags = spin_lock_irqsave(&timerfd->lock);
    int64_t result;
    if (timerfd_take_cancel(timerfd)) {
        result = -ECANCELED;
    } else {
        timerfd_advance(timerfd, time_monotonic_ns());
        result = (int64_t)timerfd->expirations;
        timerfd->expirations = 0;
    }
    spin_unlock_irqrestore(&timerfd->lock, flags);
    return result;
}

static int64_t timerfd_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct timerfd *timerfd = file->private_data;
    int64_t taken;
    (void)offset;
    if (to->count < sizeof(uint64_t))
        return -EINVAL;
    taken = timerfd_take(timerfd);
    if (taken == 0) {
        if ((file->flags & O_NONBLOCK) != 0)
            return -EAGAIN;
        if (wait_event_interruptible(&timerfd->wait, (taken = timerfd_take(timerfd)) != 0) != 0)
            return -ERESTARTSYS;
    }
    if (taken < 0)
        return taken;
    uint64_t count = (uint64_t)taken;
    return iter_copy_to(to, &count, sizeof(count)) == sizeof(count) ? (int64_t)sizeof(count)
                                                                    : -EFAULT;
}

static uint32_t timerfd_poll(struct file *file, struct poll_table *table)
{
    struct timerfd *timerfd = file->private_data;
    poll_wait(table, file, &timerfd->wait);
    uint64_t flags = spin_lock_irqsave(&timerfd->lock);
    timerfd_advance(timerfd, time_monotonic_ns());
    bool ready = timerfd->expirations != 0 ||
                 (timerfd->cancel_on_set && timerfd->realtime_offset != time_realtime_offset_ns());
    spin_unlock_irqrestore(&timerfd->lock, flags);
    return ready ? EPOLLIN | EPOLLRDNORM : 0;
}

// The wall clock was set.
static void timerfd_clock_changed(void)
{
    int64_t offset = time_realtime_offset_ns();
    struct timerfd *timerfd;
    mutex_lock(&realtime_lock);
    list_for_each_entry (timerfd, &realtime_timers, realtime_node) {
        uint64_t flags = spin_lock_irqsave(&timerfd->lock);
        bool cancelled = timerfd->cancel_on_set;
        if (timerfd->absolute && !cancelled && timerfd->deadline_ns != 0) {
            int64_t deadline = (int64_t)timerfd->deadline_ns + timerfd->realtime_offset - offset;
            timerfd->deadline_ns = (uint64_t)MAX(deadline, INT64_C(1));
            timerfd->realtime_offset = offset;
            timer_arm(&timerfd->timer, timerfd->deadline_ns);
        }
        spin_unlock_irqrestore(&timerfd->lock, flags);
        if (cancelled)
            wait_wake(&timerfd->wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM);
    }
    mutex_unlock(&realtime_lock);
}

static void timerfd_release(struct file *file)
{
    struct timerfd *timerfd = file->private_data;
    if (timerfd_is_realtime(timerfd)) {
        mutex_lock(&realtime_lock);
        list_remove(&timerfd->realtime_node);
        mutex_unlock(&realtime_lock);
    }
    (void)timer_cancel_sync(&timerfd->timer);
    kfree(timerfd);
}

static const struct file_ops timerfd_ops = {
    .read = timerfd_read,
    .poll = timerfd_poll,
    .release = timerfd_release,
};

bool file_is_timerfd(const struct file *file)
{
    return file->ops == &timerfd_ops;
}

struct file *timerfd_create(int clock, uint32_t open_flags)
{
    struct timerfd *timerfd = kzalloc(sizeof(*timerfd));
    if (timerfd == NULL)
        return NULL;
    spin_lock_init(&timerfd->lock);
    timerfd->clock = clock;
    timer_init(&timerfd->timer, timerfd_expire);
    wait_queue_init(&timerfd->wait);
    struct file *file =
        file_create_anonymous("timerfd", &timerfd_ops, timerfd, O_RDWR | open_flags);
    if (file == NULL) {
        kfree(timerfd);
        return NULL;
    }
    if (timerfd_is_realtime(timerfd)) {
        mutex_lock(&realtime_lock);
        if (!realtime_registered)
            time_on_change(timerfd_clock_changed);
        realtime_registered = true;
        list_add_tail(&realtime_timers, &timerfd->realtime_node);
        mutex_unlock(&realtime_lock);
    }
    return file;
}

static void timerfd_read_setting(
    struct timerfd *timerfd, uint64_t now_ns, struct timerfd_setting *setting)
{
    timerfd_advance(timerfd, now_ns);
    setting->value_ns = timerfd->deadline_ns == 0 ? 0 : timerfd->deadline_ns - now_ns;
    setting->interval_ns = timerfd->interval_ns;
}

void timerfd_get(struct file *file, struct timerfd_setting *setting)
{
    struct timerfd *timerfd = file->private_data;
    uint64_t flags = spin_lock_irqsave(&timerfd->lock);
    timerfd_read_setting(timerfd, time_monotonic_ns(), setting);
    spin_unlock_irqrestore(&timerfd->lock, flags);
}

// The monotonic deadline of a first expiration; never 0, which means disarmed.
static uint64_t timerfd_first_deadline(
    const struct timerfd *timerfd, uint64_t now_ns, uint64_t value_ns)
{
    uint64_t deadline_ns = value_ns;
    if (!timerfd->absolute)
        deadline_ns = value_ns > INT64_MAX - now_ns ? INT64_MAX : now_ns + value_ns;
    else if (timerfd_is_realtime(timerfd))
        deadline_ns = (int64_t)value_ns > timerfd->realtime_offset
                          ? value_ns - (uint64_t)timerfd->realtime_offset
                          : 1;
    return MAX(deadline_ns, UINT64_C(1));
}

void timerfd_set(struct file *file, int flags, const struct timerfd_setting *setting,
    struct timerfd_setting *old)
{
    struct timerfd *timerfd = file->private_data;
    // Not under the lock, which the function takes. Two concurrent settings: the last one to arm
    // wins.
    (void)timer_cancel_sync(&timerfd->timer);
    uint64_t irq = spin_lock_irqsave(&timerfd->lock);
    uint64_t now_ns = time_monotonic_ns();
    timerfd_read_setting(timerfd, now_ns, old);
    timerfd->expirations = 0;
    timerfd->interval_ns = setting->interval_ns;
    timerfd->absolute = (flags & TFD_TIMER_ABSTIME) != 0;
    timerfd->realtime_offset = time_realtime_offset_ns();
    timerfd->cancel_on_set =
        timerfd->absolute && timerfd_is_realtime(timerfd) && (flags & TFD_TIMER_CANCEL_ON_SET) != 0;
    timerfd->deadline_ns = 0;
    if (setting->value_ns != 0) {
        timerfd->deadline_ns = timerfd_first_deadline(timerfd, now_ns, setting->value_ns);
        timer_arm(&timerfd->timer, timerfd->deadline_ns);
    }
    spin_unlock_irqrestore(&timerfd->lock, irq);
}
