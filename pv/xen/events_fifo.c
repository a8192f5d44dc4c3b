// SPDX-License-Identifier: MIT
// The FIFO interface of event channels (Xen 4.4 and later; <xen/event_channel.h>, "FIFO ABI", and
// Xen's docs/design/event-fifo).
//
// Each port has a word: PENDING, MASKED, LINKED, BUSY and the number of the next port in its queue.
// Each CPU has 16 queues, one a priority; Xen appends a port by writing its number into the last
// one's link, or, if that has been taken off already, into the control block's head, together with
// a bit in `ready`. We take ports off: clearing LINKED and the link in one step either yields the
// next port, or tells Xen that the queue has ended here.
//   F1  Words are changed by us and by Xen at the same time: only by single-bit or compare-and-swap
//       operations.
//   F2  head[q] is the port that is taken next from queue q; 0: where to go on is in the control
//       block. Only the own CPU uses it, with interrupts off.
//   F3  What is in a queue has LINKED set. A link to a word without it, or to a port that has no
//       word, is nonsense: the queue is taken to end there, and it is counted.

#include "pv/xen/events_abi.h"

#include "kernel/base/atomic.h"
#include "kernel/base/bitmap.h"
#include "kernel/core/errno.h"
#include "kernel/core/percpu.h"
#include "mm/page.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"

#define PAGE_WORDS (PAGE_SIZE / sizeof(event_word_t))
#define PAGES      (EVTCHN_FIFO_NR_CHANNELS / PAGE_WORDS)

#define PENDING (1u << EVTCHN_FIFO_PENDING)
#define MASKED  (1u << EVTCHN_FIFO_MASKED)
#define LINKED  (1u << EVTCHN_FIFO_LINKED)
#define BUSY    (1u << EVTCHN_FIFO_BUSY)

#define TRIES_MAX 10000 // of an exchange while Xen changes the word

// A control block must not cross a page: sizes of both powers of two.
#define CONTROL_ALIGNMENT 128
static_assert(sizeof(struct evtchn_fifo_control_block) <= CONTROL_ALIGNMENT);
static PERCPU(struct evtchn_fifo_control_block, fifo_control) __aligned(CONTROL_ALIGNMENT);
static PERCPU(bool, fifo_control_is_known); // to Xen, once in a domain's life; a CPU may come back
struct fifo_heads {
    uint32_t of_queue[EVTCHN_FIFO_MAX_QUEUES];
};
static PERCPU(struct fifo_heads, fifo_heads); // F2

static event_word_t first_page[PAGE_WORDS] __aligned(PAGE_SIZE);
static event_word_t *pages[PAGES]; // set in order, with release; under events_lock
static uint32_t page_count;        // how many Xen has been told of; atomic

static event_word_t *word_of(evtchn_port_t port)
{
    return &atomic_load_acquire(&pages[port / PAGE_WORDS])[port % PAGE_WORDS];
}

// Gives Xen another page of words, all masked.
static int page_add(uint32_t index, event_word_t *page)
{
    for (size_t i = 0; i < PAGE_WORDS; i++)
        page[i] = MASKED;
    struct evtchn_expand_array expand = {.array_gfn = xen_phys_of(page) >> PAGE_SHIFT};
    int error = xen_error(xen_event_channel_op(EVTCHNOP_expand_array, &expand));
    if (error != 0)
        return error;
    atomic_store_release(&pages[index], page);
    atomic_store_release(&page_count, index + 1);
    return 0;
}

static int fifo_reserve(evtchn_port_t port)
{
    for (uint32_t index = page_count; index <= port / PAGE_WORDS; index++) {
        event_word_t *page =
            index == 0 ? first_page : page_alloc_kernel(0, PAGE_ALLOC_ZERO | PAGE_ALLOC_ATOMIC);
        if (page == NULL)
            return -ENOMEM;
        int error = page_add(index, page);
        if (error != 0) {
            if (page != first_page)
                page_free_kernel(page, 0);
            return error;
        }
    }
    return 0;
}

