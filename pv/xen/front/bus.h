// SPDX-License-Identifier: MIT
// Devices that the toolstack gives this domain: found in xenstore, one thread each.
//
// A device is a folder of ours, device/TYPE/NUMBER, and one of the domain that has its back end.
// Each end writes its state (enum xenbus_state) into its folder and watches the other's. All
// functions: task context; may sleep.
#pragma once

#include "kernel/base/types.h"
#include "kernel/core/wait.h"
#include "pv/xen/front/store.h"
#include "pv/xen/front/wire.h"

#include <xen/io/xenbus.h>
#include <xen/xen.h>

struct bus;
struct xen_device_type;

struct xen_device {
    const struct xen_device_type *type;
    uint32_t number;              // "51712", as the toolstack chose it
    char path[64];                // "device/vbd/51712"
    char backend[STORE_PATH_MAX]; // "/local/domain/0/backend/vbd/1/51712", checked
    domid_t domain;               // that has the back end
    void *driver_data;

    struct bus *bus;              // bus.c's
    struct list_node node;        // of the type's devices, under its lock
    struct xen_store_watch watch; // of the back end's state
    struct wait_queue wait;       // the device's thread
    bool changed;                 // atomic: the back end's state may be another one
    bool started;                 // it counts as ready
    // Under the type's lock: its thread has ended; and still its state says that it is new, which
    // this end could not change; look() has found it.
    bool ended, stale, listed;
};

struct xen_device_type {
    const char *name; // "vbd"
    // Body of the device's thread: brings it up, follows the back end's states, returns when the
    // device is gone. Calls xen_device_ready() once it can be used, or can't.
    void (*run)(struct xen_device *device);
};

// Finds the devices of the type, now and later, and starts a thread for each. Returns when those
// that are there now are ready, or after some seconds.
void xen_bus_start(const struct xen_device_type *type);

void xen_device_ready(struct xen_device *device);
// The back end's state; XenbusStateUnknown when it is gone or nonsense.
enum xenbus_state xen_device_backend_state(const struct xen_device *device);
// 0 or -errno.
[[nodiscard]] int xen_device_set_state(struct xen_device *device, enum xenbus_state state);
// Waits until something may have changed since the last call; at most that long.
void xen_device_wait(struct xen_device *device, uint64_t timeout_ns);
// Waits for one of two states of the back end. The state, or another one when the device is not
// wanted any more.
enum xenbus_state xen_device_wait_for(
    struct xen_device *device, enum xenbus_state state, enum xenbus_state other);
// Has `write` write what this end publishes: all at once, however often others come in between (it
// is called again then). 0 or what it returned.
[[nodiscard]] int xen_device_publish(
    int (*write)(xen_store_transaction transaction, void *context), void *context);
// Does the toolstack still want the device? It says so in the back end's folder.
bool xen_device_is_wanted(const struct xen_device *device);
// Tells the toolstack what is wrong, and the log.
void xen_device_complain(struct xen_device *device, const char *what, int error);
