// SPDX-License-Identifier: MIT
// Terminals, inside: the structure that the files of this folder share.
//
// A tty has three parts: a driver that moves bytes (serial port, pseudo-terminal), a line
// discipline between them and the program (line.c: editing, echo, signals, output translation), and
// the job-control state (job.c).
//
// Locks: tty->write_mutex (one writer's text is not mixed with another's) → tty->lock (input, echo,
// settings; interrupts off) → the driver's own lock. task_list_lock is never taken under tty->lock,
// nor the other way round.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/mutex.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/wait.h"
#include "kernel/fs/file.h"
#include <asm/termbits.h>
#include <asm/termios.h>

#define TTY_INPUT_BYTES 4096 // power of two

struct tty;

// A driver moves bytes. All but close are called under tty->lock with interrupts off, and must not
// sleep.
struct tty_driver {
    // Takes up to len_bytes; how many it took.
    size_t (*write)(struct tty *tty, const uint8_t *bytes, size_t len_bytes);
    size_t (*write_room)(struct tty *tty);
    size_t (*output_pending)(struct tty *tty); // bytes not sent yet
    void (*discard_output)(struct tty *tty);
    void (*input_resume)(struct tty *tty);     // there is room for input again
    void (*settings_changed)(struct tty *tty); // may be NULL
    void (*wake_peer)(
        struct tty *tty); // pty: tell the master of output; called without tty->lock. May be NULL
    void (*release)(struct tty *tty); // the last reference is gone; task context
};

struct tty {
    uint32_t refcount; // open files, the registry, controlling processes' looks; atomic
    char name[16];     // under /dev: "ttyS0", "pts/3"
    uint32_t major, minor;
    const struct tty_driver *driver;
    void *driver_data;
    uint32_t open_count; // files; atomic
    uint32_t
        generation; // bumped by a hang-up: files opened before are dead. Under lock, racy reads fine
    bool exclusive; // TIOCEXCL
    bool is_pty_slave;

    struct mutex write_mutex;
    struct mutex read_mutex; // one reader at a time assembles its answer
    struct spinlock lock;    // all below
    struct termios2 settings;
    struct winsize window;
    // Input ring: positions count up for ever. [tail, canonical) is whole lines (canonical mode),
    // [canonical, head) the line that is being edited.
    uint32_t head, canonical, tail;
    uint32_t canonical_column; // cursor column where the edited line starts
    uint32_t column;           // cursor column now
    bool literal_next;         // VLNEXT was typed
    bool erasing;          // ECHOPRT: inside the backslash and slash that enclose what is erased
    bool stopped;          // output is held by ^S or TCOOFF
    bool lost_room;        // a driver was told that input is full
    bool packet;           // pty: the master is in packet mode
    uint8_t packet_status; // TIOCPKT_* bits not yet read by the master
    uint8_t input[TTY_INPUT_BYTES];
    uint64_t line_ends[TTY_INPUT_BYTES / 64]; // bit set: the byte ends a line (newline, EOL, EOF)

    struct wait_queue read_wait;
    struct wait_queue write_wait;

    struct spinlock job_lock; // session, group
    int32_t session;          // whose controlling terminal it is, 0: nobody's
    int32_t group;            // the foreground process group, 0: none
};

// What file->private_data of a terminal's file points to.
struct tty_file {
    struct tty *tty;
    uint32_t generation; // tty->generation at open
};

#define TTY_CHAR_DISABLED 0 // _POSIX_VDISABLE

// ---- tty.c ----
void tty_setup(struct tty *tty, const char *name, uint32_t major, uint32_t minor,
    const struct tty_driver *driver);
void tty_put(struct tty *tty);
static inline void tty_get(struct tty *tty)
{
    __atomic_fetch_add(&tty->refcount, 1, __ATOMIC_RELAXED);
}
// Makes `file` a file of the terminal (takes its own reference) and perhaps the terminal the
// opener's controlling one. 0, -EIO, -EBUSY, -ENOMEM.
[[nodiscard]] int tty_open(struct tty *tty, struct file *file);
// Ends the line: files open now answer end of file or EIO, the session gets SIGHUP and SIGCONT.
void tty_hangup(struct tty *tty);
bool tty_file_is_dead(const struct file *file);
extern const struct file_ops tty_file_ops;

// ---- line.c: under tty->lock unless said ----
void line_init(struct tty *tty);
// Feeds received bytes; how many were taken (all, unless the input is full). Signals to send come
// back in *signals (bit n-1), to be sent without the lock by tty_send_signals().
size_t line_receive(struct tty *tty, const uint8_t *bytes, size_t len_bytes, uint64_t *signals);
bool line_input_ready(const struct tty *tty);
size_t line_input_count(const struct tty *tty); // FIONREAD
bool line_input_has_room(const struct tty *tty);
// Copies input for a reader into `buffer`; *end_of_line: stop here. Consumes it.
size_t line_take(struct tty *tty, uint8_t *buffer, size_t size, bool *end_of_line);
// Writes text with output processing; how many bytes of it were taken.
size_t line_write(struct tty *tty, const uint8_t *text, size_t len_bytes);
void line_flush_input(struct tty *tty);
// Holds output (^S, TCOOFF) or lets it go on. Who lets it go on wakes writers.
void line_set_stopped(struct tty *tty, bool stopped);
void line_settings_changed(struct tty *tty, const struct termios2 *old);

// Without the lock: feeds, wakes readers, sends signals. Any context but NMI. Bytes taken.
size_t tty_receive(struct tty *tty, const uint8_t *bytes, size_t len_bytes);
void tty_wake_writers(struct tty *tty);

// ---- job.c ----
// May the running process read (write) now, or is it in the background? 0, -EIO, -ERESTARTSYS (it
// was sent SIGTTIN or SIGTTOU).
[[nodiscard]] int job_check(struct tty *tty, int signal);
void job_signal_foreground(struct tty *tty, int signal);
bool job_is_controlling(const struct tty *tty);                   // of the running process?
void job_maybe_acquire(struct tty *tty, const struct file *file); // at open
void job_hangup(struct tty *tty);
struct tty *job_current_get(void); // the running process's terminal with a reference, or NULL
// TIOCSCTTY, TIOCNOTTY, TIOCGPGRP, TIOCSPGRP, TIOCGSID; -ENOIOCTLCMD when the command is none of
// them.
#define ENOIOCTLCMD 515
int64_t job_ioctl(struct tty *tty, const struct file *file, uint32_t command, uintptr_t argument);
void job_init(void);

// ---- port.c ----
struct tty *port_console(void); // the first port, or NULL

// ---- termios.c ----
// The window has this size now: if it had another, the foreground gets SIGWINCH. Task context.
void tty_resize(struct tty *tty, const struct winsize *window);
int64_t tty_ioctl(struct file *file, uint32_t command, uintptr_t argument);
// The same commands on a pty's master act on its slave.
int64_t tty_ioctl_settings(struct tty *tty, uint32_t command, uintptr_t argument);

// ---- pty.c, serial.c, stream.c ----
[[nodiscard]] int pty_init(void);
[[nodiscard]] int serial_init(struct tty **console); // NULL through *console when there is no port
[[nodiscard]] int stream_init(bool *enabled);
