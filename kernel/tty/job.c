// SPDX-License-Identifier: MIT
// Job control (credentials(7), tty_ioctl(4)): controlling terminals, sessions, foreground groups.
//
// A terminal knows its session and foreground group (job_lock); a process knows its terminal
// (task_list_lock). Each side is changed on its own, the process's first; neither lock is held
// while the other is taken. A terminal whose session has ended is nobody's.
#include "kernel/tty/internal.h"

#include "kernel/core/errno.h"
#include "kernel/core/user.h"
#include "kernel/process/credentials.h"
#include "kernel/process/signal.h"
#include "kernel/process/task.h"
#include <asm/ioctls.h>
#include <linux/capability.h>

static void tty_ids(struct tty *tty, int32_t *session, int32_t *group)
{
    uint64_t flags = spin_lock_irqsave(&tty->job_lock);
    *session = tty->session;
    *group = tty->group;
    spin_unlock_irqrestore(&tty->job_lock, flags);
}

bool job_is_controlling(const struct tty *tty)
{
    return atomic_load_relaxed(&process_current()->tty) == tty;
}

struct tty *job_current_get(void)
{
    struct process *process = process_current();
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    struct tty *tty = process->tty;
    if (tty != NULL)
        tty_get(tty);
    spin_unlock_irqrestore(&task_list_lock, flags);
    return tty;
}

int job_check(struct tty *tty, int signal)
{
    struct process *process = process_current();
    int32_t session, group;
    if (!job_is_controlling(tty))
        return 0;
    tty_ids(tty, &session, &group);
    int32_t own_group = process->group;
    if (group == own_group || group == 0)
        return 0;
    if (signal_is_ignored_or_blocked(signal))
        return signal == SIGTTIN ? -EIO : 0;
    if (process_group_is_orphaned(own_group))
        return -EIO;
    (void)signal_send_group(own_group, signal, NULL);
    thread_work_set(thread_current(), THREAD_WORK_SIGNAL);
    return -ERESTARTSYS;
}

void job_signal_foreground(struct tty *tty, int signal)
{
    int32_t session, group;
    tty_ids(tty, &session, &group);
    if (group != 0)
        (void)signal_send_group(group, signal, NULL);
}

// Makes the terminal the running session leader's. The caller has checked that it may.
static void job_acquire(struct tty *tty)
{
    struct process *process = process_current();
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    int32_t session = process->session;
    int32_t group = process->group;
    process->tty = tty;
    spin_unlock_irqrestore(&task_list_lock, flags);
    flags = spin_lock_irqsave(&tty->job_lock);
    tty->session = session;
    tty->group = group;
    spin_unlock_irqrestore(&tty->job_lock, flags);
}

void job_maybe_acquire(struct tty *tty, const struct file *file)
{
    struct process *process = process_current();
    int32_t session, group;
    tty_ids(tty, &session, &group);
    if (process->session_leader && process->tty == NULL && session == 0 &&
        (file->mode & FILE_READ) != 0)
        job_acquire(tty);
}

// Gives the terminal back: nobody's session any more. Returns its former ids.
static void job_detach(struct tty *tty, int32_t *session, int32_t *group)
{
    uint64_t flags = spin_lock_irqsave(&tty->job_lock);
    *session = tty->session;
    *group = tty->group;
    tty->session = 0;
    tty->group = 0;
    spin_unlock_irqrestore(&tty->job_lock, flags);
    if (*session != 0)
        process_session_clear_tty(*session, tty);
}

void job_hangup(struct tty *tty)
{
    int32_t session, group;
    job_detach(tty, &session, &group);
    if (session == 0)
        return;
    (void)signal_send_session_leader(session, SIGHUP);
    (void)signal_send_session_leader(session, SIGCONT);
    if (group != 0 && group != session) {
        (void)signal_send_group(group, SIGHUP, NULL);
        (void)signal_send_group(group, SIGCONT, NULL);
    }
}

// The session leader of the terminal's session has died.
static void job_leader_died(struct tty *tty)
{
    int32_t session, group;
    tty_ids(tty, &session, &group);
    if (session == 0)
        return;
    tty_get(tty);
    if (tty->is_pty_slave) {
        // The other end is another program: only the foreground is told (as Linux).
        job_detach(tty, &session, &group);
        if (group != 0)
            (void)signal_send_group(group, SIGHUP, NULL);
    } else {
        tty_hangup(tty);
    }
    tty_put(tty);
}

void job_init(void)
{
    process_tty_hangup = job_leader_died;
}

static int64_t job_set_controlling(struct tty *tty, const struct file *file, bool steal)
{
    struct process *process = process_current();
    int32_t session, group;
    tty_ids(tty, &session, &group);
    if (process->session_leader && session == process->session && process->tty == tty)
        return 0;
    if (!process->session_leader || process->tty != NULL)
        return -EPERM;
    if (session != 0) {
        if (!steal || !capable(CAP_SYS_ADMIN))
            return -EPERM;
        job_detach(tty, &session, &group);
    }
    if ((file->mode & FILE_READ) == 0 && !capable(CAP_SYS_ADMIN))
        return -EPERM;
    job_acquire(tty);
    return 0;
}

// TIOCNOTTY: a session leader gives the terminal up for its whole session, others only for
// themselves.
static int64_t job_give_up(struct tty *tty)
{
    struct process *process = process_current();
    int32_t session, group;
    if (!job_is_controlling(tty))
        return -ENOTTY;
    if (process->session_leader) {
        tty_ids(tty, &session, &group);
        if (group != 0) {
            (void)signal_send_group(group, SIGHUP, NULL);
            (void)signal_send_group(group, SIGCONT, NULL);
        }
        job_detach(tty, &session, &group);
        return 0;
    }
    uint64_t flags = spin_lock_irqsave(&task_list_lock);
    process->tty = NULL;
    spin_unlock_irqrestore(&task_list_lock, flags);
    return 0;
}

static int64_t job_set_group(struct tty *tty, uintptr_t argument)
{
    uint32_t value;
    int32_t session, group;
    int error = job_check(tty, SIGTTOU);
    if (error != 0)
        return error == -EIO ? -ENOTTY : error;
    tty_ids(tty, &session, &group);
    if (!job_is_controlling(tty) || session != process_current()->session)
        return -ENOTTY;
    if (user_get_u32(&value, argument) != 0)
        return -EFAULT;
    if ((int32_t)value < 0)
        return -EINVAL;
    if (!process_group_in_session((int32_t)value, session))
        return process_group_is_known((int32_t)value) ? -EPERM : -ESRCH;
    uint64_t flags = spin_lock_irqsave(&tty->job_lock);
    if (tty->session == session)
        tty->group = (int32_t)value;
    spin_unlock_irqrestore(&tty->job_lock, flags);
    return 0;
}

int64_t job_ioctl(struct tty *tty, const struct file *file, uint32_t command, uintptr_t argument)
{
    int32_t session, group;
    switch (command) {
    case TIOCSCTTY:
        return job_set_controlling(tty, file, argument == 1);
    case TIOCNOTTY:
        return job_give_up(tty);
    case TIOCSPGRP:
        return job_set_group(tty, argument);
    case TIOCGPGRP:
        if (!job_is_controlling(tty))
            return -ENOTTY;
        tty_ids(tty, &session, &group);
        return user_put_u32(argument, (uint32_t)group);
    case TIOCGSID:
        tty_ids(tty, &session, &group);
        if (!job_is_controlling(tty) || session == 0)
            return -ENOTTY;
        return user_put_u32(argument, (uint32_t)session);
    default:
        return -ENOIOCTLCMD;
    }
}
