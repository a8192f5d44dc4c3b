// SPDX-License-Identifier: MIT
// Client of xenstore.
//
// A page has two rings of bytes: requests to xenstored and its messages, which are replies and
// watch events. One request is on its way at a time (request_lock), so a reply needs no matching
// but the check that its number is right. The event handler takes messages apart: a reply is copied
// for who waits for it, a watch event is queued for the thread `xenstore`, which calls the watch.
//
// A stream that has become nonsense cannot be found again: then `broken` is set, and every request
// fails. Events that find no memory, or come faster than they are dealt with, are dropped and
// counted.
#include "pv/xen/front/store.h"

#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/mutex.h"
#include "kernel/core/time.h"
#include "kernel/core/wait.h"
#include "kernel/core/work.h"
#include "mm/page.h"
#include "mm/slab.h"
#include "pv/xen/events.h"
#include "pv/xen/front/wire.h"
#include "pv/xen/hypercall.h"

#include <xen/hvm/params.h>

COUNTER(xen, store_requests);
COUNTER(xen, store_events);
COUNTER(xen, store_events_dropped);
COUNTER(xen, store_nonsense);

// How long xenstored may take for an answer. It is a program of another domain and may wait for a
// disk; after that the two can't be brought in step again.
#define REPLY_NS (UINT64_C(60) * NS_PER_SECOND)
// Watch events that wait for the thread, at most.
#define EVENTS_MAX 1024

struct store_event {
    struct list_node node;
    uint32_t token;
    char path[]; // NUL-terminated
};

static struct {
    struct xenstore_domain_interface *page;
    evtchn_port_t port;
    struct mutex request_lock; // one request at a time: ring of requests, reply
    uint32_t last_request;     // under request_lock
    bool broken;               // atomic; for ever

    struct spinlock lock; // all below; taken with interrupts off
    struct store_receiver receiver;
    char *reply; // where a reply goes (STORE_PAYLOAD_MAX + 1 bytes), NULL: nobody waits for one
    uint32_t reply_request;
    int reply_result; // its type, or a negative errno; 0: not there yet
    uint32_t reply_bytes;
    struct list_node events;
    uint32_t event_count;

    struct wait_queue wait;        // for a reply, for room in the ring
    struct wait_queue thread_wait; // the thread's, for events

    struct mutex watch_lock;  // watches; held while one is called
    struct list_node watches; // struct xen_store_watch
    uint32_t last_token;
} store = {
    .request_lock = MUTEX_INIT(store.request_lock, "xenstore requests"),
    .lock = SPINLOCK_INIT("xenstore"),
    .events = LIST_INIT(store.events),
    .wait = WAIT_QUEUE_INIT(store.wait, "xenstore replies"),
    .thread_wait = WAIT_QUEUE_INIT(store.thread_wait, "xenstore events"),
    .watch_lock = MUTEX_INIT(store.watch_lock, "xenstore watches"),
    .watches = LIST_INIT(store.watches),
};

static bool is_broken(void)
{
    return __atomic_load_n(&store.broken, __ATOMIC_ACQUIRE);
}

static void set_broken(const char *why)
{
    if (!__atomic_exchange_n(&store.broken, true, __ATOMIC_ACQ_REL))
        log_error("xenstore: %s: no device can come or go any more", why);
    wait_wake_all(&store.wait);
}

// ---- what comes in ------------------------------------------------------------------------------

static void event_queue(void)
{
    const char *path, *token;
    uint64_t number;
    if (store_event_parse(store.receiver.payload, store.receiver.payload_bytes, &path, &token) !=
            0 ||
        store_number_parse(token, strlen(token), UINT32_MAX, &number) != 0) {
        counter_add(xen, store_nonsense, 1);
        return;
    }
    size_t size = sizeof(struct store_event) + strlen(path) + 1;
    struct store_event *event =
        store.event_count < EVENTS_MAX ? kmalloc(size, PAGE_ALLOC_ATOMIC) : NULL;
    if (event == NULL) {
        counter_add(xen, store_events_dropped, 1);
        return;
    }
    event->token = (uint32_t)number;
    memcpy(event->path, path, strlen(path) + 1);
    list_add_tail(&store.events, &event->node);
    store.event_count++;
    counter_add(xen, store_events, 1);
}

static void message_complete(void)
{
    const struct xsd_sockmsg *header = &store.receiver.header;
    if (header->type == XS_WATCH_EVENT) {
        event_queue();
    } else if (store.reply != NULL && store.reply_result == 0 &&
               header->req_id == store.reply_request) {
        memcpy(store.reply, store.receiver.payload, store.receiver.payload_bytes + 1);
        store.reply_bytes = store.receiver.payload_bytes;
        store.reply_result =
            header->type == XS_ERROR ? store_error_parse(store.reply, store.reply_bytes) : 1;
    } else {
        counter_add(xen, store_nonsense, 1); // a reply to nothing
    }
}

