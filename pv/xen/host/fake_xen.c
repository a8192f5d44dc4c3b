// SPDX-License-Identifier: MIT
#include "pv/xen/host/fake_xen.h"

#include "kernel/base/assert.h"
#include "kernel/base/atomic.h"
#include "kernel/base/bitmap.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "pv/xen/hypercall.h"

#include <xen/features.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/version.h>

struct fake_xen fake_xen;

void fake_xen_create(void)
{
    fake_xen = (struct fake_xen){
        .first_free = 3, // console and xenstore
        .features = BIT(XENFEAT_hvm_callback_vector) | BIT(XENFEAT_hvm_safe_pvclock),
    };
    fake_xen.ports[1] = fake_xen.ports[2] = (struct fake_port){.kind = FAKE_INTERDOMAIN};
    fake_xen.is_up[0] = true;
}

struct vcpu_info *fake_xen_info(uint32_t vcpu)
{
    return fake_xen.info[vcpu] != NULL ? fake_xen.info[vcpu] : &fake_xen.shared.vcpu_info[vcpu];
}

event_word_t *fake_xen_word(evtchn_port_t port)
{
    return port / 1024 < fake_xen.page_count ? &fake_xen.pages[port / 1024][port % 1024] : NULL;
}

// ---- event channels -----------------------------------------------------------------------------

static void upcall(uint32_t vcpu)
{
    fake_xen_info(vcpu)->evtchn_upcall_pending = 1;
}

static void fifo_raise(evtchn_port_t port, uint32_t vcpu)
{
    event_word_t *word = fake_xen_word(port);
    if (word == NULL)
        return;
    event_word_t old = atomic_fetch_or(word, 1u << EVTCHN_FIFO_PENDING);
    if (old & (1u << EVTCHN_FIFO_MASKED | 1u << EVTCHN_FIFO_LINKED))
        return;
    uint32_t queue = EVTCHN_FIFO_PRIORITY_DEFAULT;
    uint32_t last = fake_xen.last_vcpu[port];
    if (fake_xen.tail[last][queue] == port) // that queue is empty
        fake_xen.tail[last][queue] = 0;
    fake_xen.last_vcpu[port] = vcpu;
    atomic_fetch_or(word, 1u << EVTCHN_FIFO_LINKED);
    event_word_t *tail = fake_xen_word(fake_xen.tail[vcpu][queue]);
    bool linked = false;
    if (fake_xen.tail[vcpu][queue] != 0 && (*tail & 1u << EVTCHN_FIFO_LINKED)) {
        *tail = (*tail & ~(uint32_t)EVTCHN_FIFO_LINK_MASK) | port;
        linked = true;
    }
    fake_xen.tail[vcpu][queue] = port;
    if (linked)
        return;
    fake_xen.control[vcpu]->head[queue] = port;
    fake_xen.control[vcpu]->ready |= 1u << queue;
    upcall(vcpu);
}

static void level2_raise(evtchn_port_t port, uint32_t vcpu)
{
    struct shared_info *shared = &fake_xen.shared;
    if (bitmap_test_and_set_atomic(shared->evtchn_pending, port) ||
        bitmap_test(shared->evtchn_mask, port))
        return;
    fake_xen_info(vcpu)->evtchn_pending_sel |= 1ul << (port / 64);
    upcall(vcpu);
}

void fake_xen_raise(evtchn_port_t port)
{
    if (fake_xen.fifo)
        fifo_raise(port, fake_xen.ports[port].vcpu);
    else
        level2_raise(port, fake_xen.ports[port].vcpu);
}

static long unmask(evtchn_port_t port)
{
    if (fake_xen.fifo) {
        event_word_t *word = fake_xen_word(port);
        if (word == NULL)
            return -EINVAL;
        atomic_fetch_and(word, ~(1u << EVTCHN_FIFO_MASKED));
        if (*word & 1u << EVTCHN_FIFO_PENDING)
            fifo_raise(port, fake_xen.ports[port].vcpu);
        return 0;
    }
    struct shared_info *shared = &fake_xen.shared;
    if (bitmap_test_and_clear_atomic(shared->evtchn_mask, port) &&
        bitmap_test_and_clear_atomic(shared->evtchn_pending, port))
        level2_raise(port, fake_xen.ports[port].vcpu);
    return 0;
}

static long port_new(int kind, uint32_t vcpu, evtchn_port_t *result)
{
    if (vcpu >= HOST_CPUS)
        return -ENOENT;
    for (evtchn_port_t port = fake_xen.first_free; port < FAKE_PORTS; port++) {
        if (fake_xen.ports[port].kind != FAKE_FREE)
            continue;
        fake_xen.ports[port] = (struct fake_port){.kind = kind, .vcpu = vcpu};
        *result = port;
        return 0;
    }
    return -ENOSPC;
}

