// SPDX-License-Identifier: MIT
// Terminal files: open, read, write, poll, hang-up; /dev/tty and /dev/console.
//
// Input may arrive in interrupt context (serial) or from another task (a pty's master). A full
// input ring makes the driver stop (lost_room); the reader that makes room tells it to go on.
// Sleepers follow the protocol of thread.h: data first, then the wake-up.
#include "kernel/tty/internal.h"

#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/timespec.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/register.h"
#include "kernel/process/credentials.h"
#include "kernel/process/signal.h"
#include "kernel/tty/tty.h"
#include "mm/slab.h"
#include <linux/capability.h>

#define TTY_CHUNK_BYTES 256
#define TENTH_SECOND_NS UINT64_C(100000000)

static struct tty *console; // behind /dev/console; NULL: none. Set once at start-up

void tty_setup(struct tty *tty, const char *name, uint32_t major, uint32_t minor,
    const struct tty_driver *driver)
{
    memset(tty, 0, sizeof(*tty));
    tty->refcount = 1;
    (void)strlcpy(tty->name, name, sizeof(tty->name));
    tty->major = major;
    tty->minor = minor;
    tty->driver = driver;
    mutex_init(&tty->write_mutex);
    mutex_init(&tty->read_mutex);
    spin_lock_init(&tty->lock);
    spin_lock_init(&tty->job_lock);
    wait_queue_init(&tty->read_wait);
    wait_queue_init(&tty->write_wait);
    line_init(tty);
}

void tty_put(struct tty *tty)
{
    if (__atomic_sub_fetch(&tty->refcount, 1, __ATOMIC_ACQ_REL) == 0)
        tty->driver->release(tty);
}

static struct tty *tty_of_file(const struct file *file)
{
    return ((struct tty_file *)file->private_data)->tty;
}

bool tty_file_is_dead(const struct file *file)
{
    const struct tty_file *tty_file = file->private_data;
    return atomic_load_relaxed(&tty_file->tty->generation) != tty_file->generation;
}

int tty_open(struct tty *tty, struct file *file)
{
    if (tty->exclusive && !capable(CAP_SYS_ADMIN))
        return -EBUSY;
    struct tty_file *tty_file = kmalloc(sizeof(*tty_file), 0);
    if (tty_file == NULL)
        return -ENOMEM;
    tty_get(tty);
    tty_file->tty = tty;
    tty_file->generation = atomic_load_relaxed(&tty->generation);
    __atomic_fetch_add(&tty->open_count, 1, __ATOMIC_RELAXED);
    file->private_data = tty_file;
    file->ops = &tty_file_ops;
    if ((file->flags & O_NOCTTY) == 0)
        job_maybe_acquire(tty, file);
    return 0;
}

static void tty_release(struct file *file)
{
    struct tty_file *tty_file = file->private_data;
    struct tty *tty = tty_file->tty;
    if (__atomic_sub_fetch(&tty->open_count, 1, __ATOMIC_ACQ_REL) == 0) {
        uint64_t flags = spin_lock_irqsave(&tty->lock);
        tty->exclusive = false;
        spin_unlock_irqrestore(&tty->lock, flags);
        if (tty->driver->wake_peer != NULL)
            tty->driver->wake_peer(tty); // a pty's master sees the hang-up
    }
    kfree(tty_file);
    tty_put(tty);
}

void tty_hangup(struct tty *tty)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    atomic_store_relaxed(&tty->generation, tty->generation + 1);
    line_flush_input(tty);
    tty->stopped = false;
    spin_unlock_irqrestore(&tty->lock, flags);
    job_hangup(tty);
    wait_wake(&tty->read_wait, UINT32_MAX, EPOLLIN | EPOLLHUP | EPOLLERR);
    wait_wake(&tty->write_wait, UINT32_MAX, EPOLLOUT | EPOLLHUP | EPOLLERR);
    if (tty->driver->wake_peer != NULL)
        tty->driver->wake_peer(tty);
}

// ---- input from drivers ----

static void tty_send_signals(struct tty *tty, uint64_t signals)
{
    for (int signal = 1; signals != 0; signal++, signals >>= 1) {
        if ((signals & 1) != 0)
            job_signal_foreground(tty, signal);
    }
}

size_t tty_receive(struct tty *tty, const uint8_t *bytes, size_t len_bytes)
{
    uint64_t signals = 0;
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    bool was_stopped = tty->stopped;
    size_t taken = line_receive(tty, bytes, len_bytes, &signals);
    bool ready = line_input_ready(tty);
    bool restarted = was_stopped && !tty->stopped;
    spin_unlock_irqrestore(&tty->lock, flags);
    if (signals != 0) {
        tty_send_signals(tty, signals);
        restarted = true; // output may have been discarded
    }
    if (ready)
        wait_wake(&tty->read_wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM);
    if (restarted)
        tty_wake_writers(tty);
    if (tty->driver->wake_peer != NULL)
        tty->driver->wake_peer(tty); // echo
    return taken;
}