// Takes everything out of the ring. Under store.lock. 0 or -EPROTO.
static int messages_receive(void)
{
    struct xenstore_domain_interface *page = store.page;
    for (;;) {
        uint32_t at = page->rsp_cons; // ours
        int used = store_ring_used(__atomic_load_n(&page->rsp_prod, __ATOMIC_ACQUIRE), at);
        if (used <= 0)
            return used;
        char chunk[64];
        size_t count = MIN(sizeof(chunk), (size_t)used);
        count = MIN(count, (size_t)(XENSTORE_RING_SIZE - MASK_XENSTORE_IDX(at)));
        memcpy(chunk, page->rsp + MASK_XENSTORE_IDX(at), count);
        size_t taken;
        int result = store_receiver_feed(&store.receiver, chunk, count, &taken);
        if (result < 0)
            return result;
        __atomic_store_n(&page->rsp_cons, at + (uint32_t)taken, __ATOMIC_RELEASE);
        if (result == 1) {
            message_complete();
            store_receiver_reset(&store.receiver);
        }
    }
}

static void store_interrupt(void *context, struct trap_frame *frame)
{
    (void)context;
    (void)frame;
    uint64_t flags = spin_lock_irqsave(&store.lock);
    uint32_t before = store.page->rsp_cons;
    int error = is_broken() ? 0 : messages_receive();
    bool took = store.page->rsp_cons != before;
    bool events = store.event_count != 0;
    spin_unlock_irqrestore(&store.lock, flags);
    if (error != 0)
        set_broken("the ring's positions or lengths make no sense");
    if (took)
        xen_event_notify(store.port); // there is room again
    wait_wake_all(&store.wait);
    if (events)
        wait_wake_all(&store.thread_wait);
}

// ---- requests -----------------------------------------------------------------------------------

static int request_room(void)
{
    struct xenstore_domain_interface *page = store.page;
    int used = store_ring_used(page->req_prod, __atomic_load_n(&page->req_cons, __ATOMIC_ACQUIRE));
    return used < 0 ? used : (int)XENSTORE_RING_SIZE - used;
}

// Puts bytes into the ring as there is room. Under request_lock.
static int request_put(const void *data, size_t len_bytes)
{
    struct xenstore_domain_interface *page = store.page;
    const char *bytes = data;
    uint64_t deadline_ns = time_monotonic_ns() + REPLY_NS;
    while (len_bytes != 0) {
        int room = 0;
        (void)wait_event_state(&store.wait, is_broken() || (room = request_room()) != 0,
            THREAD_UNINTERRUPTIBLE, false, deadline_ns);
        if (is_broken() || room <= 0) {
            set_broken("requests are not taken");
            return -EIO;
        }
        uint32_t at = page->req_prod;
        size_t count = MIN(len_bytes, (size_t)room);
        count = MIN(count, (size_t)(XENSTORE_RING_SIZE - MASK_XENSTORE_IDX(at)));
        memcpy(page->req + MASK_XENSTORE_IDX(at), bytes, count);
        __atomic_store_n(&page->req_prod, at + (uint32_t)count, __ATOMIC_RELEASE);
        xen_event_notify(store.port);
        bytes += count;
        len_bytes -= count;
    }
    return 0;
}

static bool reply_is_there(void)
{
    uint64_t flags = spin_lock_irqsave(&store.lock);
    bool there = store.reply_result != 0;
    spin_unlock_irqrestore(&store.lock, flags);
    return there;
}

// Part of a request's payload.
struct piece {
    const char *text;
    size_t len_bytes;
};

