// SPDX-License-Identifier: MIT
// The paravirtual clock of KVM and Xen: a page that the hypervisor keeps up to date says how the
// TSC of a vCPU becomes nanoseconds.
//
//   ns = system_time + ((tsc - tsc_timestamp) << tsc_shift, or >> -tsc_shift) * mul >> 32
//
// `version` is odd while the hypervisor writes and changes with every write: a reader takes what it
// saw only if the version was even and the same before and after. With the flag
// XEN_PVCLOCK_TSC_STABLE_BIT (which KVM defines alike) every vCPU may use any vCPU's page, and all
// get the same clock. The arithmetic is that of Xen's public header, xen/xen.h, and of
// Documentation/virt/kvm/x86/msr.rst (MSR_KVM_SYSTEM_TIME_NEW).
//
// Everything is inline, as kernel, vDSO and host tests compile it each for their own side.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <xen/xen.h>

static_assert(sizeof(struct vcpu_time_info) == 32);
#define PVCLOCK_ONE_SECOND 1000000000u

// Reads the TSC, not before all earlier loads are done.
typedef uint64_t pvclock_tsc_function(void);

// Ticks to nanoseconds. Of a shift that makes no sense the low six bits count, as the processor's
// shift has it.
static inline __attribute__((always_inline)) uint64_t pvclock_scale(
    uint64_t ticks, uint32_t mul, int8_t shift)
{
    ticks = shift >= 0 ? ticks << (shift & 63) : ticks >> (-shift & 63);
    return (uint64_t)(((unsigned __int128)ticks * mul) >> 32);
}

// One attempt. False: the hypervisor was writing, try again; then *ns and *flags mean nothing.
static inline __attribute__((always_inline)) bool pvclock_try_read(
    const volatile struct vcpu_time_info *page, pvclock_tsc_function *tsc, uint64_t *ns,
    uint8_t *flags)
{
    uint32_t version = __atomic_load_n(&page->version, __ATOMIC_ACQUIRE);
    // A TSC slightly behind the time stamp (another vCPU's, or read early) counts as equal.
    uint64_t ticks = tsc() - page->tsc_timestamp;
    if (__builtin_expect((int64_t)ticks < 0, 0))
        ticks = 0;
    *ns = page->system_time + pvclock_scale(ticks, page->tsc_to_system_mul, page->tsc_shift);
    *flags = page->flags;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __builtin_expect((version & 1) == 0 && page->version == version, 1);
}

// The TSC value at which the clock of the page will be `ns`, rounded up; 0 if that is over,
// UINT64_MAX if it is out of reach. Uses what `parameters` says: a copy that belongs together.
uint64_t pvclock_tsc_of(const struct vcpu_time_info *parameters, uint64_t ns);

// A copy that belongs together, in at most `tries` attempts. False: it never settles.
bool pvclock_snapshot(
    const volatile struct vcpu_time_info *page, uint32_t tries, struct vcpu_time_info *copy);
// The time of a copy at TSC value `tsc`.
uint64_t pvclock_ns_at(const struct vcpu_time_info *parameters, uint64_t tsc);
// TSC ticks a second that the parameters mean; 0 if they mean nothing sensible (no multiplier, a
// shift that no TSC needs).
uint64_t pvclock_tsc_hz(const struct vcpu_time_info *parameters);

// KVM's wall clock at boot (MSR_KVM_WALL_CLOCK_NEW, Documentation/virt/kvm/x86/msr.rst); Xen has
// the same three words in struct shared_info, wc_version and on. Real time = this + pvclock.
struct pvclock_wall {
    uint32_t version, seconds, ns;
};
static_assert(sizeof(struct pvclock_wall) == 12);
// Nanoseconds since 1970 at time 0 of the pvclock; negative: it never settles, or is nonsense.
int64_t pvclock_wall_ns(const volatile struct pvclock_wall *wall, uint32_t tries);
