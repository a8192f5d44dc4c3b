// SPDX-License-Identifier: MIT
// poll, ppoll, select and pselect6.
#include "kernel/core/timespec.h"
#include "kernel/fs/file.h"
#include "kernel/ipc/poll_waiter.h"
#include "kernel/process/signal.h"
#include "kernel/process/task.h"
#include "kernel/syscall/syscall.h"
#include "mm/slab.h"
#include <asm/poll.h>
#include <linux/posix_types.h>

#define POLL_STACK_FDS 24

// State of one descriptor, POLLNVAL for one that is not open. `table` NULL: only look.
static uint32_t poll_descriptor(int fd, uint32_t wanted, struct poll_table *table)
{
    bool borrowed;
    struct file *file = file_fd_get(fd, &borrowed);
    if (file == NULL)
        return POLLNVAL;
    if (table != NULL)
        table->wanted = wanted;
    uint32_t events = file_poll(file, table);
    file_fd_put(file, borrowed);
    return events & (wanted | POLLERR | POLLHUP);
}

// One round over the descriptors of a call: how many are ready, or -errno. `table` NULL: only look.
typedef int poll_scan_function(const void *call, struct poll_table *table);

// Repeats the round until something is ready: its result, 0 at the deadline (0: don't wait),
// -EINTR, -ENOMEM.
static int poll_until_ready(poll_scan_function *scan, const void *call, uint64_t deadline_ns)
{
    struct poll_waiter waiter;
    poll_waiter_init(&waiter);
    struct poll_table *table = deadline_ns != 0 ? &waiter.table : NULL;
    bool last = deadline_ns == 0;
    int result;
    for (;;) {
        result = scan(call, table);
        table = NULL; // everything is queued now
        if (result == 0)
            result = waiter.error;
        if (result != 0 || last)
            break;
        int error = poll_waiter_sleep(&waiter, deadline_ns);
        if (error == -EINTR) {
            result = scan(call, NULL);
            if (result == 0)
                result = -EINTR;
            break;
        }
        last = error == -ETIMEDOUT;
    }
    poll_waiter_release(&waiter);
    return result;
}

struct poll_call {
    struct pollfd *fds;
    uint32_t count;
};

static int poll_scan(const void *argument, struct poll_table *table)
{
    const struct poll_call *call = argument;
    int ready = 0;
    for (uint32_t i = 0; i < call->count; i++) {
        struct pollfd *entry = &call->fds[i];
        uint32_t events = 0;
        if (entry->fd >= 0)
            events = poll_descriptor(entry->fd, (uint16_t)entry->events, table);
        entry->revents = (short)events;
        if (events != 0) {
            ready++;
            table = NULL; // the call won't sleep any more
        }
    }
    return ready;
}

// poll with everything checked but the user's array. Ready count or -errno; -EINTR when a signal
// came first.
static int64_t poll_user(uintptr_t user, uint32_t count, uint64_t deadline_ns)
{
    struct pollfd stack_fds[POLL_STACK_FDS];
    struct pollfd *fds = stack_fds;
    if (count > process_limit(RLIMIT_NOFILE))
        return -EINVAL;
    if (count > POLL_STACK_FDS) {
        fds = kmalloc(count * sizeof(*fds), 0);
        if (fds == NULL)
            return -ENOMEM;
    }
    int64_t result = copy_from_user(fds, user, count * sizeof(*fds));
    if (result == 0)
        result = poll_until_ready(
            poll_scan, &(struct poll_call){.fds = fds, .count = count}, deadline_ns);
    for (uint32_t i = 0; i < count && result >= 0; i++) {
        uintptr_t field = user + i * sizeof(*fds) + offsetof(struct pollfd, revents);
        if (copy_to_user(field, &fds[i].revents, sizeof(fds[i].revents)) != 0)
            result = -EFAULT;
    }
    if (fds != stack_fds)
        kfree(fds);
    return result;
}

static int64_t poll_restart(struct task_restart *restart)
{
    int64_t result = poll_user(restart->poll.fds, restart->poll.count, restart->poll.deadline_ns);
    return result == -EINTR ? -ERESTART_RESTARTBLOCK : result;
}