void tty_wake_writers(struct tty *tty)
{
    wait_wake(&tty->write_wait, UINT32_MAX, EPOLLOUT | EPOLLWRNORM);
}

// ---- read ----

// What a reader waits for: VMIN and VTIME of termios(3); canonical mode is "one line".
struct read_rule {
    bool canonical;
    size_t minimum;
    uint64_t first_timeout_ns; // for the first byte; 0: none
    uint64_t byte_timeout_ns;  // between bytes; 0: none
    bool poll;                 // VMIN 0, VTIME 0: what is there
};

static struct read_rule read_rule_of(struct tty *tty, size_t wanted)
{
    struct read_rule rule = {};
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    rule.canonical = (tty->settings.c_lflag & ICANON) != 0;
    size_t minimum = tty->settings.c_cc[VMIN];
    uint64_t timeout_ns = tty->settings.c_cc[VTIME] * TENTH_SECOND_NS;
    spin_unlock_irqrestore(&tty->lock, flags);
    if (rule.canonical) {
        rule.minimum = 1;
    } else if (minimum != 0) {
        rule.minimum = MIN(minimum, wanted);
        rule.byte_timeout_ns = timeout_ns;
    } else {
        rule.minimum = 1;
        rule.first_timeout_ns = timeout_ns;
        rule.poll = timeout_ns == 0;
    }
    return rule;
}

static bool tty_may_read(struct tty *tty, const struct file *file)
{
    return line_input_ready(tty) || tty_file_is_dead(file);
}

// Takes one chunk. Bytes; *end_of_line as line_take. Tells the driver of new room.
static size_t read_chunk(struct tty *tty, uint8_t *buffer, size_t size, bool *end_of_line)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    size_t count = line_take(tty, buffer, size, end_of_line);
    bool resume = tty->lost_room && line_input_has_room(tty);
    if (resume) {
        tty->lost_room = false;
        tty->driver->input_resume(tty);
    }
    spin_unlock_irqrestore(&tty->lock, flags);
    if (resume && tty->driver->wake_peer != NULL)
        tty->driver->wake_peer(tty);
    return count;
}

// Waits for input. 0: there may be some; 1: the time is over; -errno.
static int read_wait(
    struct tty *tty, const struct file *file, const struct read_rule *rule, bool first)
{
    uint64_t timeout_ns = first ? rule->first_timeout_ns : rule->byte_timeout_ns;
    uint64_t deadline_ns = timeout_ns == 0 ? UINT64_MAX : deadline_after(timeout_ns);
    int error =
        wait_event_interruptible_until(&tty->read_wait, tty_may_read(tty, file), deadline_ns);
    if (error == -ETIMEDOUT)
        return 1;
    return error == 0 ? 0 : -ERESTARTSYS;
}

// The body of a read, under read_mutex: bytes copied, or -errno if none.
static int64_t read_locked(struct tty *tty, struct file *file, struct io_iter *to)
{
    uint8_t chunk[TTY_CHUNK_BYTES];
    struct read_rule rule = read_rule_of(tty, to->count);
    int64_t done = 0;
    for (;;) {
        if (tty_file_is_dead(file))
            return done;
        bool end_of_line = false;
        bool ready = line_input_ready(tty);
        size_t count =
            ready ? read_chunk(tty, chunk, MIN(to->count, sizeof(chunk)), &end_of_line) : 0;
        size_t copied = iter_copy_to(to, chunk, count);
        done += (int64_t)copied;
        if (copied < count)
            return done != 0 ? done : -EFAULT;
        if (end_of_line || to->count == 0)
            return done;
        if (count != 0 && (rule.canonical || line_input_ready(tty)))
            continue;
        if ((size_t)done >= rule.minimum || rule.poll)
            return done;
        if (rule.canonical && done != 0)
            return done;
        if ((file->flags & O_NONBLOCK) != 0)
            return done != 0 ? done : -EAGAIN;
        int result = read_wait(tty, file, &rule, done == 0);
        if (result == 1)
            return done;
        if (result < 0)
            return done != 0 ? done : result;
        int error = job_check(tty, SIGTTIN);
        if (error != 0)
            return done != 0 ? done : error;
    }
}

static int64_t tty_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    struct tty *tty = tty_of_file(file);
    (void)offset;
    if (tty_file_is_dead(file) || to->count == 0)
        return 0;
    int64_t result = job_check(tty, SIGTTIN);
    if (result != 0)
        return result;
    if ((file->flags & O_NONBLOCK) != 0) {
        if (!mutex_trylock(&tty->read_mutex))
            return -EAGAIN;
    } else {
        // A reader that waits holds the mutex for long: the next one waits for it as it would for
        // input.
        if (!mutex_trylock(&tty->read_mutex)) {
            bool locked = false;
            if (wait_event_interruptible(
                    &tty->read_wait, (locked = mutex_trylock(&tty->read_mutex))) != 0)
                return -ERESTARTSYS;
            debug_assert(locked);
        }
    }
    result = read_locked(tty, file, to);
    mutex_unlock(&tty->read_mutex);
    wait_wake_all(&tty->read_wait); // who waits for the mutex, or for what is left
    return result;
}

