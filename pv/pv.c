// SPDX-License-Identifier: MIT
// Which hypervisor drives the machine: chosen once, then constant. select.c decides; here is where
// the result lies and how it is shown.

#include "pv/pv.h"

#include "kernel/arch/x86/cpu.h"
#include "kernel/base/assert.h"
#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include "kernel/core/log.h"
#include "pv/select.h"

#define COUNTER_PREFIX "pv."

PV_READ_ONLY_AFTER_INIT struct pv_ops pv_ops = {0};
PV_READ_ONLY_AFTER_INIT bool pv_faults_asked = false;
PV_READ_ONLY_AFTER_INIT bool pv_has_steal = false;
PV_READ_ONLY_AFTER_INIT uint64_t pv_idle_poll_ns = 0;

static struct pv_selection selection; // changed until pv_init_late() is over

static const char *only = "";
BOOT_OPTION_STRING(only, "pv",
    "Use this backend (kvm, xen) or none besides native (native), whatever else the hypervisor "
    "offers. Default: what CPUID names.");

COUNTER(pv, ipis);
COUNTER(pv, ipi_targets);
COUNTER(pv, flush_requests);
COUNTER(pv, flush_targets);
COUNTER(pv, flush_targets_skipped);
COUNTER(pv, hypercalls);
COUNTER(pv, timer_arms);
COUNTER(pv, timer_arms_suppressed);
COUNTER(pv, eois);
COUNTER(pv, eois_without_exit);
COUNTER(pv, lock_waits);
COUNTER(pv, lock_kicks);
COUNTER(pv, yields);
COUNTER(pv, async_faults);

extern const struct pv_backend *const pv_backends_start[], *const pv_backends_end[]; // kernel.lds

void pv_start(void)
{
    for (const struct pv_backend *const *at = pv_backends_start; at < pv_backends_end; at++) {
        if ((*at)->detect == NULL)
            pv_ops_copy(&pv_ops, &(*at)->ops);
    }
    assert(pv_ops.clock_ns != NULL);
    assert(pv_ops.shutdown != NULL);
}

static struct pv_cpuid cpuid_of_processor(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid result = cpuid_read(leaf, subleaf);
    return (struct pv_cpuid){result.eax, result.ebx, result.ecx, result.edx};
}

void pv_init(void)
{
    pv_select(&selection, &pv_ops, pv_backends_start, (size_t)(pv_backends_end - pv_backends_start),
        only, cpuid_of_processor);
    size_t sites = arch_call_sites_patch();
    if (selection.refused != NULL)
        log_warning("pv: %s is not used: %s", selection.refused_name, selection.refused);
    log_info("pv: %s, %zu call sites", selection.backend->name, sites);
}

extern const struct pv_front_end *const pv_front_ends_start[], *const pv_front_ends_end[];

void pv_start_front_ends(void)
{
    for (const struct pv_front_end *const *at = pv_front_ends_start; at < pv_front_ends_end; at++) {
        if (strcmp((*at)->backend, selection.backend->name) == 0)
            (*at)->start();
    }
}

void pv_init_late(void)
{
    if (selection.backend->init_late != NULL)
        selection.backend->init_late();
    pv_ops.cpu_online(0);
}

void pv_native_shutdown(enum pv_shutdown reason, uint32_t code)
{
    selection.native->ops.shutdown(reason, code);
}

bool pv_feature_is_on(const struct pv_feature *feature)
{
    const char **why = pv_selection_why(&selection, feature);
    return why != NULL && *why == NULL;
}

void pv_feature_fail(const struct pv_feature *feature, const char *why)
{
    const char **place = pv_selection_why(&selection, feature);
    assert(place != NULL);
    if (*place == NULL)
        *place = why;
}

// ---- description --------------------------------------------------------------------------------

struct description {
    void (*line)(void *context, const char *text);
    void *context;
};

static void __printf_like(2, 3) describe(const struct description *to, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    (void)fmt_vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    to->line(to->context, text);
}

static void describe_features(
    const struct description *to, const struct pv_backend *backend, const char **why)
{
    for (uint32_t i = 0; i < backend->feature_count; i++) {
        if (why[i] == NULL)
            describe(to, "feature %s on", backend->features[i].name);
        else
            describe(to, "feature %s off: %s", backend->features[i].name, why[i]);
    }
}

static void describe_counter(const char *name, uint64_t value, void *context)
{
    if (strncmp(name, COUNTER_PREFIX, sizeof(COUNTER_PREFIX) - 1) == 0)
        describe(context, "count %s %lu", name + sizeof(COUNTER_PREFIX) - 1, value);
}

void pv_describe(void (*line)(void *context, const char *text), void *context)
{
    struct description to = {line, context};
    describe(&to, "backend %s", selection.backend->name);
    if (selection.refused != NULL)
        describe(&to, "refused %s: %s", selection.refused_name, selection.refused);
    for (uint32_t i = 0; i < selection.identity.count; i++) {
        const struct pv_identity_block *block = &selection.identity.blocks[i];
        describe(&to, "hypervisor %s at %#x, leaves up to %#x", block->signature, block->base,
            block->last);
    }
    describe_features(&to, selection.native, selection.why[0]);
    if (selection.backend != selection.native)
        describe_features(&to, selection.backend, selection.why[1]);
    counter_for_each(describe_counter, &to);
}