// Sends the request and waits for its reply, which goes into `reply` (STORE_PAYLOAD_MAX + 1 bytes).
// 0 and *reply_bytes, or what xenstored says.
static int request(enum xsd_sockmsg_type type, xen_store_transaction transaction,
    const struct piece *pieces, uint32_t piece_count, char *reply, size_t *reply_bytes)
{
    struct xsd_sockmsg header = {.type = type, .tx_id = transaction};
    for (uint32_t i = 0; i < piece_count; i++)
        header.len += (uint32_t)pieces[i].len_bytes;
    if (header.len > STORE_PAYLOAD_MAX)
        return -E2BIG;
    counter_add(xen, store_requests, 1);
    mutex_lock(&store.request_lock);
    header.req_id = ++store.last_request;
    uint64_t flags = spin_lock_irqsave(&store.lock);
    store.reply = reply;
    store.reply_request = header.req_id;
    store.reply_result = 0;
    spin_unlock_irqrestore(&store.lock, flags);
    int error = is_broken() ? -EIO : request_put(&header, sizeof(header));
    for (uint32_t i = 0; error == 0 && i < piece_count; i++)
        error = request_put(pieces[i].text, pieces[i].len_bytes);
    if (error == 0)
        (void)wait_event_state(&store.wait, is_broken() || reply_is_there(), THREAD_UNINTERRUPTIBLE,
            false, time_monotonic_ns() + REPLY_NS);
    flags = spin_lock_irqsave(&store.lock);
    if (error == 0 && store.reply_result != 0)
        error = store.reply_result < 0 ? store.reply_result : 0;
    else if (error == 0)
        error = -EIO;
    bool answered = store.reply_result != 0;
    *reply_bytes = store.reply_bytes;
    store.reply = NULL;
    spin_unlock_irqrestore(&store.lock, flags);
    mutex_unlock(&store.request_lock);
    if (!answered)
        set_broken("there is no answer");
    return error;
}

// A request about a path. The reply's memory is the caller's to free when the result is 0.
static int request_path(enum xsd_sockmsg_type type, xen_store_transaction transaction,
    const char *folder, const char *node, const char *value, char **reply, size_t *reply_bytes)
{
    char path[STORE_PATH_MAX];
    int len = node != NULL ? fmt_snprintf(path, sizeof(path), "%s/%s", folder, node)
                           : fmt_snprintf(path, sizeof(path), "%s", folder);
    if (len < 0 || (size_t)len >= sizeof(path))
        return -E2BIG;
    char *buffer = kmalloc(STORE_PAYLOAD_MAX + 1, 0);
    if (buffer == NULL)
        return -ENOMEM;
    // A value has no NUL behind it.
    const struct piece pieces[] = {
        {path, (size_t)len + 1}, {value, value != NULL ? strlen(value) : 0}};
    int error = request(type, transaction, pieces, ARRAY_SIZE(pieces), buffer, reply_bytes);
    if (error == 0)
        *reply = buffer;
    else
        kfree(buffer);
    return error;
}

int xen_store_read(xen_store_transaction transaction, const char *folder, const char *node,
    char *string, size_t size)
{
    char *reply;
    size_t reply_bytes;
    int error = request_path(XS_READ, transaction, folder, node, NULL, &reply, &reply_bytes);
    if (error != 0)
        return error;
    error = store_string_parse(reply, reply_bytes, string, size);
    kfree(reply);
    return error;
}

int xen_store_read_number(xen_store_transaction transaction, const char *folder, const char *node,
    uint64_t max, uint64_t *number)
{
    char *reply;
    size_t reply_bytes;
    int error = request_path(XS_READ, transaction, folder, node, NULL, &reply, &reply_bytes);
    if (error != 0)
        return error;
    error = store_number_parse(reply, reply_bytes, max, number);
    kfree(reply);
    return error;
}

uint64_t xen_store_number_or(const char *folder, const char *node, uint64_t max, uint64_t otherwise)
{
    uint64_t number;
    int error = xen_store_read_number(XEN_STORE_NO_TRANSACTION, folder, node, max, &number);
    return error == 0 ? number : otherwise;
}

int xen_store_write(
    xen_store_transaction transaction, const char *folder, const char *node, const char *value)
{
    char *reply;
    size_t reply_bytes;
    int error = request_path(XS_WRITE, transaction, folder, node, value, &reply, &reply_bytes);
    if (error == 0)
        kfree(reply);
    return error;
}

int xen_store_write_number(
    xen_store_transaction transaction, const char *folder, const char *node, uint64_t number)
{
    char text[24];
    (void)fmt_snprintf(text, sizeof(text), "%lu", number);
    return xen_store_write(transaction, folder, node, text);
}

int xen_store_remove(xen_store_transaction transaction, const char *folder, const char *node)
{
    char *reply;
    size_t reply_bytes;
    int error = request_path(XS_RM, transaction, folder, node, NULL, &reply, &reply_bytes);
    if (error == 0)
        kfree(reply);
    return error;
}

int xen_store_list(const char *path, char **names, size_t *len_bytes)
{
    return request_path(XS_DIRECTORY, XEN_STORE_NO_TRANSACTION, path, NULL, NULL, names, len_bytes);
}

// ---- transactions -------------------------------------------------------------------------------

