// SPDX-License-Identifier: MIT
// Terminal settings and the other ioctls (tty_ioctl(4)).
#include "kernel/tty/internal.h"

#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/timespec.h"
#include "kernel/core/user.h"
#include "kernel/fs/poll.h"
#include "kernel/process/credentials.h"
#include "kernel/process/signal.h"
#include "kernel/process/task.h"
#include <asm/ioctls.h>
#include <linux/capability.h>
#include <linux/tty.h>

enum settings_when { SETTINGS_NOW, SETTINGS_DRAIN, SETTINGS_FLUSH };

static const uint32_t speeds[16] = {
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
static const uint32_t fast_speeds[] = {0, 57600, 115200, 230400, 460800, 500000, 576000, 921600,
    1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000};

// Bits per second of the CBAUD bits; the number of BOTHER lies in the structure itself.
static uint32_t speed_of(tcflag_t control, speed_t other)
{
    uint32_t code = control & CBAUD;
    if (code == BOTHER)
        return other;
    if ((code & CBAUDEX) == 0)
        return speeds[code & 15];
    code &= ~(uint32_t)CBAUDEX;
    return code < ARRAY_SIZE(fast_speeds) ? fast_speeds[code] : 38400;
}

static void settings_snapshot(struct tty *tty, struct termios2 *settings)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    *settings = tty->settings;
    spin_unlock_irqrestore(&tty->lock, flags);
}

static size_t output_pending(struct tty *tty)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    size_t pending = tty->driver->output_pending(tty);
    spin_unlock_irqrestore(&tty->lock, flags);
    return pending;
}

// Waits until all output has been sent. 0 or -ERESTARTSYS. A pty's output counts as sent.
static int output_drain(struct tty *tty)
{
    if (tty->is_pty_slave)
        return 0;
    return wait_event_interruptible(&tty->write_wait, output_pending(tty) == 0) != 0 ? -ERESTARTSYS
                                                                                     : 0;
}

static int settings_apply(struct tty *tty, struct termios2 *new, enum settings_when when)
{
    if (when != SETTINGS_NOW) {
        int error = output_drain(tty);
        if (error != 0)
            return error;
    }
    new->c_ospeed = speed_of(new->c_cflag, new->c_ospeed);
    new->c_ispeed = speed_of(new->c_cflag >> IBSHIFT, new->c_ispeed);
    if ((new->c_cflag >> IBSHIFT &CBAUD) == B0)
        new->c_ispeed = new->c_ospeed;
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    struct termios2 old = tty->settings;
    if (when == SETTINGS_FLUSH)
        line_flush_input(tty);
    tty->settings = *new;
    line_settings_changed(tty, &old);
    if (tty->driver->settings_changed != NULL)
        tty->driver->settings_changed(tty);
    spin_unlock_irqrestore(&tty->lock, flags);
    wait_wake(&tty->read_wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM);
    tty_wake_writers(tty);
    return 0;
}

// TCSETS and TCSETA families: struct termios is termios2 without the speeds; struct termio has
// 16-bit flags and 8 characters.
static int settings_from_user(
    struct tty *tty, uintptr_t user, size_t len_bytes, struct termios2 *settings)
{
    settings_snapshot(tty, settings);
    if (len_bytes != sizeof(struct termio))
        return copy_from_user(settings, user, len_bytes);
    struct termio old;
    if (copy_from_user(&old, user, sizeof(old)) != 0)
        return -EFAULT;
    settings->c_iflag = (settings->c_iflag & ~(tcflag_t)0xffff) | old.c_iflag;
    settings->c_oflag = (settings->c_oflag & ~(tcflag_t)0xffff) | old.c_oflag;
    settings->c_cflag = (settings->c_cflag & ~(tcflag_t)0xffff) | old.c_cflag;
    settings->c_lflag = (settings->c_lflag & ~(tcflag_t)0xffff) | old.c_lflag;
    settings->c_line = old.c_line;
    memcpy(settings->c_cc, old.c_cc, NCC);
    return 0;
}

