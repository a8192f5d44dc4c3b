// SPDX-License-Identifier: MIT
// Console devices and their ports: what the files of this folder share.
//
// A device has one port, or with VIRTIO_CONSOLE_F_MULTIPORT several, which come and go by messages
// of the control queue. A port moves bytes (port.c). The host says which ports are consoles: those
// are terminals, hvc0 and so on. All ports have a node, /dev/vport0p1 (device, port), through
// which those that are no console are used (file.c).
//
// Lock order: terminal, port.
#pragma once

#include "kernel/core/mutex.h"
#include "kernel/core/spinlock.h"
#include "kernel/core/wait.h"
#include "kernel/fs/register.h"
#include "kernel/tty/port.h"
#include "mm/page.h"
#include "virtio/device.h"

#define CONSOLE_PORTS_MAX   8 // of a device; further ones are refused
#define CONSOLE_CHUNKS      16
#define CONSOLE_CHUNK_BYTES (PAGE_SIZE / CONSOLE_CHUNKS)
#define CONSOLE_NAME_BYTES  64

struct console;

struct console_port {
    struct console *console; // fixed from when the port exists
    uint32_t id;             // fixed
    bool exists;             // the worker's: it was added
    bool is_console;         // it has a terminal; atomic, never false again
    struct spinlock lock;    // the two rings and all up to `input_len`; taken with interrupts off
    struct virtio_queue *receive, *transmit;
    uint8_t *output;      // a page: chunks that the device takes one after the other
    uint32_t busy;        // chunks that the device has, as bits
    size_t pending_bytes; // in them
    uint16_t chunk_bytes[CONSOLE_CHUNKS];
    uint8_t *input; // a page: the device's, or what it brought
    bool input_posted;
    uint32_t input_at, input_len;
    bool host_connected; // somebody is at the other end; atomic
    bool removed;        // by the host: reads end, writes fail; atomic
    struct tty_port *terminal;
    // The file side.
    struct wait_queue changed;
    uint32_t is_open; // atomic: one opener at a time
    char node_name[16];
    char name[CONSOLE_NAME_BYTES]; // the host's, or ""; written once, under lock
    struct character_device node;
};

struct console {
    struct virtio_device *device;
    uint32_t number; // of the device, for names
    bool is_multiport;
    uint32_t port_count;
    struct console_port *ports; // [port_count]
    // Control queue. Lock order: receive_lock, control_lock.
    struct work control_work;
    struct mutex receive_lock; // the receive ring; one message is handled after the other
    struct mutex control_lock; // the transmit ring, its page
    struct virtio_queue *control_receive, *control_transmit;
    uint8_t *control_input, *control_output; // a page each
};

// ---- port.c: the port's lock is taken inside ----
[[nodiscard]] int console_port_init(
    struct console_port *port, struct console *console, uint32_t id);
// After the queues were made: gives the device a buffer.
void console_port_start(struct console_port *port);
size_t console_port_send(struct console_port *port, const uint8_t *bytes, size_t len_bytes);
size_t console_port_room(struct console_port *port);
size_t console_port_receive(struct console_port *port, uint8_t *bytes, size_t size);
bool console_port_has_input(struct console_port *port);
// Forgets what has come and nobody has read.
void console_port_discard(struct console_port *port);
// Interrupt of one of its queues.
void console_port_used(struct virtio_queue *queue);
// Makes a terminal of it. Task context.
[[nodiscard]] int console_port_make_terminal(struct console_port *port);

// ---- file.c ----
[[nodiscard]] int console_file_create(struct console_port *port);
void console_file_remove(struct console_port *port);
void console_file_named(struct console_port *port);

// ---- control.c: task context ----
[[nodiscard]] int console_control_init(struct console *console);
// Says that the driver works, and hears about the ports that there are: a device that answers each
// message before it takes the next one has said all of it when this returns.
void console_control_start(struct console *console);
// Tells the device something about a port (5.3.6.2); waits for room.
void console_control_send(struct console *console, uint32_t port, uint16_t event, uint16_t value);