int xen_store_begin(xen_store_transaction *transaction)
{
    char *reply = kmalloc(STORE_PAYLOAD_MAX + 1, 0);
    if (reply == NULL)
        return -ENOMEM;
    const struct piece nothing = {"", 1};
    size_t reply_bytes;
    uint64_t number = 0;
    int error =
        request(XS_TRANSACTION_START, XEN_STORE_NO_TRANSACTION, &nothing, 1, reply, &reply_bytes);
    if (error == 0)
        error = store_number_parse(reply, strnlen(reply, reply_bytes), UINT32_MAX, &number);
    if (error == 0 && number == XEN_STORE_NO_TRANSACTION)
        error = -EPROTO;
    kfree(reply);
    *transaction = (xen_store_transaction)number;
    return error;
}

static int transaction_end(xen_store_transaction transaction, const char *how)
{
    char *reply = kmalloc(STORE_PAYLOAD_MAX + 1, 0);
    if (reply == NULL)
        return -ENOMEM;
    const struct piece piece = {how, 2};
    size_t reply_bytes;
    int error = request(XS_TRANSACTION_END, transaction, &piece, 1, reply, &reply_bytes);
    kfree(reply);
    return error;
}

int xen_store_commit(xen_store_transaction transaction)
{
    return transaction_end(transaction, "T");
}

void xen_store_abort(xen_store_transaction transaction)
{
    (void)transaction_end(transaction, "F");
}

// ---- watches ------------------------------------------------------------------------------------

static int watch_request(enum xsd_sockmsg_type type, const struct xen_store_watch *watch)
{
    char token[12];
    (void)fmt_snprintf(token, sizeof(token), "%u", watch->token);
    char *reply = kmalloc(STORE_PAYLOAD_MAX + 1, 0);
    if (reply == NULL)
        return -ENOMEM;
    const struct piece pieces[] = {
        {watch->path, strlen(watch->path) + 1}, {token, strlen(token) + 1}};
    size_t reply_bytes;
    int error =
        request(type, XEN_STORE_NO_TRANSACTION, pieces, ARRAY_SIZE(pieces), reply, &reply_bytes);
    kfree(reply);
    return error;
}

int xen_store_watch(
    struct xen_store_watch *watch, const char *path, xen_store_watch_function *changed)
{
    if (strlcpy(watch->path, path, sizeof(watch->path)) >= sizeof(watch->path))
        return -E2BIG;
    watch->changed = changed;
    mutex_lock(&store.watch_lock);
    watch->token = ++store.last_token;
    list_add_tail(&store.watches, &watch->node);
    mutex_unlock(&store.watch_lock);
    int error = watch_request(XS_WATCH, watch);
    if (error != 0) {
        mutex_lock(&store.watch_lock);
        list_remove(&watch->node);
        mutex_unlock(&store.watch_lock);
    }
    return error;
}

void xen_store_unwatch(struct xen_store_watch *watch)
{
    (void)watch_request(XS_UNWATCH, watch);
    mutex_lock(&store.watch_lock);
    list_remove(&watch->node);
    mutex_unlock(&store.watch_lock);
}

static struct store_event *event_take(void)
{
    struct store_event *event = NULL;
    uint64_t flags = spin_lock_irqsave(&store.lock);
    if (!list_is_empty(&store.events)) {
        event = container_of(store.events.next, struct store_event, node);
        list_remove(&event->node);
        store.event_count--;
    }
    spin_unlock_irqrestore(&store.lock, flags);
    return event;
}

static bool has_event(void)
{
    return __atomic_load_n(&store.event_count, __ATOMIC_ACQUIRE) != 0;
}

static void store_thread(void *argument)
{
    (void)argument;
    for (;;) {
        wait_event(&store.thread_wait, has_event());
        struct store_event *event = event_take();
        if (event == NULL)
            continue;
        mutex_lock(&store.watch_lock);
        struct xen_store_watch *watch;
        list_for_each_entry (watch, &store.watches, node) {
            if (watch->token == event->token) {
                watch->changed(watch, event->path);
                break;
            }
        }
        mutex_unlock(&store.watch_lock);
        kfree(event);
    }
}

// ---- start --------------------------------------------------------------------------------------

int xen_store_start(void)
{
    uint64_t frame, event;
    int error = xen_hvm_param_read(HVM_PARAM_STORE_PFN, &frame);
    if (error == 0)
        error = xen_hvm_param_read(HVM_PARAM_STORE_EVTCHN, &event);
    if (error != 0 || frame == 0 || event == 0 || event > UINT32_MAX)
        return -ENODEV;
    store.page = vmap_shared(frame << PAGE_SHIFT, PAGE_SIZE);
    if (store.page == NULL)
        return -ENOMEM;
    store.port = (evtchn_port_t)event;
    error = xen_event_bind_connected(store.port, store_interrupt, NULL, "xenstore");
    if (error == 0)
        error = kthread_create(NULL, "xenstore", store_thread, NULL);
    return error;
}