static int settings_to_user(struct tty *tty, uintptr_t user, size_t len_bytes)
{
    struct termios2 settings;
    settings_snapshot(tty, &settings);
    if (len_bytes != sizeof(struct termio))
        return copy_to_user(user, &settings, len_bytes);
    struct termio old = {.c_iflag = (uint16_t)settings.c_iflag,
        .c_oflag = (uint16_t)settings.c_oflag,
        .c_cflag = (uint16_t)settings.c_cflag,
        .c_lflag = (uint16_t)settings.c_lflag,
        .c_line = settings.c_line};
    memcpy(old.c_cc, settings.c_cc, NCC);
    return copy_to_user(user, &old, sizeof(old));
}

static int64_t settings_set(
    struct tty *tty, uintptr_t user, size_t len_bytes, enum settings_when when)
{
    struct termios2 settings;
    int error = job_check(tty, SIGTTOU);
    if (error == 0)
        error = settings_from_user(tty, user, len_bytes, &settings);
    return error != 0 ? error : settings_apply(tty, &settings, when);
}

static int64_t flush_queues(struct tty *tty, uintptr_t which)
{
    if (which != TCIFLUSH && which != TCOFLUSH && which != TCIOFLUSH)
        return -EINVAL;
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    if (which != TCOFLUSH)
        line_flush_input(tty);
    if (which != TCIFLUSH)
        tty->driver->discard_output(tty);
    spin_unlock_irqrestore(&tty->lock, flags);
    tty_wake_writers(tty);
    if (tty->driver->wake_peer != NULL)
        tty->driver->wake_peer(tty); // room, and a master in packet mode is told
    return 0;
}

static int64_t flow_control(struct tty *tty, uintptr_t action)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    uint8_t byte = 0;
    int64_t result = 0;
    switch (action) {
    case TCOOFF:
        line_set_stopped(tty, true);
        break;
    case TCOON:
        line_set_stopped(tty, false);
        break;
    case TCIOFF:
        byte = tty->settings.c_cc[VSTOP];
        break;
    case TCION:
        byte = tty->settings.c_cc[VSTART];
        break;
    default:
        result = -EINVAL;
    }
    if (byte != TTY_CHAR_DISABLED)
        (void)tty->driver->write(tty, &byte, 1);
    spin_unlock_irqrestore(&tty->lock, flags);
    tty_wake_writers(tty);
    if (tty->driver->wake_peer != NULL)
        tty->driver->wake_peer(tty);
    return result;
}

void tty_resize(struct tty *tty, const struct winsize *window)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    bool changed = memcmp(&tty->window, window, sizeof(*window)) != 0;
    tty->window = *window;
    spin_unlock_irqrestore(&tty->lock, flags);
    if (changed)
        job_signal_foreground(tty, SIGWINCH);
}

static int64_t window_set(struct tty *tty, uintptr_t user)
{
    struct winsize window;
    if (copy_from_user(&window, user, sizeof(window)) != 0)
        return -EFAULT;
    tty_resize(tty, &window);
    return 0;
}

static int64_t window_get(struct tty *tty, uintptr_t user)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    struct winsize window = tty->window;
    spin_unlock_irqrestore(&tty->lock, flags);
    return copy_to_user(user, &window, sizeof(window));
}

static int64_t queue_counts(struct tty *tty, uint32_t command, uintptr_t user)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    size_t count = command == TIOCOUTQ ? tty->driver->output_pending(tty) : line_input_count(tty);
    spin_unlock_irqrestore(&tty->lock, flags);
    return user_put_u32(user, (uint32_t)count);
}

static int64_t simulate_input(struct tty *tty, uintptr_t user)
{
    uint8_t byte;
    if (!job_is_controlling(tty) && !capable(CAP_SYS_ADMIN))
        return -EPERM;
    if (copy_from_user(&byte, user, 1) != 0)
        return -EFAULT;
    (void)tty_receive(tty, &byte, 1);
    return 0;
}

