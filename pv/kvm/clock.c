// SPDX-License-Identifier: MIT
// KVM's clocks.
//
// The monotonic clock is the clock page of vCPU 0, which all CPUs and programs read as long as it
// carries the flag that TSCs are the same everywhere (KVM's master clock): no exit, nothing
// shared is written. Without the flag each CPU reads its own page, and a common highest value keeps
// the clock from going back between CPUs; programs ask the kernel then. The flag is looked at in
// each reading: a guest may be carried to a host where it is gone.
//
// The host is not trusted to finish an update: a reader tries a bounded number of times and then
// goes on with the parameters that were seen at the start. kvm_clock counts from where the native
// clock was when it took over.

#include "kernel/arch/x86/apic.h"
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/assert.h"
#include "kernel/core/log.h"
#include "kernel/core/time.h"
#include "pv/apic_timer.h"
#include "pv/kvm/kvm.h"

#include <linux/errno.h>

#define TRIES_START 1000000 // an update takes microseconds
#define TRIES_READ  10000
#define TRIES_WALL  1000000

COUNTER(kvm, clock_unsettled); // readings that the host did not let settle

// The page of vCPU 0, alone in its page of memory: programs see it.
static union {
    struct vcpu_time_info time;
    uint8_t page[PAGE_SIZE];
} boot_page __aligned(PAGE_SIZE);

PV_READ_ONLY_AFTER_INIT static struct {
    struct vcpu_time_info first; // what the page said at the start; version 0: it is not used
    uint64_t base_ns;            // pvclock when our clock was 0, modulo 2^64
    uint32_t msr;
    uint8_t stable_flag; // XEN_PVCLOCK_TSC_STABLE_BIT, or 0 when the host's flags mean nothing
} kvm_time = {0};

static uint64_t clock_highest_ns; // without the flag: what any CPU has read; atomic

static const volatile struct vcpu_time_info *own_page(void)
{
    return cpu_current() == 0 ? &boot_page.time : &this_cpu_ptr(kvm_shared)->time;
}

// The page to read now, from where the TSC is that belongs to it. Interrupts off.
static const volatile struct vcpu_time_info *page_here(void)
{
    if (boot_page.time.flags & kvm_time.stable_flag)
        return &boot_page.time;
    return own_page();
}

static bool page_read(const volatile struct vcpu_time_info *page, uint64_t *ns, uint8_t *flags)
{
    for (int tries = 0; tries < TRIES_READ; tries++) {
        if (pvclock_try_read(page, arch_tsc_ordered, ns, flags))
            return true;
        arch_pause();
    }
    return false;
}

// An update is under way, or the page is not the same for all CPUs.
static __noinline uint64_t clock_slow_ns(void)
{
    uint64_t ns;
    uint8_t flags;
    if (page_read(&boot_page.time, &ns, &flags) && (flags & kvm_time.stable_flag) != 0)
        return ns - kvm_time.base_ns;
    uint64_t irq_flags = arch_irq_save();
    if (!page_read(own_page(), &ns, &flags)) {
        counter_add(kvm, clock_unsettled, 1);
        ns = pvclock_ns_at(&kvm_time.first, arch_tsc_ordered());
    }
    arch_irq_restore(irq_flags);
    uint64_t highest = atomic_load_relaxed(&clock_highest_ns);
    do {
        if (ns <= highest)
            return highest - kvm_time.base_ns;
    } while (!atomic_cmpxchg(&clock_highest_ns, &highest, ns));
    return ns - kvm_time.base_ns;
}

uint64_t kvm_clock_ns(void)
{
    uint64_t ns;
    uint8_t flags;
    if (likely(pvclock_try_read(&boot_page.time, arch_tsc_ordered, &ns, &flags) &&
               (flags & kvm_time.stable_flag) != 0))
        return ns - kvm_time.base_ns;
    return clock_slow_ns();
}

void kvm_timer_arm(uint64_t deadline_ns)
{
    if (pv_apic_timer_stops(deadline_ns))
        return;
    struct vcpu_time_info parameters;
    if (unlikely(!pvclock_snapshot(page_here(), TRIES_READ, &parameters)))
        parameters = kvm_time.first;
    uint64_t ns;
    if (__builtin_add_overflow(deadline_ns, kvm_time.base_ns, &ns) && kvm_time.base_ns <= INT64_MAX)
        ns = UINT64_MAX;
    apic_timer_arm(pvclock_tsc_of(&parameters, ns));
}

void kvm_user_clock(struct pv_user_clock *clock)
{
    bool same_for_all = boot_page.time.flags & kvm_time.stable_flag;
    *clock = (struct pv_user_clock){
        .kind = same_for_all ? PV_USER_CLOCK_PVCLOCK : PV_USER_CLOCK_NONE,
        .base_ns = kvm_time.base_ns,
    };
}

