// SPDX-License-Identifier: MIT
// The first serial port (16550A, as QEMU and every cloud's serial console have it) as /dev/ttyS0.
//
// Each access to the port leaves the guest, so there are few of them: output goes through a ring
// and is handed over 16 bytes at a time by one string instruction after one look at the line
// status; an interrupt tells of room when there is more. Input that the terminal has no room for
// stays in the port, whose receive interrupt is off until a reader made room: the host then holds
// the rest back.
//
// Everything is under tty->lock, the interrupt handler included.
#include "kernel/tty/internal.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/io.h"
#include "kernel/core/errno.h"
#include "kernel/core/irq.h"
#include "kernel/core/log.h"
#include "kernel/core/shutdown.h"
#include "kernel/core/time.h"
#include "kernel/core/timer.h"
#include "kernel/fs/poll.h"
#include "kernel/fs/register.h"
#include "kernel/tty/tty.h"
#include <linux/major.h>
#include <linux/serial_reg.h>

#define SERIAL_PORT         0x3f8
#define SERIAL_IRQ          4
#define SERIAL_FIFO_BYTES   16
#define SERIAL_OUTPUT_BYTES 4096 // power of two
#define SERIAL_POLL_NS      (10 * NS_PER_MS)
#define SERIAL_FINISH_NS    (2000 * NS_PER_MS)
#define SERIAL_WAKE_ROOM    (SERIAL_OUTPUT_BYTES / 2)

struct serial {
    struct tty tty;      // its lock protects all
    uint32_t head, tail; // output ring
    uint8_t interrupts;  // value of the interrupt enable register
    bool polled;         // no interrupt line: the timer looks
    struct timer timer;
    uint8_t output[SERIAL_OUTPUT_BYTES];
};

static struct serial serial;

static void serial_set_interrupts(uint8_t interrupts)
{
    if (serial.interrupts == interrupts)
        return;
    serial.interrupts = interrupts;
    if (!serial.polled)
        arch_out8(SERIAL_PORT + UART_IER, interrupts);
}

// Hands over what the port takes now; asks for an interrupt while there is more.
static void serial_pump(void)
{
    while (serial.head != serial.tail && (arch_in8(SERIAL_PORT + UART_LSR) & UART_LSR_THRE) != 0) {
        uint32_t start = serial.tail % SERIAL_OUTPUT_BYTES;
        uint32_t count = MIN(serial.head - serial.tail, (uint32_t)SERIAL_FIFO_BYTES);
        count = MIN(count, SERIAL_OUTPUT_BYTES - start);
        arch_out8_many(SERIAL_PORT + UART_TX, serial.output + start, count);
        serial.tail += count;
    }
    if (serial.head != serial.tail)
        serial_set_interrupts(serial.interrupts | UART_IER_THRI);
    else
        serial_set_interrupts(serial.interrupts & ~UART_IER_THRI);
}

static size_t serial_write_room(struct tty *tty)
{
    (void)tty;
    return SERIAL_OUTPUT_BYTES - (serial.head - serial.tail);
}

static size_t serial_write(struct tty *tty, const uint8_t *bytes, size_t len_bytes)
{
    size_t count = MIN(len_bytes, serial_write_room(tty));
    for (size_t i = 0; i < count; i++)
        serial.output[serial.head++ % SERIAL_OUTPUT_BYTES] = bytes[i];
    if ((serial.interrupts & UART_IER_THRI) == 0)
        serial_pump();
    return count;
}

static size_t serial_output_pending(struct tty *tty)
{
    (void)tty;
    return serial.head - serial.tail;
}

// Before the machine ends: what was written goes out, if the port takes it.
static void serial_finish(void)
{
    uint64_t deadline_ns = time_monotonic_ns() + SERIAL_FINISH_NS;
    for (;;) {
        uint64_t flags = spin_lock_irqsave(&serial.tty.lock);
        serial_pump();
        bool done =
            serial.head == serial.tail && (arch_in8(SERIAL_PORT + UART_LSR) & UART_LSR_TEMT) != 0;
        spin_unlock_irqrestore(&serial.tty.lock, flags);
        if (done || time_monotonic_ns() >= deadline_ns)
            return;
        arch_pause();
    }
}
static struct shutdown_step serial_shutdown_step = {.function = serial_finish};

