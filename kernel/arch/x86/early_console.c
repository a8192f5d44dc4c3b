// SPDX-License-Identifier: MIT
// Consoles that work from the first instruction on.
//
// The debug port (QEMU isa-debugcon, Bochs, Xen) swallows a whole line with one string instruction.
// The serial port is polled, but no more than once for each filling of its transmit FIFO, and never
// for ever: a port which does not get ready within its bound loses output instead of stopping the
// kernel.

#include "kernel/arch/x86/early_console.h"

#include "kernel/arch/x86/io.h"
#include "kernel/core/log.h"

#include <linux/serial_reg.h>

#define DEBUG_PORT        0xe9
#define SERIAL_PORT       0x3f8
#define SERIAL_FIFO_BYTES 16
#define SERIAL_POLLS_MAX  100000 // some 100 ms on real hardware at a microsecond each

static void debug_port_write(const char *text, size_t len_bytes)
{
    arch_out8_many(DEBUG_PORT, text, len_bytes);
}

static struct log_console debug_port_console = {
    .name = "debug port", .write = debug_port_write, .level = LOG_DEBUG};

// Bytes that fit into the FIFO without another look; under the console lock
static unsigned serial_room;

static void serial_put(uint8_t byte)
{
    for (unsigned polls = 0; serial_room == 0 && polls < SERIAL_POLLS_MAX; polls++) {
        if (arch_in8(SERIAL_PORT + UART_LSR) & UART_LSR_THRE)
            serial_room = SERIAL_FIFO_BYTES;
    }
    if (serial_room == 0)
        return;
    serial_room--;
    arch_out8(SERIAL_PORT + UART_TX, byte);
}

static void serial_write(const char *text, size_t len_bytes)
{
    // Somebody else may have filled the FIFO since the last call (the terminal driver).
    serial_room = 0;
    for (size_t i = 0; i < len_bytes; i++) {
        if (text[i] == '\n')
            serial_put('\r');
        serial_put((uint8_t)text[i]);
    }
}

static struct log_console serial_console = {.name = "serial", .write = serial_write};

// A UART keeps what is written to its scratch register. The line settings are the loader's or the
// defaults of the emulated one: 8N1 at the highest rate is set for those that care.
static bool serial_probe(void)
{
    arch_out8(SERIAL_PORT + UART_SCR, 0x5a);
    if (arch_in8(SERIAL_PORT + UART_SCR) != 0x5a)
        return false;
    arch_out8(SERIAL_PORT + UART_IER, 0);
    arch_out8(SERIAL_PORT + UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
    arch_out8(SERIAL_PORT + UART_DLL, 1);
    arch_out8(SERIAL_PORT + UART_DLM, 0);
    arch_out8(SERIAL_PORT + UART_LCR, UART_LCR_WLEN8);
    arch_out8(SERIAL_PORT + UART_FCR, UART_FCR_ENABLE_FIFO);
    arch_out8(SERIAL_PORT + UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
    return true;
}

void early_console_use_debug_port(bool use)
{
    static bool used; // boot CPU only, or under no other's eyes: registered once
    if (use && !used)
        log_console_register(&debug_port_console);
    else if (!use && used)
        log_console_unregister(&debug_port_console);
    used = use;
}

void early_console_init(void)
{
    // The debug port of QEMU and Bochs answers a read with its own number.
    if (arch_in8(DEBUG_PORT) == DEBUG_PORT)
        early_console_use_debug_port(true);
    if (serial_probe())
        log_console_register(&serial_console);
}