uint64_t kvm_user_clock_page(void)
{
    return kvm_phys(&boot_page);
}

bool kvm_clock_refine(void)
{
    return false;
}

const char *kvm_clock_start(void)
{
    if (kvm_offers(KVM_FEATURE_CLOCKSOURCE2))
        kvm_time.msr = MSR_KVM_SYSTEM_TIME_NEW;
    else if (kvm_offers(KVM_FEATURE_CLOCKSOURCE))
        kvm_time.msr = MSR_KVM_SYSTEM_TIME;
    else
        return "not offered";
    if (kvm_offers(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT))
        kvm_time.stable_flag = XEN_PVCLOCK_TSC_STABLE_BIT;
    uint64_t value = kvm_phys(&boot_page) | KVM_MSR_ENABLED;
    if (msr_write_safe(kvm_time.msr, value) != 0)
        return "the host refuses its register";
    bool settled = pvclock_snapshot(&boot_page.time, TRIES_START, &kvm_time.first);
    if (!settled || kvm_time.first.version == 0 || pvclock_tsc_hz(&kvm_time.first) == 0) {
        kvm_msr_write(kvm_time.msr, 0);
        kvm_time.first = (struct vcpu_time_info){0};
        return settled ? "its page says nothing sensible" : "its version never settles";
    }
    log_debug("kvm: clock: TSC %lu, %lu ns, multiplier %u, shift %d, flags %u",
        kvm_time.first.tsc_timestamp, kvm_time.first.system_time, kvm_time.first.tsc_to_system_mul,
        kvm_time.first.tsc_shift, kvm_time.first.flags);
    kvm_time.base_ns = pvclock_ns_at(&kvm_time.first, arch_tsc_ordered()) - tsc_clock_ns();
    return NULL;
}

void kvm_clock_online(uint32_t cpu)
{
    if (cpu == 0)
        return; // since kvm_clock_start()
    uint64_t value = kvm_phys(&this_cpu_ptr(kvm_shared)->time) | KVM_MSR_ENABLED;
    kvm_msr_write(kvm_time.msr, value);
}

void kvm_clock_offline(void)
{
    // The boot CPU's page is everybody's clock: it stays until there is nobody to read it.
    kvm_msr_write(kvm_time.msr, 0);
}

// ---- time of day --------------------------------------------------------------------------------

PV_READ_ONLY_AFTER_INIT static uint32_t wall_msr = 0;
static struct pvclock_wall wall __aligned(16);
static struct kvm_clock_pairing pairing __aligned(64);

const char *kvm_wall_clock_start(void)
{
    if (kvm_time.first.version == 0)
        return "needs kvm-clock";
    wall_msr = kvm_offers(KVM_FEATURE_CLOCKSOURCE2) ? MSR_KVM_WALL_CLOCK_NEW : MSR_KVM_WALL_CLOCK;
    return NULL;
}

// The host writes once, when it is asked; nothing stays registered.
int64_t kvm_wall_clock_ns(uint64_t *at_ns)
{
    wall.version = 1;
    if (msr_write_safe(wall_msr, kvm_phys(&wall)) != 0)
        return -EIO;
    *at_ns = -kvm_time.base_ns; // our clock at 0 of the host's
    return pvclock_wall_ns(&wall, TRIES_WALL);
}

const char *kvm_pairing_start(void)
{
    if (kvm_time.first.version == 0)
        return "needs kvm-clock";
    uint64_t at_ns;
    int64_t ns = kvm_pairing_ns(&at_ns);
    return ns == -KVM_EOPNOTSUPP ? "the host's own clock is not the TSC"
           : ns < 0              ? "not offered"
                                 : NULL;
}

int64_t kvm_pairing_ns(uint64_t *at_ns)
{
    struct vcpu_time_info parameters;
    int64_t error =
        kvm_hypercall(KVM_HC_CLOCK_PAIRING, kvm_phys(&pairing), KVM_CLOCK_PAIRING_WALLCLOCK, 0, 0);
    if (error != 0)
        return error < 0 ? error : -EIO;
    if (pairing.sec < 0 || pairing.sec > INT64_MAX / (int64_t)NS_PER_SECOND - 1 ||
        pairing.nsec < 0 || pairing.nsec >= (int64_t)NS_PER_SECOND)
        return -EINVAL;
    if (!pvclock_snapshot(&boot_page.time, TRIES_READ, &parameters))
        return -EAGAIN;
    *at_ns = pvclock_ns_at(&parameters, pairing.tsc) - kvm_time.base_ns;
    return pairing.sec * (int64_t)NS_PER_SECOND + pairing.nsec;
}