static void serial_discard_output(struct tty *tty)
{
    (void)tty;
    serial.tail = serial.head;
}

static void serial_input_resume(struct tty *tty)
{
    (void)tty;
    serial_set_interrupts(serial.interrupts | UART_IER_RDI);
}

static void serial_release(struct tty *tty)
{
    (void)tty; // static: the registry's reference is never dropped
}

// Reads what has come, as long as the terminal takes it.
static void serial_receive(void)
{
    uint8_t chunk[SERIAL_FIFO_BYTES];
    for (;;) {
        size_t count = 0;
        uint64_t flags = spin_lock_irqsave(&serial.tty.lock);
        bool room = line_input_has_room(&serial.tty);
        if (!room) {
            serial.tty.lost_room = true;
            serial_set_interrupts(serial.interrupts & ~UART_IER_RDI);
        }
        // The room of one chunk is assured but for its last bytes, which a full ring drops with a
        // bell.
        while (
            room && count < sizeof(chunk) && (arch_in8(SERIAL_PORT + UART_LSR) & UART_LSR_DR) != 0)
            chunk[count++] = arch_in8(SERIAL_PORT + UART_RX);
        spin_unlock_irqrestore(&serial.tty.lock, flags);
        if (count == 0)
            return;
        (void)tty_receive(&serial.tty, chunk, count);
    }
}

static void serial_service(void)
{
    serial_receive();
    uint64_t flags = spin_lock_irqsave(&serial.tty.lock);
    bool had_output = serial.head != serial.tail;
    if (had_output)
        serial_pump();
    bool wake = had_output && serial_write_room(&serial.tty) >= SERIAL_WAKE_ROOM;
    spin_unlock_irqrestore(&serial.tty.lock, flags);
    if (wake)
        tty_wake_writers(&serial.tty);
}

static void serial_interrupt(void *context, struct trap_frame *frame)
{
    (void)context;
    (void)frame;
    (void)arch_in8(SERIAL_PORT + UART_IIR); // acknowledges the transmitter's interrupt
    serial_service();
}

static void serial_poll_timer(struct timer *timer)
{
    serial_service();
    timer_arm(timer, time_monotonic_ns() + SERIAL_POLL_NS);
}

static const struct tty_driver serial_driver = {
    .write = serial_write,
    .write_room = serial_write_room,
    .output_pending = serial_output_pending,
    .discard_output = serial_discard_output,
    .input_resume = serial_input_resume,
    .release = serial_release,
};

static int serial_open(struct file *file)
{
    return tty_open(&serial.tty, file);
}

// Is there a 16550? A missing port reads as all ones, and does not keep its scratch register.
static bool serial_is_present(void)
{
    if (arch_in8(SERIAL_PORT + UART_LSR) == 0xff)
        return false;
    arch_out8(SERIAL_PORT + UART_SCR, 0x5a);
    return arch_in8(SERIAL_PORT + UART_SCR) == 0x5a;
}

static void serial_start(void)
{
    arch_out8(SERIAL_PORT + UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_1);
    arch_out8(SERIAL_PORT + UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
    int vector = irq_vector_alloc(serial_interrupt, NULL, "ttyS0");
    if (vector < 0 || irq_gsi_route(SERIAL_IRQ, (uint32_t)vector) != 0) {
        log_warning("serial: no interrupt for the serial port: it is polled");
        serial.polled = true;
        timer_init(&serial.timer, serial_poll_timer);
        timer_arm(&serial.timer, time_monotonic_ns() + SERIAL_POLL_NS);
    }
    uint64_t flags = spin_lock_irqsave(&serial.tty.lock);
    serial_set_interrupts(UART_IER_RDI);
    spin_unlock_irqrestore(&serial.tty.lock, flags);
}

int serial_init(struct tty **console)
{
    static const struct character_device device = {.name = "ttyS0",
        .major = TTY_MAJOR,
        .minor = 64,
        .mode = 0660,
        .ops = &tty_file_ops,
        .open = serial_open};
    if (!serial_is_present()) {
        return 0;
    }
    tty_setup(&serial.tty, "ttyS0", TTY_MAJOR, 64, &serial_driver);
    serial_start();
    shutdown_register(&serial_shutdown_step);
    *console = &serial.tty;
    return device_register(&device);
}
