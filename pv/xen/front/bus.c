// SPDX-License-Identifier: MIT
// Devices in xenstore.
//
// The thread of a device does everything about it, so that a driver waits where it has to. The
// watch functions, which run on xenstore's thread, only say that there is something to look at.
//
// A device whose thread has ended, because it has gone or could not be started, stays known until
// its folder is gone, or says "initialising" again as the toolstack has it for a new device: what
// stands there may be nonsense, and would else be tried again and again. (A folder that says so all
// the time, because this domain may not write to it, is not the toolstack's.)
#include "pv/xen/front/bus.h"

#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/mutex.h"
#include "kernel/core/time.h"
#include "kernel/core/work.h"
#include "mm/slab.h"

// How long the start waits for devices: a back end that its domain has not set up yet.
#define READY_NS (UINT64_C(10) * NS_PER_SECOND)
// A back end is looked at that often, also when nothing is said to have changed.
#define PATIENCE_NS (UINT64_C(30) * NS_PER_SECOND)
// Devices of one type, at most: what comes beyond is nonsense.
#define DEVICES_MAX 256

struct bus {
    const struct xen_device_type *type;
    struct xen_store_watch watch; // of device/TYPE
    char path[32];
    bool changed; // atomic
    struct wait_queue wait;
    struct mutex lock;
    struct list_node devices; // under lock
    uint32_t device_count;    // likewise
};

static struct wait_queue ready_wait = WAIT_QUEUE_INIT(ready_wait, "xen devices");
static uint32_t unready_count; // atomic: devices that the start waits for

// ---- one device ---------------------------------------------------------------------------------

void xen_device_ready(struct xen_device *device)
{
    if (!device->started) {
        device->started = true;
        __atomic_fetch_sub(&unready_count, 1, __ATOMIC_ACQ_REL);
        wait_wake_all(&ready_wait);
    }
}

enum xenbus_state xen_device_backend_state(const struct xen_device *device)
{
    return (enum xenbus_state)xen_store_number_or(
        device->backend, "state", XenbusStateReconfigured, XenbusStateUnknown);
}

int xen_device_set_state(struct xen_device *device, enum xenbus_state state)
{
    return xen_store_write_number(XEN_STORE_NO_TRANSACTION, device->path, "state", state);
}

void xen_device_wait(struct xen_device *device, uint64_t timeout_ns)
{
    (void)wait_event_state(&device->wait,
        __atomic_exchange_n(&device->changed, false, __ATOMIC_ACQ_REL), THREAD_UNINTERRUPTIBLE,
        false, time_monotonic_ns() + timeout_ns);
}

enum xenbus_state xen_device_wait_for(
    struct xen_device *device, enum xenbus_state state, enum xenbus_state other)
{
    for (;;) {
        enum xenbus_state now = xen_device_backend_state(device);
        if (now == state || now == other || !xen_device_is_wanted(device))
            return now;
        xen_device_wait(device, PATIENCE_NS);
    }
}

int xen_device_publish(
    int (*write)(xen_store_transaction transaction, void *context), void *context)
{
    for (;;) {
        xen_store_transaction transaction;
        int error = xen_store_begin(&transaction);
        if (error != 0)
            return error;
        error = write(transaction, context);
        if (error != 0) {
            xen_store_abort(transaction);
            return error;
        }
        error = xen_store_commit(transaction);
        if (error != -EAGAIN)
            return error;
    }
}

bool xen_device_is_wanted(const struct xen_device *device)
{
    // The toolstack removes both folders, or sets this before.
    return xen_store_number_or(device->backend, "online", 1, 0) == 1;
}

void xen_device_complain(struct xen_device *device, const char *what, int error)
{
    char text[128];
    log_warning("xen: %s: %s (error %d)", device->path, what, -error);
    (void)fmt_snprintf(text, sizeof(text), "%d %s", -error, what);
    (void)xen_store_write(XEN_STORE_NO_TRANSACTION, device->path, "error", text);
}

static void backend_changed(struct xen_store_watch *watch, const char *path)
{
    (void)path;
    struct xen_device *device = container_of(watch, struct xen_device, watch);
    __atomic_store_n(&device->changed, true, __ATOMIC_RELEASE);
    wait_wake_all(&device->wait);
}

// Reads who has the other end. What stands there is the toolstack's word, but checked like any.
static int identify(struct xen_device *device)
{
    uint64_t domain;
    int error = xen_store_read_number(
        XEN_STORE_NO_TRANSACTION, device->path, "backend-id", DOMID_FIRST_RESERVED - 1, &domain);
    if (error != 0)
        return error;
    error = xen_store_read(XEN_STORE_NO_TRANSACTION, device->path, "backend", device->backend,
        sizeof(device->backend));
    if (error != 0)
        return error;
    device->domain = (domid_t)domain;
    return store_backend_path_check(device->backend, (uint32_t)domain);
}

static bool is_new(const struct xen_device *device)
{
    return xen_store_number_or(device->path, "state", XenbusStateReconfigured,
               XenbusStateUnknown) == XenbusStateInitialising;
}