// ---- write ----

static bool tty_may_write(struct tty *tty, const struct file *file)
{
    if (tty_file_is_dead(file))
        return true;
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    bool room = !tty->stopped &&
                tty->driver->write_room(tty) >= 8; // the widest thing one byte becomes: a tab
    spin_unlock_irqrestore(&tty->lock, flags);
    return room;
}

// Writes one chunk, waiting for room. Bytes written, or -errno.
static int64_t write_chunk(
    struct tty *tty, struct file *file, const uint8_t *chunk, size_t len_bytes)
{
    size_t done = 0;
    for (;;) {
        if (tty_file_is_dead(file))
            return done != 0 ? (int64_t)done : -EIO;
        uint64_t flags = spin_lock_irqsave(&tty->lock);
        done += line_write(tty, chunk + done, len_bytes - done);
        spin_unlock_irqrestore(&tty->lock, flags);
        if (tty->driver->wake_peer != NULL)
            tty->driver->wake_peer(tty);
        if (done == len_bytes)
            return (int64_t)done;
        if ((file->flags & O_NONBLOCK) != 0)
            return done != 0 ? (int64_t)done : -EAGAIN;
        if (wait_event_interruptible(&tty->write_wait, tty_may_write(tty, file)) != 0)
            return done != 0 ? (int64_t)done : -ERESTARTSYS;
    }
}

static int64_t tty_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    struct tty *tty = tty_of_file(file);
    uint8_t chunk[TTY_CHUNK_BYTES];
    int64_t done = 0;
    (void)offset;
    if (tty_file_is_dead(file))
        return -EIO;
    if ((tty->settings.c_lflag & TOSTOP) != 0) {
        int error = job_check(tty, SIGTTOU);
        if (error != 0)
            return error;
    }
    mutex_lock(&tty->write_mutex);
    while (from->count != 0) {
        size_t count = iter_copy_from(from, chunk, MIN(from->count, sizeof(chunk)));
        if (count == 0) {
            done = done != 0 ? done : -EFAULT;
            break;
        }
        int64_t written = write_chunk(tty, file, chunk, count);
        if (written <= 0) {
            done = done != 0 ? done : written;
            break;
        }
        done += written;
        if ((size_t)written < count)
            break;
    }
    mutex_unlock(&tty->write_mutex);
    return done;
}

static uint32_t tty_poll(struct file *file, struct poll_table *table)
{
    struct tty *tty = tty_of_file(file);
    uint32_t events = 0;
    poll_wait(table, file, &tty->read_wait);
    poll_wait(table, file, &tty->write_wait);
    if (tty_file_is_dead(file))
        return EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLHUP | EPOLLERR;
    if (line_input_ready(tty))
        events |= EPOLLIN | EPOLLRDNORM;
    if (tty_may_write(tty, file))
        events |= EPOLLOUT | EPOLLWRNORM;
    return events;
}

const struct file_ops tty_file_ops = {
    .read = tty_read,
    .write = tty_write,
    .poll = tty_poll,
    .ioctl = tty_ioctl,
    .release = tty_release,
};

// ---- /dev/tty and /dev/console ----

static int current_tty_open(struct file *file)
{
    struct tty *tty = job_current_get();
    if (tty == NULL)
        return -ENXIO;
    file->flags |= O_NOCTTY;
    int error = tty_open(tty, file);
    tty_put(tty);
    return error;
}

static int console_open(struct file *file)
{
    if (console == NULL)
        return -ENODEV;
    file->flags |= O_NOCTTY; // the console never becomes a controlling terminal by being opened
    return tty_open(console, file);
}

const char *tty_console_name(void)
{
    return console != NULL ? console->name : "none";
}

int tty_init(void)
{
    static const struct character_device current_tty = {.name = "tty",
        .major = 5,
        .minor = 0,
        .mode = 0666,
        .ops = &tty_file_ops,
        .open = current_tty_open};
    static const struct character_device console_device = {.name = "console",
        .major = 5,
        .minor = 1,
        .mode = 0600,
        .ops = &tty_file_ops,
        .open = console_open};
    bool streams = false;
    job_init();
    int error = stream_init(&streams);
    if (error == 0 && !streams)
        error = serial_init(&console);
    if (console == NULL && !streams)
        console = port_console();
    if (console == NULL && !streams)
        log_warning("tty: there is no console");
    if (error == 0)
        error = pty_init();
    if (error == 0)
        error = device_register(&current_tty);
    if (error == 0 && console != NULL)
        error = device_register(&console_device);
    return error;
}