static int fifo_start_cpu(uint32_t cpu, uint32_t vcpu)
{
    struct evtchn_fifo_control_block *control = percpu_of(fifo_control, cpu);
    uint64_t phys = xen_phys_of(control);
    if (*percpu_of(fifo_control_is_known, cpu))
        return 0;
    if (phys % PAGE_SIZE + sizeof(*control) > PAGE_SIZE)
        return -EINVAL;
    struct evtchn_init_control init = {
        .control_gfn = phys >> PAGE_SHIFT, .offset = phys % PAGE_SIZE, .vcpu = vcpu};
    int error = xen_error(xen_event_channel_op(EVTCHNOP_init_control, &init));
    if (error != 0)
        return error;
    if (init.link_bits < EVTCHN_FIFO_LINK_BITS)
        return -EINVAL;
    *percpu_of(fifo_control_is_known, cpu) = true;
    return 0;
}

static void fifo_set_cpu(evtchn_port_t port, uint32_t cpu)
{
    // Xen puts the port into that CPU's queue from now on.
}

static void fifo_mask(evtchn_port_t port)
{
    atomic_fetch_or(word_of(port), MASKED);
}

static bool fifo_unmask(evtchn_port_t port)
{
    event_word_t *word = word_of(port);
    event_word_t old = atomic_load_relaxed(word);
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        if (!(old & MASKED))
            return false;
        if (old & PENDING)
            return true; // it is in no queue: Xen must put it there
        old &= ~BUSY;    // while Xen changes the link, the exchange fails
        if (atomic_cmpxchg(word, &old, old & ~MASKED))
            return false;
        spin_hint();
    }
    return true; // Xen never ends: let it do it
}

static bool fifo_is_pending(evtchn_port_t port)
{
    return (atomic_load(word_of(port)) & PENDING) != 0;
}

static void fifo_clear(evtchn_port_t port)
{
    atomic_fetch_and(word_of(port), ~PENDING);
}

static void fifo_set(evtchn_port_t port)
{
    atomic_fetch_or(word_of(port), PENDING);
}

// Takes the word out of its queue. *next: the port behind it, 0 if it was the last. False: F3.
static bool unlink(event_word_t *word, evtchn_port_t *next)
{
    event_word_t old = atomic_load_relaxed(word);
    do {
        if (unlikely(!(old & LINKED)))
            return false;
    } while (!atomic_cmpxchg(word, &old, old & ~(LINKED | EVTCHN_FIFO_LINK_MASK)));
    *next = old & EVTCHN_FIFO_LINK_MASK;
    return true;
}

// Takes one port from a queue and delivers it. False: the queue is empty.
static bool queue_take(uint32_t queue, struct trap_frame *frame)
{
    uint32_t *head = &this_cpu_ptr(fifo_heads)->of_queue[queue];
    evtchn_port_t port = *head;
    if (port == 0) // F2
        port = atomic_load_acquire(&this_cpu_ptr(fifo_control)->head[queue]);
    evtchn_port_t next = 0;
    if (unlikely(port == 0 || port / PAGE_WORDS >= atomic_load_acquire(&page_count) ||
                 !unlink(word_of(port), &next))) {
        counter_add(xen, bad_ports, 1);
        *head = 0;
        return false;
    }
    *head = next;
    event_word_t word = atomic_load(word_of(port));
    if ((word & PENDING) && !(word & MASKED))
        xen_event_deliver(port, frame);
    return next != 0;
}

static void fifo_scan(struct trap_frame *frame)
{
    uint32_t *shared = &this_cpu_ptr(fifo_control)->ready;
    uint32_t ready = atomic_exchange(shared, 0);
    while ((ready &= (1u << EVTCHN_FIFO_MAX_QUEUES) - 1) != 0) {
        uint32_t queue = bit_lowest(ready); // the highest priority first
        if (!queue_take(queue, frame))
            ready &= ~(1u << queue);
        if (atomic_load_relaxed(shared) != 0)
            ready |= atomic_exchange(shared, 0);
    }
}

const struct xen_event_abi xen_event_fifo = {
    .name = "fifo",
    .port_count = EVTCHN_FIFO_NR_CHANNELS,
    .start_cpu = fifo_start_cpu,
    .reserve = fifo_reserve,
    .set_cpu = fifo_set_cpu,
    .mask = fifo_mask,
    .unmask = fifo_unmask,
    .is_pending = fifo_is_pending,
    .clear = fifo_clear,
    .set = fifo_set,
    .scan = fifo_scan,
};