int64_t tty_ioctl_settings(struct tty *tty, uint32_t command, uintptr_t argument)
{
    const size_t old_size = sizeof(struct termio);
    const size_t size = sizeof(struct termios);
    const size_t new_size = sizeof(struct termios2);
    switch (command) {
    case TCGETA:
        return settings_to_user(tty, argument, old_size);
    case TCGETS:
        return settings_to_user(tty, argument, size);
    case TCGETS2:
        return settings_to_user(tty, argument, new_size);
    case TCSETA:
        return settings_set(tty, argument, old_size, SETTINGS_NOW);
    case TCSETAW:
        return settings_set(tty, argument, old_size, SETTINGS_DRAIN);
    case TCSETAF:
        return settings_set(tty, argument, old_size, SETTINGS_FLUSH);
    case TCSETS:
        return settings_set(tty, argument, size, SETTINGS_NOW);
    case TCSETSW:
        return settings_set(tty, argument, size, SETTINGS_DRAIN);
    case TCSETSF:
        return settings_set(tty, argument, size, SETTINGS_FLUSH);
    case TCSETS2:
        return settings_set(tty, argument, new_size, SETTINGS_NOW);
    case TCSETSW2:
        return settings_set(tty, argument, new_size, SETTINGS_DRAIN);
    case TCSETSF2:
        return settings_set(tty, argument, new_size, SETTINGS_FLUSH);
    case TIOCGWINSZ:
        return window_get(tty, argument);
    case TIOCSWINSZ:
        return window_set(tty, argument);
    default:
        return -ENOIOCTLCMD;
    }
}

// TIOCEXCL and TIOCNXCL.
static int64_t set_exclusive(struct tty *tty, bool exclusive)
{
    uint64_t flags = spin_lock_irqsave(&tty->lock);
    tty->exclusive = exclusive;
    spin_unlock_irqrestore(&tty->lock, flags);
    return 0;
}

// Commands that change how a background process disturbs the foreground: refused there.
static int64_t tty_ioctl_line(struct tty *tty, uint32_t command, uintptr_t argument)
{
    int error = job_check(tty, SIGTTOU);
    if (error != 0)
        return error;
    switch (command) {
    case TCFLSH:
        return flush_queues(tty, argument);
    case TCXONC:
        return flow_control(tty, argument);
    default: // TCSBRK, TCSBRKP: there is no line to send a break on; what is meant is the draining
        return output_drain(tty);
    }
}

int64_t tty_ioctl(struct file *file, uint32_t command, uintptr_t argument)
{
    struct tty *tty = ((struct tty_file *)file->private_data)->tty;
    if (tty_file_is_dead(file))
        return -EIO;
    int64_t result = tty_ioctl_settings(tty, command, argument);
    if (result == -ENOIOCTLCMD)
        result = job_ioctl(tty, file, command, argument);
    if (result != -ENOIOCTLCMD)
        return result;
    switch (command) {
    case TCFLSH:
    case TCXONC:
    case TCSBRK:
    case TCSBRKP:
        return tty_ioctl_line(tty, command, argument);
    case TIOCOUTQ:
    case FIONREAD:
        return queue_counts(tty, command, argument);
    case TIOCSTI:
        return simulate_input(tty, argument);
    case TIOCEXCL:
    case TIOCNXCL:
        return set_exclusive(tty, command == TIOCEXCL);
    case TIOCGEXCL:
        return user_put_u32(argument, tty->exclusive);
    case TIOCGETD:
        return user_put_u32(argument, N_TTY);
    case TIOCSETD: {
        uint32_t discipline;
        if (user_get_u32(&discipline, argument) != 0)
            return -EFAULT;
        return discipline == N_TTY ? 0 : -EINVAL;
    }
    case TIOCGDEV:
        return user_put_u32(
            argument, tty->major << 8 | (tty->minor & 0xff) | (tty->minor & ~0xffu) << 12);
    case TIOCVHANGUP:
        if (!capable(CAP_SYS_ADMIN))
            return -EPERM;
        tty_hangup(tty);
        return 0;
    default:
        return -ENOTTY;
    }
}
