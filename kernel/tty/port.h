// SPDX-License-Identifier: MIT
// Terminals on a channel that a hypervisor or device offers: /dev/hvc0 and so on. The channel moves
// bytes; line discipline, job control and /dev nodes are the terminals' business.
#pragma once

#include "kernel/base/types.h"

struct tty_port;

// The channel. All are called with interrupts off under the port's lock, and must not sleep.
struct tty_port_ops {
    // Takes up to len_bytes and tells the other end; how many it took.
    size_t (*send)(void *context, const uint8_t *bytes, size_t len_bytes);
    size_t (*send_room)(void *context);    // how many it would take now
    size_t (*send_pending)(void *context); // taken, but not by the other end yet
    // What has come, at most `size` bytes; 0: nothing.
    size_t (*receive)(void *context, uint8_t *bytes, size_t size);
};

// Makes a terminal of the channel, with its node: hvc0, then hvc1... The first becomes the console
// where there is no serial port, if it comes before tty_init(). There until the end. Task context,
// after vfs_init(). 0 or -errno.
[[nodiscard]] int tty_port_create(
    const struct tty_port_ops *ops, void *context, struct tty_port **port);
// The other end has another size: programs in the foreground get SIGWINCH. Nothing where both are
// 0. Task context.
void tty_port_resize(struct tty_port *port, uint16_t columns, uint16_t rows);
// Something has come, or the other end has taken something. Any context but NMI, without locks.
void tty_port_service(struct tty_port *port);