SYSCALL3(poll, uintptr_t, fds, uint32_t, count, int, timeout_ms)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (timeout_ms >= 0)
        deadline_ns = timeout_ms == 0 ? 0 : deadline_after((uint64_t)timeout_ms * NS_PER_MS);
    int64_t result = poll_user(fds, count, deadline_ns);
    if (result != -EINTR)
        return result;
    struct task_restart *restart = &task_current()->restart;
    restart->function = poll_restart;
    restart->poll.fds = fds;
    restart->poll.count = count;
    restart->poll.deadline_ns = deadline_ns;
    return -ERESTART_RESTARTBLOCK;
}

// The deadline of an optional relative struct timespec: UINT64_MAX without one, 0 for "don't wait".
static int deadline_from_user(uintptr_t user, uint64_t *deadline_ns)
{
    uint64_t duration_ns;
    *deadline_ns = UINT64_MAX;
    if (user == 0)
        return 0;
    int error = timespec_from_user(&duration_ns, user);
    if (error == 0)
        *deadline_ns = duration_ns == 0 ? 0 : deadline_after(duration_ns);
    return error;
}

// What is left until the deadline; as Linux, ppoll and pselect6 write it back, and ignore where
// they can't.
static uint64_t time_left_ns(uint64_t deadline_ns)
{
    uint64_t now = deadline_ns == 0 ? 0 : time_monotonic_ns();
    return deadline_ns > now ? deadline_ns - now : 0;
}

SYSCALL5(
    ppoll, uintptr_t, fds, uint32_t, count, uintptr_t, timeout, uintptr_t, mask, size_t, mask_size)
{
    uint64_t deadline_ns;
    uint64_t new_mask;
    int error = deadline_from_user(timeout, &deadline_ns);
    if (error == 0 && mask != 0)
        error = signal_mask_from_user(&new_mask, mask, mask_size);
    if (error != 0)
        return error;
    if (mask != 0)
        signal_mask_push(new_mask);
    int64_t result = poll_user(fds, count, deadline_ns);
    if (mask != 0)
        signal_mask_pop(result == -EINTR);
    if (timeout != 0)
        (void)timespec_to_user(timeout, time_left_ns(deadline_ns));
    return result == -EINTR ? -ERESTARTNOHAND : result;
}

// ---- select ----

#define SELECT_READ   (EPOLLIN | EPOLLRDNORM | EPOLLRDBAND | EPOLLHUP | EPOLLERR)
#define SELECT_WRITE  (EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND | EPOLLERR)
#define SELECT_EXCEPT EPOLLPRI

#define SELECT_STACK_WORDS 4 // of 64 descriptors, for each of the six sets

// Three sets asked for and three answered, each of `words` 64-bit words, one behind the other.
struct select_sets {
    uint64_t *bits;
    uint32_t words;
    int count; // of descriptors
};

static uint64_t *select_set(const struct select_sets *sets, int which)
{
    return sets->bits + (size_t)which * sets->words;
}

// Ready bits, counted over all three sets, or -EBADF.
static int select_scan(const void *argument, struct poll_table *table)
{
    const struct select_sets *sets = argument;
    static const uint32_t masks[3] = {SELECT_READ, SELECT_WRITE, SELECT_EXCEPT};
    int ready = 0;
    for (int fd = 0; fd < sets->count; fd++) {
        uint64_t bit = UINT64_C(1) << (fd % 64);
        uint32_t wanted = 0;
        for (int which = 0; which < 3; which++) {
            if ((select_set(sets, which)[fd / 64] & bit) != 0)
                wanted |= masks[which];
        }
        if (wanted == 0)
            continue;
        uint32_t events = poll_descriptor(fd, wanted, table);
        if ((events & POLLNVAL) != 0)
            return -EBADF;
        for (int which = 0; which < 3; which++) {
            if ((select_set(sets, which)[fd / 64] & bit) != 0 && (events & masks[which]) != 0) {
                select_set(sets, 3 + which)[fd / 64] |= bit;
                ready++;
                table = NULL;
            }
        }
    }
    return ready;
}

