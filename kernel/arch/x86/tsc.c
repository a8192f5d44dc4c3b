// SPDX-License-Identifier: MIT
// The time stamp counter as a clock.
//
// Its frequency comes, in this order, from the hypervisor (CPUID 0x40000010, which VMware defined
// and QEMU gives with KVM), from CPUID 0x15, or from comparison with the PIT (1.193182 MHz).
// Nothing is waited for: the PIT is read at the very start (twice: the rough figure between the two
// tells a long pause of the vCPU later on from a fast counter), again when the clock is first
// needed, and later by timers (10 ms, 100 ms, 1 s...). Each reading makes the window longer and the
// frequency better. The PIT's 16 bits go round every 54.9 ms; how often they did in between follows
// from the frequency known until then, so the first two readings have to be less than that apart.
//
// The parameters of the clock exist twice and readers use the copy that is not being written
// (sequence bit 0), so that an NMI in the middle of an update reads a good one, and nobody ever
// waits.

#include "kernel/arch/x86/tsc.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/cpu.h"
#include "kernel/arch/x86/io.h"
#include "kernel/base/atomic.h"
#include "kernel/core/log.h"

#define PIT_HZ        1193182
#define PIT_CHANNEL0  0x40
#define PIT_COMMAND   0x43
#define PIT_RATE_MODE 0x34 // channel 0, both bytes, mode 2
#define PIT_LATCH0    0x00
#define PIT_PERIOD    65536

#define PIT_TICKS_MIN  3      // fewer tell nothing
#define READ_GAP_TICKS 100000 // a longer reading is tried again: 33 us at 3 GHz

#define HZ_MIN   UINT64_C(10000000)
#define HZ_MAX   UINT64_C(20000000000)
#define HZ_GUESS UINT64_C(1000000000) // without any reference at all

#define CPUID_HYPERVISOR        0x40000000
#define CPUID_HYPERVISOR_TIMING 0x40000010

enum source { SOURCE_NONE, SOURCE_EXACT, SOURCE_PIT };

static struct {
    enum source source;
    uint64_t hz;
    // the last reading, and sums from the first one on
    uint64_t last_tsc;
    uint16_t last_pit;
    uint64_t total_tsc;
    uint64_t total_pit;
} reference;

static struct {
    uint32_t sequence; // readers use copy[sequence & 1]
    struct tsc_parameters copy[2];
} clock;