static void device_thread(void *argument)
{
    struct xen_device *device = argument;
    int error = identify(device);
    if (error == 0) {
        char state[sizeof(device->watch.path)];
        int len = fmt_snprintf(state, sizeof(state), "%s/state", device->backend);
        error = len < (int)sizeof(state) ? xen_store_watch(&device->watch, state, backend_changed)
                                         : -E2BIG;
    }
    if (error == 0) {
        device->type->run(device);
        xen_store_unwatch(&device->watch);
    } else {
        xen_device_complain(device, "no back end", error);
        (void)!xen_device_set_state(device, XenbusStateClosed);
    }
    xen_device_ready(device);
    struct bus *bus = device->bus;
    mutex_lock(&bus->lock);
    device->stale = is_new(device);
    device->ended = true; // look() frees it
    mutex_unlock(&bus->lock);
    // The same number may have come again meanwhile.
    __atomic_store_n(&bus->changed, true, __ATOMIC_RELEASE);
    wait_wake_all(&bus->wait);
}

// ---- all of a type ------------------------------------------------------------------------------

static struct xen_device *find(struct bus *bus, uint32_t number)
{
    struct xen_device *device;
    list_for_each_entry (device, &bus->devices, node) {
        if (device->number == number)
            return device;
    }
    return NULL;
}

static void forget(struct bus *bus, struct xen_device *device)
{
    list_remove(&device->node);
    bus->device_count--;
    kfree(device);
}

static void add(struct bus *bus, uint32_t number)
{
    struct xen_device *device = bus->device_count < DEVICES_MAX ? kzalloc(sizeof(*device)) : NULL;
    if (device == NULL) {
        log_warning("xen: %s/%u: too many devices, or no memory", bus->path, number);
        return;
    }
    device->type = bus->type;
    device->bus = bus;
    device->number = number;
    (void)fmt_snprintf(device->path, sizeof(device->path), "%s/%u", bus->path, number);
    wait_queue_init(&device->wait);
    list_add_tail(&bus->devices, &device->node);
    bus->device_count++;
    __atomic_fetch_add(&unready_count, 1, __ATOMIC_ACQ_REL);
    if (kthread_create(NULL, device->path, device_thread, device) != 0) {
        log_warning("xen: %s: no memory for its thread", device->path);
        xen_device_ready(device);
        forget(bus, device);
    }
}

// A number that stands in the type's folder.
static void look_at(struct bus *bus, uint32_t number)
{
    struct xen_device *device = find(bus, number);
    if (device != NULL && device->ended && !device->stale && is_new(device)) {
        forget(bus, device);
        device = NULL;
    }
    if (device == NULL)
        add(bus, number);
    else
        device->listed = true;
}

// Starts what is new, forgets what has ended and is gone.
static void look(struct bus *bus)
{
    char *names = NULL;
    size_t len_bytes = 0, at = 0;
    if (xen_store_list(bus->path, &names, &len_bytes) != 0)
        len_bytes = 0; // no device of this type
    const char *name;
    struct xen_device *device, *next;
    mutex_lock(&bus->lock);
    list_for_each_entry (device, &bus->devices, node)
        device->listed = false;
    while (len_bytes != 0 && (name = store_list_next(names, len_bytes, &at)) != NULL) {
        uint64_t number;
        if (store_number_parse(name, strlen(name), UINT32_MAX, &number) == 0)
            look_at(bus, (uint32_t)number);
    }
    list_for_each_entry_safe (device, next, &bus->devices, node) {
        if (device->ended && !device->listed)
            forget(bus, device);
    }
    mutex_unlock(&bus->lock);
    kfree(names);
}

static void bus_changed(struct xen_store_watch *watch, const char *path)
{
    (void)path;
    struct bus *bus = container_of(watch, struct bus, watch);
    __atomic_store_n(&bus->changed, true, __ATOMIC_RELEASE);
    wait_wake_all(&bus->wait);
}

static void bus_thread(void *argument)
{
    struct bus *bus = argument;
    for (;;) {
        wait_event(&bus->wait, __atomic_exchange_n(&bus->changed, false, __ATOMIC_ACQ_REL));
        look(bus);
    }
}

void xen_bus_start(const struct xen_device_type *type)
{
    struct bus *bus = kzalloc(sizeof(*bus)); // for ever
    if (bus == NULL)
        return;
    bus->type = type;
    (void)fmt_snprintf(bus->path, sizeof(bus->path), "device/%s", type->name);
    wait_queue_init(&bus->wait);
    mutex_init(&bus->lock);
    list_init(&bus->devices);
    look(bus);
    (void)wait_event_state(&ready_wait, __atomic_load_n(&unready_count, __ATOMIC_ACQUIRE) == 0,
        THREAD_UNINTERRUPTIBLE, false, time_monotonic_ns() + READY_NS);
    int error = kthread_create(NULL, bus->path, bus_thread, bus);
    if (error == 0)
        error = xen_store_watch(&bus->watch, bus->path, bus_changed);
    if (error != 0)
        log_warning("xen: no %s can be added later (error %d)", bus->path, -error);
}
