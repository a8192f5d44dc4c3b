// SPDX-License-Identifier: MIT
// The control queue: ports come and go, and what the two ends tell each other about them (virtio
// 1.2, 5.3.6.2). Messages are handled by a work, one after the other.

#include "kernel/base/atomic.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "kernel/core/time.h"
#include "sched/sched.h"
#include "virtio/console/internal.h"

#include <linux/errno.h>
#include <linux/virtio_console.h>

#define MESSAGES      16 // buffers, each way
#define MESSAGE_BYTES (PAGE_SIZE / MESSAGES)
#define SEND_WAIT_NS  (1000 * NS_PER_MS)

static_assert(CONSOLE_NAME_BYTES < MESSAGE_BYTES);

// ---- to the device ----

// The device has taken everything, or does not. Control lock held.
static bool wait_sent(struct console *console, uint32_t most)
{
    struct virtio_ring *ring = &console->control_transmit->ring;
    uint64_t deadline_ns = time_monotonic_ns() + SEND_WAIT_NS;
    void *token;
    uint32_t written_bytes;
    while (ring->config.size - ring->free > most) {
        int taken = virtio_queue_take(console->control_transmit, &token, &written_bytes);
        if (taken < 0 || time_monotonic_ns() > deadline_ns)
            return false;
        if (taken == 0)
            sched_yield();
    }
    return true;
}

void console_control_send(struct console *console, uint32_t port, uint16_t event, uint16_t value)
{
    if (!console->is_multiport || virtio_device_is_broken(console->device))
        return;
    mutex_lock(&console->control_lock);
    // One at a time: a message is 8 bytes, and there are few.
    if (wait_sent(console, 0)) {
        struct virtio_console_control *message = (void *)console->control_output;
        *message = (struct virtio_console_control){.id = port, .event = event, .value = value};
        struct virtio_segment segment = {virt_to_phys(message), sizeof(*message)};
        if (virtio_ring_add(&console->control_transmit->ring, &segment, 1, 0, message, NULL) == 0)
            virtio_queue_commit(console->control_transmit);
        (void)wait_sent(console, 0);
    } else {
        virtio_device_break(console->device, "it takes no control messages");
    }
    mutex_unlock(&console->control_lock);
}

// ---- from the device ----

static void add_port(struct console *console, struct console_port *port)
{
    if (port->exists)
        return;
    atomic_store_relaxed(&port->removed, false);
    atomic_store_relaxed(&port->host_connected, false);
    int error = console_file_create(port);
    port->exists = error == 0;
    console_control_send(console, port->id, VIRTIO_CONSOLE_PORT_READY, error == 0);
    if (error != 0)
        log_warning(
            "virtio: %s: port %u has no node (error %d)", console->device->name, port->id, -error);
}

static void remove_port(struct console_port *port)
{
    if (!port->exists)
        return;
    port->exists = false;
    atomic_store_release(&port->removed, true);
    console_file_remove(port);
}

static void name_port(struct console_port *port, const char *name, size_t len_bytes)
{
    if (!port->exists || port->name[0] != '\0')
        return;
    len_bytes = MIN(len_bytes, (size_t)CONSOLE_NAME_BYTES - 1);
    for (size_t i = 0; i < len_bytes && name[i] != '\0'; i++)
        port->name[i] = name[i] > ' ' && name[i] <= '~' ? name[i] : '?';
    console_file_named(port);
}

// 5.3.6.2.1: columns and rows follow.
static void resize_port(struct console_port *port, const uint8_t *bytes, size_t len_bytes)
{
    uint16_t size[2];
    if (!atomic_load_relaxed(&port->is_console) || len_bytes < sizeof(size))
        return;
    memcpy(size, bytes, sizeof(size));
    tty_port_resize(port->terminal, size[0], size[1]);
}

// One message: a copy, which the device does not change any more.
static void handle(struct console *console, const uint8_t *bytes, size_t len_bytes)
{
    struct virtio_console_control message;
    if (len_bytes < sizeof(message))
        return;
    memcpy(&message, bytes, sizeof(message));
    if (message.id >= console->port_count) {
        if (message.event == VIRTIO_CONSOLE_PORT_ADD)
            log_warning("virtio: %s: no room for port %u", console->device->name, message.id);
        return;
    }
    struct console_port *port = &console->ports[message.id];
    const uint8_t *rest = bytes + sizeof(message);
    size_t rest_bytes = len_bytes - sizeof(message);
    if (message.event == VIRTIO_CONSOLE_PORT_ADD) {
        add_port(console, port);
    } else if (message.event == VIRTIO_CONSOLE_PORT_REMOVE) {
        remove_port(port);
    } else if (message.event == VIRTIO_CONSOLE_CONSOLE_PORT && port->exists) {
        if (console_port_make_terminal(port) == 0)
            console_control_send(console, port->id, VIRTIO_CONSOLE_PORT_OPEN, 1);
    } else if (message.event == VIRTIO_CONSOLE_RESIZE) {
        resize_port(port, rest, rest_bytes);
    } else if (message.event == VIRTIO_CONSOLE_PORT_OPEN) {
        atomic_store_release(&port->host_connected, message.value != 0);
        wait_wake_all(&port->changed);
    } else if (message.event == VIRTIO_CONSOLE_PORT_NAME) {
        name_port(port, (const char *)rest, rest_bytes);
    }
}

static void post(struct console *console, uint8_t *buffer)
{
    struct virtio_segment segment = {virt_to_phys(buffer), MESSAGE_BYTES};
    // As many buffers as entries: there is room.
    (void)virtio_ring_add(&console->control_receive->ring, &segment, 0, 1, buffer, NULL);
}

static void take_messages(struct console *console)
{
    struct virtio_queue *queue = console->control_receive;
    uint8_t message[MESSAGE_BYTES];
    void *token;
    uint32_t written_bytes;
    mutex_lock(&console->receive_lock);
    do {
        while (virtio_queue_take(queue, &token, &written_bytes) == 1) {
            memcpy(message, token, MIN(written_bytes, (uint32_t)MESSAGE_BYTES));
            post(console, token);
            virtio_queue_commit(queue);
            handle(console, message, MIN(written_bytes, (uint32_t)MESSAGE_BYTES));
        }
    } while (virtio_ring_interrupt_enable(&queue->ring, 0));
    mutex_unlock(&console->receive_lock);
}

static void control_work(struct work *work)
{
    take_messages(container_of(work, struct console, control_work));
}

int console_control_init(struct console *console)
{
    work_init(&console->control_work, control_work);
    mutex_init(&console->control_lock);
    mutex_init(&console->receive_lock);
    console->control_input = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    console->control_output = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    return console->control_input != NULL && console->control_output != NULL ? 0 : -ENOMEM;
}

void console_control_start(struct console *console)
{
    uint32_t count = MIN(console->control_receive->ring.config.size, (uint32_t)MESSAGES);
    mutex_lock(&console->receive_lock);
    for (uint32_t i = 0; i < count; i++)
        post(console, console->control_input + i * MESSAGE_BYTES);
    virtio_queue_commit(console->control_receive);
    mutex_unlock(&console->receive_lock);
    console_control_send(console, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
    take_messages(console);
}
