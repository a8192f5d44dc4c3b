// SPDX-License-Identifier: MIT
// Ports: bytes out and in. Output goes into chunks that the device takes one after the other; input
// stays in the device's buffer until somebody has room for it.

#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "virtio/console/internal.h"

#include <linux/errno.h>

COUNTER(virtio, console_bytes);

static bool is_gone(const struct console_port *port)
{
    return virtio_device_is_broken(port->console->device) || atomic_load_relaxed(&port->removed);
}

static void take_sent(struct console_port *port)
{
    void *token;
    uint32_t written_bytes;
    do {
        while (virtio_queue_take(port->transmit, &token, &written_bytes) == 1) {
            uint32_t chunk = (uint32_t)((uint8_t *)token - port->output) / CONSOLE_CHUNK_BYTES;
            port->busy &= ~(1u << chunk);
            port->pending_bytes -= port->chunk_bytes[chunk];
        }
    } while (virtio_ring_interrupt_enable(&port->transmit->ring, 0));
}

size_t console_port_room(struct console_port *port)
{
    // One that is gone takes everything, and nothing comes of it.
    if (is_gone(port))
        return PAGE_SIZE;
    uint64_t flags = spin_lock_irqsave(&port->lock);
    take_sent(port);
    size_t room = (CONSOLE_CHUNKS - bit_count(port->busy)) * CONSOLE_CHUNK_BYTES;
    spin_unlock_irqrestore(&port->lock, flags);
    return room;
}

static size_t send_locked(struct console_port *port, const uint8_t *bytes, size_t len_bytes)
{
    size_t done = 0;
    take_sent(port);
    for (uint32_t chunk = 0; chunk < CONSOLE_CHUNKS && done < len_bytes; chunk++) {
        if (port->busy & 1u << chunk)
            continue;
        size_t piece = MIN(len_bytes - done, (size_t)CONSOLE_CHUNK_BYTES);
        uint8_t *place = port->output + chunk * CONSOLE_CHUNK_BYTES;
        // Copied: the writer's memory is its own again when the call returns.
        memcpy(place, bytes + done, piece);
        struct virtio_segment segment = {virt_to_phys(place), (uint32_t)piece};
        if (virtio_ring_add(&port->transmit->ring, &segment, 1, 0, place, NULL) != 0)
            break;
        port->busy |= 1u << chunk;
        port->chunk_bytes[chunk] = (uint16_t)piece;
        port->pending_bytes += piece;
        done += piece;
    }
    virtio_queue_commit(port->transmit);
    return done;
}

size_t console_port_send(struct console_port *port, const uint8_t *bytes, size_t len_bytes)
{
    if (is_gone(port))
        return len_bytes;
    uint64_t flags = spin_lock_irqsave(&port->lock);
    size_t done = send_locked(port, bytes, len_bytes);
    spin_unlock_irqrestore(&port->lock, flags);
    counter_add(virtio, console_bytes, done);
    return done;
}

static void post_input(struct console_port *port)
{
    struct virtio_segment segment = {virt_to_phys(port->input), PAGE_SIZE};
    port->input_at = port->input_len = 0;
    port->input_posted = virtio_ring_add(&port->receive->ring, &segment, 0, 1, port, NULL) == 0;
    if (port->input_posted)
        virtio_queue_commit(port->receive);
}

// Is there something in the buffer, perhaps just brought? Lock held.
static bool fetch_input(struct console_port *port)
{
    void *token;
    uint32_t written_bytes;
    int result = 0;
    while (port->input_at == port->input_len) {
        if (!port->input_posted)
            post_input(port);
        while ((result = virtio_queue_take(port->receive, &token, &written_bytes)) == 0) {
            if (!virtio_ring_interrupt_enable(&port->receive->ring, 0))
                return false;
        }
        if (result < 0)
            return false;
        port->input_posted = false;
        port->input_at = 0;
        port->input_len = written_bytes;
    }
    return true;
}

bool console_port_has_input(struct console_port *port)
{
    uint64_t flags = spin_lock_irqsave(&port->lock);
    bool any = fetch_input(port);
    spin_unlock_irqrestore(&port->lock, flags);
    return any;
}

size_t console_port_receive(struct console_port *port, uint8_t *bytes, size_t size)
{
    size_t count = 0;
    uint64_t flags = spin_lock_irqsave(&port->lock);
    if (fetch_input(port)) {
        count = MIN(size, (size_t)(port->input_len - port->input_at));
        memcpy(bytes, port->input + port->input_at, count);
        port->input_at += (uint32_t)count;
        if (port->input_at == port->input_len)
            post_input(port);
    }
    spin_unlock_irqrestore(&port->lock, flags);
    return count;
}

void console_port_discard(struct console_port *port)
{
    uint64_t flags = spin_lock_irqsave(&port->lock);
    while (fetch_input(port))
        port->input_at = port->input_len;
    spin_unlock_irqrestore(&port->lock, flags);
}

void console_port_used(struct virtio_queue *queue)
{
    struct console_port *port = queue->context;
    if (atomic_load_acquire(&port->is_console)) {
        tty_port_service(port->terminal);
        return;
    }
    // Looking also asks for the next interrupt.
    (void)console_port_room(port);
    wait_wake_all(&port->changed);
}

// ---- as a terminal ----

static size_t terminal_send(void *context, const uint8_t *bytes, size_t len_bytes)
{
    return console_port_send(context, bytes, len_bytes);
}

static size_t terminal_room(void *context)
{
    return console_port_room(context);
}

static size_t terminal_pending(void *context)
{
    struct console_port *port = context;
    if (is_gone(port))
        return 0;
    (void)console_port_room(port);
    return atomic_load_relaxed(&port->pending_bytes);
}

static size_t terminal_receive(void *context, uint8_t *bytes, size_t size)
{
    return console_port_receive(context, bytes, size);
}

int console_port_make_terminal(struct console_port *port)
{
    static const struct tty_port_ops ops = {
        .send = terminal_send,
        .send_room = terminal_room,
        .send_pending = terminal_pending,
        .receive = terminal_receive,
    };
    if (atomic_load_relaxed(&port->is_console))
        return 0;
    int error = tty_port_create(&ops, port, &port->terminal);
    if (error != 0)
        return error;
    atomic_store_release(&port->is_console, true);
    tty_port_service(port->terminal); // what came meanwhile
    return 0;
}

// ---- making ----

int console_port_init(struct console_port *port, struct console *console, uint32_t id)
{
    spin_lock_init(&port->lock);
    wait_queue_init(&port->changed);
    port->console = console;
    port->id = id;
    port->output = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    port->input = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    return port->output != NULL && port->input != NULL ? 0 : -ENOMEM;
}

void console_port_start(struct console_port *port)
{
    uint64_t flags = spin_lock_irqsave(&port->lock);
    post_input(port);
    spin_unlock_irqrestore(&port->lock, flags);
}