static bool is_taken(evtchn_port_t port)
{
    return port < FAKE_PORTS && fake_xen.ports[port].kind != FAKE_FREE;
}

static long port_close(evtchn_port_t port)
{
    if (!is_taken(port))
        return -EINVAL;
    fake_xen.ports[port].kind = FAKE_FREE;
    event_word_t *word = fake_xen_word(port);
    if (fake_xen.fifo && word != NULL)
        atomic_fetch_and(word, ~(1u << EVTCHN_FIFO_PENDING));
    else
        bitmap_clear_atomic(fake_xen.shared.evtchn_pending, port);
    return 0;
}

static long init_control(struct evtchn_init_control *init)
{
    if (init->vcpu >= HOST_CPUS || fake_xen.control[init->vcpu] != NULL ||
        init->offset > PAGE_SIZE - sizeof(struct evtchn_fifo_control_block))
        return -EINVAL;
    fake_xen.control[init->vcpu] =
        (void *)(uintptr_t)((init->control_gfn << PAGE_SHIFT) + init->offset);
    fake_xen.fifo = true;
    init->link_bits = EVTCHN_FIFO_LINK_BITS;
    return 0;
}

static long bind_vcpu(const struct evtchn_bind_vcpu *bind)
{
    if (!is_taken(bind->port) || bind->vcpu >= HOST_CPUS)
        return -EINVAL;
    if (fake_xen.ports[bind->port].kind == FAKE_IPI || fake_xen.ports[bind->port].kind == FAKE_VIRQ)
        return -EINVAL; // a CPU's own
    fake_xen.ports[bind->port].vcpu = bind->vcpu;
    return 0;
}

static long status(struct evtchn_status *status)
{
    if (status->port >= FAKE_PORTS)
        return -EINVAL;
    static const uint32_t words[] = {[FAKE_FREE] = EVTCHNSTAT_closed,
        [FAKE_VIRQ] = EVTCHNSTAT_virq,
        [FAKE_IPI] = EVTCHNSTAT_ipi,
        [FAKE_UNBOUND] = EVTCHNSTAT_unbound,
        [FAKE_INTERDOMAIN] = EVTCHNSTAT_interdomain};
    status->status = words[fake_xen.ports[status->port].kind];
    return 0;
}

static long event_op(unsigned command, void *argument)
{
    switch (command) {
    case EVTCHNOP_bind_virq: {
        struct evtchn_bind_virq *bind = argument;
        return port_new(FAKE_VIRQ, bind->vcpu, &bind->port);
    }
    case EVTCHNOP_bind_ipi: {
        struct evtchn_bind_ipi *bind = argument;
        return port_new(FAKE_IPI, bind->vcpu, &bind->port);
    }
    case EVTCHNOP_alloc_unbound: {
        struct evtchn_alloc_unbound *bind = argument;
        return port_new(FAKE_UNBOUND, 0, &bind->port);
    }
    case EVTCHNOP_bind_interdomain: {
        struct evtchn_bind_interdomain *bind = argument;
        return port_new(FAKE_INTERDOMAIN, 0, &bind->local_port);
    }
    case EVTCHNOP_close:
        return port_close(((struct evtchn_close *)argument)->port);
    case EVTCHNOP_send: {
        evtchn_port_t port = ((struct evtchn_send *)argument)->port;
        if (!is_taken(port))
            return -EINVAL;
        fake_xen.ports[port].sent++;
        if (fake_xen.ports[port].kind == FAKE_IPI)
            fake_xen_raise(port);
        return 0;
    }
    case EVTCHNOP_status:
        return status(argument);
    case EVTCHNOP_unmask:
        return unmask(((struct evtchn_unmask *)argument)->port);
    case EVTCHNOP_bind_vcpu:
        return bind_vcpu(argument);
    case EVTCHNOP_init_control:
        return init_control(argument);
    case EVTCHNOP_expand_array:
        if (!fake_xen.fifo || fake_xen.page_count == ARRAY_SIZE(fake_xen.pages))
            return -ENOSPC;
        fake_xen.pages[fake_xen.page_count++] =
            (void *)(uintptr_t)(((struct evtchn_expand_array *)argument)->array_gfn << PAGE_SHIFT);
        return 0;
    default:
        return -ENOSYS;
    }
}

// ---- hypercalls ---------------------------------------------------------------------------------

// Does this one fail? Then *result says how.
static bool refuse(unsigned number, long *result)
{
    fake_xen.hypercalls++;
    *result = fake_xen.fail_with;
    if (fake_xen.hypercalls == fake_xen.fail_at)
        return true;
    *result = -ENOSYS;
    return (fake_xen.refused_calls >> number & 1) != 0;
}

long xen_page_event_channel_op(unsigned command, void *argument)
{
    long result;
    if (refuse(__HYPERVISOR_event_channel_op, &result))
        return result;
    return fake_xen.refused_event_op >> command & 1 ? -ENOSYS : event_op(command, argument);
}

