// SPDX-License-Identifier: MIT
// Console devices: virtio-console (virtio 1.2, section 5.3). See internal.h.

#include "virtio/console/console.h"

#include "kernel/base/atomic.h"
#include "mm/slab.h"
#include "virtio/console/internal.h"

#include <linux/errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>

// 5.3.2: port 0's queues, the control queues, then those of the other ports.
#define QUEUE_CONTROL_RECEIVE  2
#define QUEUE_CONTROL_TRANSMIT 3
#define QUEUES_BEFORE_PORT_1   4
#define RECEIVE_SIZE           4
#define CONTROL_SIZE           16

static uint32_t device_count; // by the one thread that looks for devices

static uint32_t receive_queue_of(uint32_t port)
{
    return port == 0 ? 0 : QUEUES_BEFORE_PORT_1 + 2 * (port - 1);
}

static void control_used(struct virtio_queue *queue)
{
    struct console *console = queue->context;
    work_queue(&console->control_work);
}

static int make_queues(struct console *console)
{
    struct virtio_queue_setup setups[QUEUES_BEFORE_PORT_1 + 2 * CONSOLE_PORTS_MAX] = {};
    uint32_t count = receive_queue_of(console->port_count - 1) + 2;
    for (uint32_t i = 0; i < console->port_count; i++) {
        struct virtio_queue_setup *setup = &setups[receive_queue_of(i)];
        setup[0] = setup[1] = (struct virtio_queue_setup){
            .size_max = RECEIVE_SIZE, .used = console_port_used, .context = &console->ports[i]};
        setup[1].size_max = CONSOLE_CHUNKS;
    }
    if (console->is_multiport) {
        count = MAX(count, (uint32_t)QUEUES_BEFORE_PORT_1);
        setups[QUEUE_CONTROL_RECEIVE] = (struct virtio_queue_setup){
            .size_max = CONTROL_SIZE, .used = control_used, .context = console};
        setups[QUEUE_CONTROL_TRANSMIT] = (struct virtio_queue_setup){.size_max = CONTROL_SIZE};
    }
    int error = virtio_queues_create(console->device, setups, count);
    if (error != 0)
        return error;
    struct virtio_queue *queues = console->device->queues;
    for (uint32_t i = 0; i < console->port_count; i++) {
        console->ports[i].receive = &queues[receive_queue_of(i)];
        console->ports[i].transmit = &queues[receive_queue_of(i) + 1];
    }
    console->control_receive = &queues[QUEUE_CONTROL_RECEIVE];
    console->control_transmit = &queues[QUEUE_CONTROL_TRANSMIT];
    return 0;
}

static int start(struct console *console)
{
    int error = console->is_multiport ? console_control_init(console) : 0;
    for (uint32_t i = 0; i < console->port_count && error == 0; i++)
        error = console_port_init(&console->ports[i], console, i);
    if (error == 0)
        error = make_queues(console);
    if (error != 0)
        return error;
    virtio_device_ready(console->device);
    for (uint32_t i = 0; i < console->port_count; i++)
        console_port_start(&console->ports[i]);
    if (console->is_multiport) {
        console_control_start(console);
        return 0;
    }
    return console_port_make_terminal(&console->ports[0]);
}

static void config_changed(struct virtio_device *device)
{
    struct console *console = device->driver_data;
    if (console == NULL || !virtio_has_feature(device, VIRTIO_CONSOLE_F_SIZE) ||
        !atomic_load_acquire(&console->ports[0].is_console))
        return;
    uint16_t columns = (uint16_t)virtio_config_field(device, struct virtio_console_config, cols);
    uint16_t rows = (uint16_t)virtio_config_field(device, struct virtio_console_config, rows);
    tty_port_resize(console->ports[0].terminal, columns, rows);
}

static int probe(struct virtio_device *device)
{
    struct console *console = kzalloc(sizeof(*console));
    if (console == NULL)
        return -ENOMEM;
    console->device = device;
    console->number = device_count++;
    console->port_count = 1;
    console->is_multiport = virtio_has_feature(device, VIRTIO_CONSOLE_F_MULTIPORT);
    if (console->is_multiport) {
        uint32_t most =
            (uint32_t)virtio_config_field(device, struct virtio_console_config, max_nr_ports);
        console->port_count = MAX(MIN(most, (uint32_t)CONSOLE_PORTS_MAX), 1u);
    }
    console->ports = kzalloc(console->port_count * sizeof(*console->ports));
    int error = console->ports != NULL ? start(console) : -ENOMEM;
    if (error == 0) {
        device->driver_data = console;
        config_changed(device); // what it is at the start
    }
    // Otherwise the pages may be the device's until it is reset: they are not given back.
    return error;
}

static void broken(struct virtio_device *device)
{
    struct console *console = device->driver_data;
    for (uint32_t i = 0; console != NULL && i < console->port_count; i++) {
        atomic_store_release(&console->ports[i].host_connected, false);
        wait_wake_all(&console->ports[i].changed);
    }
}

const struct virtio_driver virtio_console_driver = {
    .name = "virtio-console",
    .type = VIRTIO_ID_CONSOLE,
    .features = BIT(VIRTIO_CONSOLE_F_MULTIPORT) | BIT(VIRTIO_CONSOLE_F_SIZE),
    .probe = probe,
    .config_changed = config_changed,
    .broken = broken,
};
