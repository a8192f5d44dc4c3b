// SPDX-License-Identifier: MIT
// The domain's console: a page with two rings of bytes, shared with xenconsoled in the first domain
// (<xen/io/console.h>), as a terminal.
//
// The positions that the other end writes are not trusted: where they make no sense the ring counts
// as empty or full, which loses text but nothing else. Each is read once.
#include "kernel/core/counter.h"
#include "kernel/core/log.h"
#include "kernel/tty/port.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "pv/xen/events.h"
#include "pv/xen/front/internal.h"
#include "pv/xen/hypercall.h"

#include <xen/hvm/params.h>
#include <xen/io/console.h>

COUNTER(xen, console_bytes);
COUNTER(xen, console_bad_positions);

struct xen_console {
    struct xencons_interface *page;
    evtchn_port_t event;
    struct tty_port *port;
};

static struct xen_console console;

static uint32_t ring_used(uint32_t produced, uint32_t consumed, uint32_t size)
{
    if (produced - consumed <= size)
        return produced - consumed;
    counter_add(xen, console_bad_positions, 1);
    return size; // nothing more is written
}

static size_t console_pending(void *context)
{
    const struct xencons_interface *page = ((struct xen_console *)context)->page;
    return ring_used(
        page->out_prod, __atomic_load_n(&page->out_cons, __ATOMIC_ACQUIRE), sizeof(page->out));
}

static size_t console_room(void *context)
{
    const struct xen_console *self = context;
    return sizeof(self->page->out) - console_pending(context);
}

static size_t console_send(void *context, const uint8_t *bytes, size_t len_bytes)
{
    struct xen_console *self = context;
    struct xencons_interface *page = self->page;
    size_t count = MIN(len_bytes, console_room(context));
    if (count == 0)
        return 0;
    uint32_t at = page->out_prod;
    for (size_t i = 0; i < count; i++)
        page->out[MASK_XENCONS_IDX(at++, page->out)] = (char)bytes[i];
    __atomic_store_n(&page->out_prod, at, __ATOMIC_RELEASE);
    xen_event_notify(self->event);
    counter_add(xen, console_bytes, count);
    return count;
}

static size_t console_receive(void *context, uint8_t *bytes, size_t size)
{
    struct xen_console *self = context;
    struct xencons_interface *page = self->page;
    uint32_t produced = __atomic_load_n(&page->in_prod, __ATOMIC_ACQUIRE);
    uint32_t at = page->in_cons;
    uint32_t used = produced - at;
    if (used > sizeof(page->in)) {
        counter_add(xen, console_bad_positions, 1);
        __atomic_store_n(&page->in_cons, produced, __ATOMIC_RELEASE);
        return 0;
    }
    size_t count = MIN(size, (size_t)used);
    if (count == 0)
        return 0;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)page->in[MASK_XENCONS_IDX(at++, page->in)];
    __atomic_store_n(&page->in_cons, at, __ATOMIC_RELEASE);
    xen_event_notify(self->event); // there is room again
    return count;
}

static void console_event(void *context, struct trap_frame *frame)
{
    (void)frame;
    struct xen_console *self = context;
    if (self->port != NULL)
        tty_port_service(self->port);
}

void xen_console_start(void)
{
    static const struct tty_port_ops ops = {
        .send = console_send,
        .send_room = console_room,
        .send_pending = console_pending,
        .receive = console_receive,
    };
    uint64_t frame, event;
    int error = xen_hvm_param_read(HVM_PARAM_CONSOLE_PFN, &frame);
    if (error == 0)
        error = xen_hvm_param_read(HVM_PARAM_CONSOLE_EVTCHN, &event);
    if (error != 0 || frame == 0 || event == 0) {
        log_info("xen: the domain has no console");
        return;
    }
    console.page = vmap_shared(frame << PAGE_SHIFT, PAGE_SIZE);
    if (console.page == NULL) {
        log_warning("xen: no memory for the console");
        return;
    }
    console.event = (evtchn_port_t)event;
    error = xen_event_bind_connected(console.event, console_event, &console, "hvc0");
    if (error == 0)
        error = tty_port_create(&ops, &console, &console.port);
    if (error != 0)
        log_warning("xen: no console (error %d)", -error);
    else
        tty_port_service(console.port);
}
