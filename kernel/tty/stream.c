// SPDX-License-Identifier: MIT
// Program streams: /dev/stream0..2, standard input, output and error of `lodger run -- PROGRAM`
// when they are not a terminal. The protocol is that of kernel/core/host_stream.h
// (docs/decisions/0002-program-streams.md). No byte is changed.
//
// Input comes from the serial port by interrupt into a ring; when the ring is full the port's
// interrupt is off until a reader made room, so the host waits and nothing is lost. Output is one
// string instruction a chunk.
#include "kernel/tty/internal.h"

#include "kernel/arch/x86/io.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/host_stream.h"
#include "kernel/core/irq.h"
#include "kernel/core/option.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/register.h"
#include <linux/serial_reg.h>

#define STREAM_PORT        0x3f8
#define STREAM_IRQ         4
#define STREAM_INPUT_BYTES 8192 // power of two
#define STREAM_CHUNK_BYTES 1024
#define STREAM_MAJOR       240 // local use
#define STREAM_STDOUT      1

static const char *stdio_option;
BOOT_OPTION_STRING(stdio_option, "stdio",
    "What the first program's standard files are: `console` (the default) or `streams`, "
    "byte-transparent pipes to the "
    "host's lodger command.");

static struct {
    struct spinlock lock; // everything; interrupts off
    uint32_t head, tail;
    bool escaped; // the last byte was HOST_STREAM_ESCAPE
    bool ended;   // end of input was received
    bool held;    // the receive interrupt is off for want of room
    struct wait_queue wait;
    uint8_t input[STREAM_INPUT_BYTES];
} stream = {
    .lock = SPINLOCK_INIT("stream: input"), .wait = WAIT_QUEUE_INIT(stream.wait, "stream: wait")};

static void stream_decode(uint8_t byte)
{
    if (stream.escaped) {
        stream.escaped = false;
        if (byte == HOST_STREAM_END)
            stream.ended = true;
        if (byte != HOST_STREAM_ESCAPE)
            return;
    } else if (byte == HOST_STREAM_ESCAPE) {
        stream.escaped = true;
        return;
    }
    if (!stream.ended)
        stream.input[stream.head++ % STREAM_INPUT_BYTES] = byte;
}

static bool stream_has_room(void)
{
    return stream.head - stream.tail < STREAM_INPUT_BYTES;
}

static void stream_interrupt(void *context, struct trap_frame *frame)
{
    (void)context;
    (void)frame;
    uint64_t flags = spin_lock_irqsave(&stream.lock);
    while (stream_has_room() && (arch_in8(STREAM_PORT + UART_LSR) & UART_LSR_DR) != 0)
        stream_decode(arch_in8(STREAM_PORT + UART_RX));
    if (!stream_has_room()) {
        stream.held = true;
        arch_out8(STREAM_PORT + UART_IER, 0);
    }
    spin_unlock_irqrestore(&stream.lock, flags);
    wait_wake(&stream.wait, UINT32_MAX, EPOLLIN | EPOLLRDNORM);
}

static size_t stream_take(uint8_t *buffer, size_t size)
{
    uint64_t flags = spin_lock_irqsave(&stream.lock);
    size_t count = MIN(size, (size_t)(stream.head - stream.tail));
    for (size_t i = 0; i < count; i++)
        buffer[i] = stream.input[stream.tail++ % STREAM_INPUT_BYTES];
    if (count != 0 && stream.held) {
        stream.held = false;
        arch_out8(STREAM_PORT + UART_IER, UART_IER_RDI);
    }
    spin_unlock_irqrestore(&stream.lock, flags);
    return count;
}

static bool stream_is_ready(void)
{
    return atomic_load_relaxed(&stream.head) != atomic_load_relaxed(&stream.tail) ||
           atomic_load_relaxed(&stream.ended);
}

static int64_t stream_read(struct file *file, struct io_iter *to, uint64_t *offset)
{
    uint8_t chunk[STREAM_CHUNK_BYTES];
    int64_t done = 0;
    (void)offset;
    while (to->count != 0) {
        size_t count = stream_take(chunk, MIN(to->count, sizeof(chunk)));
        if (count != 0) {
            size_t copied = iter_copy_to(to, chunk, count);
            done += (int64_t)copied;
            if (copied < count)
                return done != 0 ? done : -EFAULT;
            continue;
        }
        if (done != 0 || atomic_load_relaxed(&stream.ended))
            break;
        if ((file->flags & O_NONBLOCK) != 0)
            return -EAGAIN;
        if (wait_event_interruptible(&stream.wait, stream_is_ready()) != 0)
            return -ERESTARTSYS;
    }
    return done;
}

static int64_t stream_write(struct file *file, struct io_iter *from, uint64_t *offset)
{
    uint8_t chunk[STREAM_CHUNK_BYTES];
    uint16_t port =
        file->private_data == (void *)STREAM_STDOUT ? HOST_STREAM_PORT_OUT : HOST_STREAM_PORT_ERR;
    int64_t done = 0;
    (void)offset;
    while (from->count != 0) {
        size_t count = iter_copy_from(from, chunk, MIN(from->count, sizeof(chunk)));
        if (count == 0)
            return done != 0 ? done : -EFAULT;
        arch_out8_many(port, chunk, count);
        done += (int64_t)count;
    }
    return done;
}

static uint32_t stream_read_poll(struct file *file, struct poll_table *table)
{
    poll_wait(table, file, &stream.wait);
    return stream_is_ready() ? EPOLLIN | EPOLLRDNORM : 0;
}

static uint32_t stream_write_poll(struct file *file, struct poll_table *table)
{
    (void)file;
    (void)table;
    return EPOLLOUT | EPOLLWRNORM;
}

static const struct file_ops stream_in_ops = {.read = stream_read, .poll = stream_read_poll};
static const struct file_ops stream_out_ops = {.write = stream_write, .poll = stream_write_poll};

static int stream_open_out(struct file *file)
{
    file->private_data = (void *)STREAM_STDOUT;
    return 0;
}

static int stream_open_error(struct file *file)
{
    file->private_data = NULL;
    return 0;
}

int stream_init(bool *enabled)
{
    static const struct character_device devices[] = {
        {.name = "stream0", .major = STREAM_MAJOR, .minor = 0, .mode = 0666, .ops = &stream_in_ops},
        {.name = "stream1",
            .major = STREAM_MAJOR,
            .minor = 1,
            .mode = 0666,
            .ops = &stream_out_ops,
            .open = stream_open_out},
        {.name = "stream2",
            .major = STREAM_MAJOR,
            .minor = 2,
            .mode = 0666,
            .ops = &stream_out_ops,
            .open = stream_open_error},
    };
    *enabled = stdio_option != NULL && strcmp(stdio_option, "streams") == 0;
    if (!*enabled)
        return 0;
    int vector = irq_vector_alloc(stream_interrupt, NULL, "streams");
    if (vector < 0)
        return vector;
    int error = irq_gsi_route(STREAM_IRQ, (uint32_t)vector);
    if (error != 0)
        return error;
    arch_out8(STREAM_PORT + UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_1);
    arch_out8(STREAM_PORT + UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
    arch_out8(STREAM_PORT + UART_IER, UART_IER_RDI);
    for (size_t i = 0; i < ARRAY_SIZE(devices) && error == 0; i++)
        error = device_register(&devices[i]);
    return error;
}