static int select_copy_in(const struct select_sets *sets, const uintptr_t users[3], int count)
{
    size_t bytes = (size_t)(count + 7) / 8;
    for (int which = 0; which < 3; which++) {
        if (users[which] != 0 && copy_from_user(select_set(sets, which), users[which], bytes) != 0)
            return -EFAULT;
    }
    return 0;
}

static int select_copy_out(const struct select_sets *sets, const uintptr_t users[3], int count)
{
    size_t bytes = (size_t)(count + 63) / 64 * 8; // Linux writes whole words
    for (int which = 0; which < 3; which++) {
        if (users[which] != 0 &&
            copy_to_user(users[which], select_set(sets, 3 + which), bytes) != 0)
            return -EFAULT;
    }
    return 0;
}

static int64_t select_user(int count, const uintptr_t users[3], uint64_t deadline_ns)
{
    uint64_t stack_bits[6 * SELECT_STACK_WORDS] = {};
    struct select_sets sets = {.bits = stack_bits};
    if (count < 0)
        return -EINVAL;
    count = (int)MIN((uint64_t)count, MIN(process_limit(RLIMIT_NOFILE), UINT64_C(1) << 20));
    sets.count = count;
    sets.words = (uint32_t)(count + 63) / 64;
    if (sets.words > SELECT_STACK_WORDS) {
        sets.bits = kzalloc((size_t)6 * sets.words * 8);
        if (sets.bits == NULL)
            return -ENOMEM;
    }
    int64_t result = select_copy_in(&sets, users, count);
    if (result == 0)
        result = poll_until_ready(select_scan, &sets, deadline_ns);
    if (result >= 0 && select_copy_out(&sets, users, count) != 0)
        result = -EFAULT;
    if (sets.bits != stack_bits)
        kfree(sets.bits);
    return result;
}

SYSCALL5(
    select, int, count, uintptr_t, read, uintptr_t, write, uintptr_t, except, uintptr_t, timeout)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (timeout != 0) {
        struct __kernel_old_timeval time;
        if (copy_from_user(&time, timeout, sizeof(time)) != 0)
            return -EFAULT;
        if (time.tv_sec < 0 || time.tv_usec < 0)
            return -EINVAL;
        // Linux takes any number of microseconds here.
        uint64_t seconds = (uint64_t)time.tv_sec + (uint64_t)time.tv_usec / 1000000;
        uint64_t rest_ns = (uint64_t)time.tv_usec % 1000000 * NS_PER_US;
        uint64_t duration_ns =
            seconds >= INT64_MAX / NS_PER_SECOND ? INT64_MAX : seconds * NS_PER_SECOND + rest_ns;
        deadline_ns = duration_ns == 0 ? 0 : deadline_after(duration_ns);
    }
    int64_t result = select_user(count, (uintptr_t[3]){read, write, except}, deadline_ns);
    if (timeout != 0)
        (void)timeval_to_user(timeout, time_left_ns(deadline_ns));
    return result == -EINTR ? -ERESTARTNOHAND : result;
}

SYSCALL6(pselect6, int, count, uintptr_t, read, uintptr_t, write, uintptr_t, except, uintptr_t,
    timeout, uintptr_t, sigmask)
{
    uint64_t deadline_ns;
    uint64_t new_mask;
    struct {
        uintptr_t mask;
        size_t size;
    } argument = {};
    if (sigmask != 0 && copy_from_user(&argument, sigmask, sizeof(argument)) != 0)
        return -EFAULT;
    int error = deadline_from_user(timeout, &deadline_ns);
    if (error == 0 && argument.mask != 0)
        error = signal_mask_from_user(&new_mask, argument.mask, argument.size);
    if (error != 0)
        return error;
    if (argument.mask != 0)
        signal_mask_push(new_mask);
    int64_t result = select_user(count, (uintptr_t[3]){read, write, except}, deadline_ns);
    if (argument.mask != 0)
        signal_mask_pop(result == -EINTR);
    if (timeout != 0)
        (void)timespec_to_user(timeout, time_left_ns(deadline_ns));
    return result == -EINTR ? -ERESTARTNOHAND : result;
}