// a * b / divisor, UINT64_MAX if that does not fit. One MUL, one DIV: the compiler would call a
// library.
static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t divisor)
{
    uint64_t low;
    uint64_t high;
    asm("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "r"(b) : "cc");
    if (high >= divisor)
        return UINT64_MAX;
    asm("divq %2" : "+a"(low), "+d"(high) : "r"(divisor) : "cc");
    return low;
}

static uint16_t pit_read(void)
{
    arch_out8(PIT_COMMAND, PIT_LATCH0);
    uint8_t low = arch_in8(PIT_CHANNEL0);
    return (uint16_t)(low | arch_in8(PIT_CHANNEL0) << 8);
}

// The PIT and the TSC at the same moment: as good as three tries allow, as the vCPU may be stopped
// in between.
static uint16_t reference_read(uint64_t *tsc)
{
    uint16_t best = 0;
    uint64_t best_gap = UINT64_MAX;
    for (int tries = 0; tries < 3 && best_gap > READ_GAP_TICKS; tries++) {
        uint64_t before = arch_tsc_ordered();
        uint16_t pit = pit_read();
        uint64_t gap = arch_tsc_ordered() - before;
        if (gap < best_gap) {
            best_gap = gap;
            best = pit;
            *tsc = before + gap / 2;
        }
    }
    return best;
}

static uint64_t frequency_from_cpuid(void)
{
    struct cpuid leaf = cpuid_read(1, 0);
    if (leaf.ecx & BIT(31)) {
        leaf = cpuid_read(CPUID_HYPERVISOR, 0);
        if (leaf.eax >= CPUID_HYPERVISOR_TIMING) {
            leaf = cpuid_read(CPUID_HYPERVISOR_TIMING, 0);
            if (leaf.eax != 0)
                return (uint64_t)leaf.eax * 1000;
        }
    }
    if (cpuid_read(0, 0).eax >= 0x15) {
        leaf = cpuid_read(0x15, 0); // EBX / EAX: TSC per crystal clock, ECX: crystal's Hz
        if (leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0)
            return (uint64_t)leaf.ecx * leaf.ebx / leaf.eax;
    }
    return 0;
}

// Another reading of the PIT: a better frequency.
static void reference_advance(void)
{
    uint64_t tsc = reference.last_tsc;
    uint16_t pit = reference_read(&tsc);
    uint64_t tsc_delta = tsc - reference.last_tsc;
    uint64_t pit_delta = (uint16_t)(reference.last_pit - pit);
    if (reference.hz != 0) {
        uint64_t expected = mul_div(tsc_delta, PIT_HZ, reference.hz);
        if (expected > pit_delta)
            pit_delta += (expected - pit_delta + PIT_PERIOD / 2) / PIT_PERIOD * PIT_PERIOD;
    }
    reference.last_pit = pit;
    reference.last_tsc = tsc;
    reference.total_tsc += tsc_delta;
    reference.total_pit += pit_delta;
    if (reference.total_pit < PIT_TICKS_MIN)
        return;
    uint64_t hz = mul_div(reference.total_tsc, PIT_HZ, reference.total_pit);
    if (hz >= HZ_MIN && hz <= HZ_MAX)
        reference.hz = hz;
}

void tsc_first_reading(void)
{
    uint64_t hz = frequency_from_cpuid();
    if (hz >= HZ_MIN && hz <= HZ_MAX) {
        reference.source = SOURCE_EXACT;
        reference.hz = hz;
        return;
    }
    arch_out8(PIT_COMMAND, PIT_RATE_MODE);
    arch_out8(PIT_CHANNEL0, 0);
    arch_out8(PIT_CHANNEL0, 0);
    reference.last_pit = reference_read(&reference.last_tsc);
    reference.source = SOURCE_PIT;
    reference_advance();
}

static uint64_t mult_of(uint64_t hz)
{
    return (UINT64_C(1000000000) << 32) / hz;
}

static uint64_t to_ns(const struct tsc_parameters *p, uint64_t tsc)
{
    uint64_t delta = tsc - p->base_tsc;
    // Another CPU has just set a base that lies ahead of our counter
    if (unlikely((int64_t)delta < 0))
        delta = 0;
    return p->base_ns + (uint64_t)(((unsigned __int128)delta * p->mult) >> 32);
}

// Readers keep using the other copy while one is written.
static void parameters_publish(const struct tsc_parameters *parameters)
{
    uint32_t sequence = clock.sequence;
    clock.copy[(sequence + 1) & 1] = *parameters;
    atomic_store_release(&clock.sequence, sequence + 1);
    atomic_fence();
    clock.copy[sequence & 1] = *parameters;
}

void tsc_parameters_read(struct tsc_parameters *parameters)
{
    uint32_t sequence;
    do {
        sequence = atomic_load_acquire(&clock.sequence);
        *parameters = clock.copy[sequence & 1];
        atomic_fence_acquire();
    } while (unlikely(atomic_load_relaxed(&clock.sequence) != sequence));
}

void tsc_init(void)
{
    if (reference.source == SOURCE_PIT) {
        reference_advance();
        if (reference.hz == 0) {
            uint64_t mhz = cpuid_read(0, 0).eax >= 0x16 ? cpuid_read(0x16, 0).eax & 0xffff : 0;
            reference.hz = mhz != 0 ? mhz * 1000000 : HZ_GUESS;
            reference.source = SOURCE_NONE;
        }
    }
    struct tsc_parameters parameters = {
        .base_tsc = arch_tsc(), .base_ns = 0, .mult = mult_of(reference.hz)};
    parameters_publish(&parameters);
}

// From now on the clock runs by the reference's frequency.
static void rate_change(void)
{
    struct tsc_parameters parameters;
    tsc_parameters_read(&parameters);
    uint64_t tsc = arch_tsc();
    parameters.base_ns = to_ns(&parameters, tsc);
    parameters.base_tsc = tsc;
    parameters.mult = mult_of(reference.hz);
    parameters_publish(&parameters);
}

void tsc_use_frequency(uint64_t hz)
{
    if (hz < HZ_MIN || hz > HZ_MAX)
        return;
    reference.source = SOURCE_EXACT;
    reference.hz = hz;
    rate_change();
}

bool tsc_refine(void)
{
    if (reference.source != SOURCE_PIT)
        return false;
    reference_advance();
    rate_change();
    if (reference.total_pit > PIT_PERIOD) // the first ones are not worth a line yet
        log_debug("tsc: %lu kHz", reference.hz / 1000);
    return true;
}

uint64_t tsc_frequency_hz(void)
{
    return reference.hz;
}

uint64_t tsc_clock_ns(void)
{
    uint32_t sequence;
    uint64_t ns;
    do {
        sequence = atomic_load_acquire(&clock.sequence);
        ns = to_ns(&clock.copy[sequence & 1], arch_tsc());
        atomic_fence_acquire();
    } while (unlikely(atomic_load_relaxed(&clock.sequence) != sequence));
    return ns;
}

uint64_t tsc_from_ns(uint64_t ns)
{
    struct tsc_parameters parameters;
    tsc_parameters_read(&parameters);
    if (ns <= parameters.base_ns)
        return 0;
    uint64_t delta = mul_div(ns - parameters.base_ns, UINT64_C(1) << 32, parameters.mult);
    if (delta >= INT64_MAX) // a century: never
        return UINT64_MAX;
    // Rounded up, so that the clock has reached `ns` when the counter has reached the result.
    return parameters.base_tsc + delta + 1;
}
