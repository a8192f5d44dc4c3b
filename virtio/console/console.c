// SPDX-License-Identifier: MIT
// Consoles: virtio-console (virtio 1.2, section 5.3) as terminals hvc0, hvc1... One port a device:
// VIRTIO_CONSOLE_F_MULTIPORT is not negotiated, so that the device has two queues.
//
// Both rings are under the terminal's lock, which everything here is called with. Output goes into
// chunks that the device takes one after the other; input stays in the device's buffer until the
// terminal has room for it.

#include "virtio/console/console.h"

#include "kernel/base/string.h"
#include "kernel/tty/port.h"
#include "mm/page.h"
#include "mm/slab.h"

#include <linux/errno.h>
#include <linux/virtio_ids.h>

#define CHUNKS      16
#define CHUNK_BYTES (PAGE_SIZE / CHUNKS)
#define RX_QUEUE    0
#define TX_QUEUE    1

COUNTER(virtio, console_bytes);

struct console {
    struct virtio_device *device;
    struct tty_port *port; // NULL until there is one
    uint8_t *output;       // a page: CHUNKS chunks
    uint32_t busy;         // chunks that the device has, as bits
    size_t pending_bytes;  // in them
    uint16_t chunk_bytes[CHUNKS];
    uint8_t *input; // a page: the device's, or what it brought
    uint32_t input_at, input_len;
};

static void take_sent(struct console *console)
{
    struct virtio_queue *queue = &console->device->queues[TX_QUEUE];
    void *token;
    uint32_t written_bytes;
    do {
        while (virtio_queue_take(queue, &token, &written_bytes) == 1) {
            uint32_t chunk = (uint32_t)((uint8_t *)token - console->output) / CHUNK_BYTES;
            console->busy &= ~(1u << chunk);
            console->pending_bytes -= console->chunk_bytes[chunk];
        }
    } while (virtio_ring_interrupt_enable(&queue->ring, 0));
}

static size_t console_room(void *context)
{
    struct console *console = context;
    take_sent(console);
    // A broken device takes everything, and nothing comes of it.
    if (virtio_device_is_broken(console->device))
        return PAGE_SIZE;
    return (CHUNKS - bit_count(console->busy)) * CHUNK_BYTES;
}

static size_t console_pending(void *context)
{
    struct console *console = context;
    take_sent(console);
    return virtio_device_is_broken(console->device) ? 0 : console->pending_bytes;
}

static size_t console_send(void *context, const uint8_t *bytes, size_t len_bytes)
{
    struct console *console = context;
    struct virtio_queue *queue = &console->device->queues[TX_QUEUE];
    size_t done = 0;
    if (virtio_device_is_broken(console->device))
        return len_bytes;
    take_sent(console);
    for (uint32_t chunk = 0; chunk < CHUNKS && done < len_bytes; chunk++) {
        if (console->busy & 1u << chunk)
            continue;
        size_t piece = MIN(len_bytes - done, (size_t)CHUNK_BYTES);
        uint8_t *place = console->output + chunk * CHUNK_BYTES;
        memcpy(place, bytes + done, piece);
        struct virtio_segment segment = {virt_to_phys(place), (uint32_t)piece};
        if (virtio_ring_add(&queue->ring, &segment, 1, 0, place, NULL) != 0)
            break;
        console->busy |= 1u << chunk;
        console->chunk_bytes[chunk] = (uint16_t)piece;
        console->pending_bytes += piece;
        done += piece;
    }
    virtio_queue_commit(queue);
    counter_add(virtio, console_bytes, done);
    return done;
}

static void post_input(struct console *console)
{
    struct virtio_queue *queue = &console->device->queues[RX_QUEUE];
    struct virtio_segment segment = {virt_to_phys(console->input), PAGE_SIZE};
    console->input_at = console->input_len = 0;
    if (virtio_ring_add(&queue->ring, &segment, 0, 1, console, NULL) == 0)
        virtio_queue_commit(queue);
}

static size_t console_receive(void *context, uint8_t *bytes, size_t size)
{
    struct console *console = context;
    struct virtio_queue *queue = &console->device->queues[RX_QUEUE];
    if (console->input_at == console->input_len) {
        void *token;
        uint32_t written_bytes;
        int result;
        while ((result = virtio_queue_take(queue, &token, &written_bytes)) == 0) {
            if (!virtio_ring_interrupt_enable(&queue->ring, 0))
                return 0;
        }
        if (result < 0)
            return 0;
        console->input_at = 0;
        console->input_len = written_bytes;
    }
    size_t count = MIN(size, (size_t)(console->input_len - console->input_at));
    memcpy(bytes, console->input + console->input_at, count);
    console->input_at += (uint32_t)count;
    if (console->input_at == console->input_len)
        post_input(console);
    return count;
}

static void used(struct virtio_queue *queue)
{
    struct console *console = queue->context;
    if (console->port != NULL)
        tty_port_service(console->port);
}

static int start(struct console *console)
{
    static const struct tty_port_ops ops = {
        .send = console_send,
        .send_room = console_room,
        .send_pending = console_pending,
        .receive = console_receive,
    };
    struct virtio_queue_setup setups[] = {
        {.size_max = 4, .used = used, .context = console},
        {.size_max = CHUNKS, .used = used, .context = console},
    };
    console->output = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    console->input = page_alloc_kernel(0, PAGE_ALLOC_ZERO);
    if (console->output == NULL || console->input == NULL)
        return -ENOMEM;
    int error = virtio_queues_create(console->device, setups, ARRAY_SIZE(setups));
    if (error != 0)
        return error;
    virtio_device_ready(console->device);
    // Before there is a terminal nobody else uses the rings.
    post_input(console);
    return tty_port_create(&ops, console, &console->port);
}

static int probe(struct virtio_device *device)
{
    struct console *console = kzalloc(sizeof(*console));
    if (console == NULL)
        return -ENOMEM;
    console->device = device;
    int error = start(console);
    if (error == 0) {
        device->driver_data = console;
        tty_port_service(console->port); // what came meanwhile
    }
    // Otherwise the pages may be the device's until it is reset: they are not given back.
    return error;
}

const struct virtio_driver virtio_console_driver = {
    .name = "virtio-console",
    .type = VIRTIO_ID_CONSOLE,
    .probe = probe,
};