static long vcpu_op(unsigned command, unsigned vcpu, void *argument)
{
    switch (command) {
    case VCPUOP_register_vcpu_info: {
        struct vcpu_register_vcpu_info *place = argument;
        if (fake_xen.info[vcpu] != NULL || place->offset > PAGE_SIZE - sizeof(struct vcpu_info))
            return -EINVAL;
        struct vcpu_info *info = (void *)(uintptr_t)((place->mfn << PAGE_SHIFT) + place->offset);
        *info = fake_xen.shared.vcpu_info[vcpu];
        info->evtchn_upcall_pending = 1;
        fake_xen.info[vcpu] = info;
        return 0;
    }
    case VCPUOP_register_runstate_memory_area:
        fake_xen.run_state[vcpu] = ((struct vcpu_register_runstate_memory_area *)argument)->addr.v;
        return 0;
    case VCPUOP_set_singleshot_timer:
        fake_xen.timer_ns[vcpu] = ((struct vcpu_set_singleshot_timer *)argument)->timeout_abs_ns;
        return 0;
    case VCPUOP_stop_singleshot_timer:
        fake_xen.timer_ns[vcpu] = 0;
        return 0;
    case VCPUOP_stop_periodic_timer:
    case VCPUOP_register_vcpu_time_memory_area:
        return 0;
    case VCPUOP_initialise:
        return fake_xen.is_up[vcpu] ? -EEXIST : 0;
    case VCPUOP_up:
        fake_xen.is_up[vcpu] = true;
        return 0;
    default:
        return -ENOSYS;
    }
}

long xen_page_vcpu_op(unsigned command, unsigned vcpu, void *argument)
{
    long result;
    if (refuse(__HYPERVISOR_vcpu_op, &result))
        return result;
    if (vcpu >= HOST_CPUS)
        return -ENOENT;
    return fake_xen.refused_vcpu_op >> command & 1 ? -ENOSYS : vcpu_op(command, vcpu, argument);
}

long xen_page_memory_op(unsigned command, void *argument)
{
    long result;
    if (refuse(__HYPERVISOR_memory_op, &result))
        return result;
    const struct xen_add_to_physmap *add = argument;
    return command == XENMEM_add_to_physmap && add->space == XENMAPSPACE_shared_info ? 0 : -ENOSYS;
}

long xen_page_multicall(multicall_entry_t *calls, unsigned count)
{
    long result;
    if (refuse(__HYPERVISOR_multicall, &result))
        return result;
    fake_xen.multicalls++;
    for (unsigned i = 0; i < count; i++) {
        assert(calls[i].op == __HYPERVISOR_event_channel_op);
        calls[i].result =
            (xen_ulong_t)event_op((unsigned)calls[i].args[0], (void *)calls[i].args[1]);
    }
    return 0;
}

long xen_page_xen_version(unsigned command, void *argument)
{
    long result;
    if (refuse(__HYPERVISOR_xen_version, &result))
        return result;
    if (command != XENVER_get_features)
        return -ENOSYS;
    struct xen_feature_info *info = argument;
    info->submap = info->submap_idx == 0 ? fake_xen.features : 0;
    return 0;
}

long xen_page_console_io(unsigned command, unsigned count, void *buffer)
{
    long result;
    if (refuse(__HYPERVISOR_console_io, &result))
        return result;
    return -EPERM; // as release builds
}

long xen_page_vm_assist(unsigned command, unsigned type)
{
    long result;
    return refuse(__HYPERVISOR_vm_assist, &result) ? result : 0;
}

long xen_page_sched_op(unsigned command, void *argument)
{
    long result;
    if (refuse(__HYPERVISOR_sched_op, &result))
        return result;
    if (command == SCHEDOP_shutdown)
        fake_xen.shutdown_reason = ((struct sched_shutdown *)argument)->reason;
    else if (command == SCHEDOP_poll)
        fake_xen.polls++;
    else if (command != SCHEDOP_yield)
        return -ENOSYS;
    return 0;
}

long xen_page_hvm_op(unsigned command, void *argument)
{
    long result;
    if (refuse(__HYPERVISOR_hvm_op, &result))
        return result;
    if (command == HVMOP_flush_tlbs) {
        fake_xen.flushes++;
    } else if (command == HVMOP_set_evtchn_upcall_vector) {
        const struct xen_hvm_evtchn_upcall_vector *set = argument;
        if (set->vcpu >= HOST_CPUS)
            return -ENOENT;
        fake_xen.vcpu_vector[set->vcpu] = set->vector;
    } else if (command == HVMOP_set_param) {
        const struct xen_hvm_param *param = argument;
        if (param->index != HVM_PARAM_CALLBACK_IRQ)
            return -EINVAL;
        fake_xen.callback_vector = (uint8_t)param->value;
    } else {
        return -ENOSYS;
    }
    return 0;
}
