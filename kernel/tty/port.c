// SPDX-License-Identifier: MIT
// Terminals on a hypervisor's channel. There is no buffer here: output goes into the channel as far
// as it takes it, and input stays there until the terminal has room for it.
//
// Everything is under tty->lock, the calls of the channel included.
#include "kernel/tty/port.h"

#include "kernel/base/fmt.h"
#include "kernel/core/errno.h"
#include "kernel/core/shutdown.h"
#include "kernel/core/time.h"
#include "kernel/core/work.h"
#include "kernel/fs/register.h"
#include "kernel/tty/internal.h"
#include "kernel/tty/tty.h"
#include "mm/slab.h"

#define PORTS_MAX     16
#define PORT_MAJOR    229 // as Linux numbers hvc
#define CHUNK_BYTES   64
#define FINISH_NS     (2000 * NS_PER_MS)
#define FINISH_NAP_NS (1 * NS_PER_MS)

struct tty_port {
    struct tty tty; // its lock protects all
    const struct tty_port_ops *ops;
    void *context;
    struct work resume; // input goes on, outside the lock
    struct character_device device;
};

static struct tty_port *ports[PORTS_MAX]; // filled from the front; never emptied
static uint32_t port_count;               // written at start-up by one thread

static struct tty_port *port_of(struct tty *tty)
{
    return container_of(tty, struct tty_port, tty);
}

// ---- the terminal's side ----

static size_t port_write(struct tty *tty, const uint8_t *bytes, size_t len_bytes)
{
    return port_of(tty)->ops->send(port_of(tty)->context, bytes, len_bytes);
}

static size_t port_write_room(struct tty *tty)
{
    return port_of(tty)->ops->send_room(port_of(tty)->context);
}

static size_t port_output_pending(struct tty *tty)
{
    return port_of(tty)->ops->send_pending(port_of(tty)->context);
}

static void port_discard_output(struct tty *tty)
{
    (void)tty; // it is the other end's already
}

static void port_input_resume(struct tty *tty)
{
    (void)work_queue(&port_of(tty)->resume);
}

static void port_release(struct tty *tty)
{
    (void)tty; // the registry's reference is never dropped
}

static const struct tty_driver port_driver = {
    .write = port_write,
    .write_room = port_write_room,
    .output_pending = port_output_pending,
    .discard_output = port_discard_output,
    .input_resume = port_input_resume,
    .release = port_release,
};

// ---- the channel's side ----

// What has come goes to the terminal as long as it has room.
static void port_receive(struct tty_port *port)
{
    uint8_t chunk[CHUNK_BYTES];
    for (;;) {
        size_t count = 0;
        uint64_t flags = spin_lock_irqsave(&port->tty.lock);
        bool room = line_input_has_room(&port->tty);
        if (room)
            count = port->ops->receive(port->context, chunk, sizeof(chunk));
        else
            port->tty.lost_room = true;
        spin_unlock_irqrestore(&port->tty.lock, flags);
        if (count == 0)
            return;
        (void)tty_receive(&port->tty, chunk, count);
    }
}

void tty_port_service(struct tty_port *port)
{
    port_receive(port);
    uint64_t flags = spin_lock_irqsave(&port->tty.lock);
    bool room = port->ops->send_room(port->context) != 0;
    spin_unlock_irqrestore(&port->tty.lock, flags);
    if (room)
        tty_wake_writers(&port->tty);
}

void tty_port_resize(struct tty_port *port, uint16_t columns, uint16_t rows)
{
    if (columns != 0 || rows != 0)
        tty_resize(&port->tty, &(struct winsize){.ws_row = rows, .ws_col = columns});
}

static void port_resume(struct work *work)
{
    port_receive(container_of(work, struct tty_port, resume));
}

// Before the machine ends: the other end takes what was written.
static void port_finish(void)
{
    uint64_t deadline_ns = time_monotonic_ns() + FINISH_NS;
    for (uint32_t i = 0; i < port_count; i++) {
        for (bool done = false; !done && time_monotonic_ns() < deadline_ns;) {
            uint64_t flags = spin_lock_irqsave(&ports[i]->tty.lock);
            done = ports[i]->ops->send_pending(ports[i]->context) == 0;
            spin_unlock_irqrestore(&ports[i]->tty.lock, flags);
            if (!done) {
                (void)thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
                (void)sched_block(time_monotonic_ns() + FINISH_NAP_NS);
            }
        }
    }
}

static int port_open(struct file *file)
{
    return tty_open(&((struct tty_port *)file->private_data)->tty, file);
}

int tty_port_create(const struct tty_port_ops *ops, void *context, struct tty_port **port)
{
    static struct shutdown_step finish_step = {.function = port_finish};
    if (port_count == PORTS_MAX)
        return -ENOSPC;
    struct tty_port *made = kzalloc(sizeof(*made));
    if (made == NULL)
        return -ENOMEM;
    made->ops = ops;
    made->context = context;
    work_init(&made->resume, port_resume);
    char name[sizeof(made->tty.name)];
    (void)fmt_snprintf(name, sizeof(name), "hvc%u", port_count);
    tty_setup(&made->tty, name, PORT_MAJOR, port_count, &port_driver);
    made->device = (struct character_device){.name = made->tty.name,
        .major = PORT_MAJOR,
        .minor = port_count,
        .mode = 0660,
        .ops = &tty_file_ops,
        .open = port_open,
        .context = made};
    int error = device_register(&made->device);
    if (error != 0) {
        kfree(made);
        return error;
    }
    if (port_count == 0)
        shutdown_register(&finish_step);
    ports[port_count++] = made;
    *port = made;
    return 0;
}

struct tty *port_console(void)
{
    return port_count != 0 ? &ports[0]->tty : NULL;
}
