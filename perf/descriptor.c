// SPDX-License-Identifier: MIT
// The object by which a collector finds everything (export.h: FINDING IT).
#include "kernel/arch/x86/arch.h"
#include "kernel/arch/x86/firmware.h"
#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/tsc.h"
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/counter.h"
#include "kernel/core/random.h"
#include "kernel/core/trace.h"
#include "mm/page.h"
#include "perf/collector.h"
#include "perf/perf.h"

#include <linux/elf.h>

// Page-aligned and alone in its page: the host writes here. It has initial contents, so that the
// ELF file has it in its data.
struct perf_export_descriptor __aligned(PAGE_SIZE) perf_export_descriptor = {
    .version = PERF_EXPORT_VERSION,
    .size = sizeof(struct perf_export_descriptor),
};

static_assert(PERF_EXPORT_IMAGE_BASE == KERNEL_IMAGE_BASE);
static_assert(PERF_EXPORT_DIRECT_MAP == PHYS_MAP_BASE);
static_assert(sizeof(struct counter_description) == sizeof(struct perf_export_counter));
static_assert(
    offsetof(struct counter_description, percpu) == offsetof(struct perf_export_counter, value));
static_assert(CPU_MAX == PERF_EXPORT_CPUS);

uint32_t perf_apic_id(uint32_t cpu)
{
    return firmware.cpu_apic_ids[cpu];
}

// The kernel's own, from its note: one note, made by the linker.
static void build_id_fill(struct perf_export_descriptor *descriptor)
{
    extern const char build_id_note_start[], build_id_note_end[]; // kernel.lds
    const Elf64_Nhdr *note = (const Elf64_Nhdr *)build_id_note_start;
    size_t len = (size_t)(build_id_note_end - build_id_note_start);
    size_t head = sizeof(*note) + ALIGN_UP(note->n_namesz, 4u);
    if (len < sizeof(*note) || note->n_descsz > sizeof(descriptor->build_id) ||
        head + note->n_descsz > len)
        return;
    descriptor->build_id_len = note->n_descsz;
    memcpy(descriptor->build_id, build_id_note_start + head, note->n_descsz);
}

void perf_init(void)
{
    extern const struct counter_description counters_start[], counters_end[]; // kernel.lds
    struct perf_export_descriptor *descriptor = &perf_export_descriptor;
    descriptor->self_physical = kernel_image_to_phys(descriptor);
    descriptor->image_physical = kernel_phys_base;
    descriptor->text_start = (uintptr_t)kernel_image_start;
    descriptor->text_end = (uintptr_t)kernel_text_end;
    descriptor->boot_id = random_word();
    descriptor->tsc_hz = tsc_frequency_hz();
    descriptor->flags = arch_cpu_has(ARCH_TSC_INVARIANT) ? PERF_EXPORT_TSC_INVARIANT : 0;
    descriptor->cpu_count = cpu_count_possible;
    descriptor->counters = (uintptr_t)counters_start;
    descriptor->counters_end = (uintptr_t)counters_end;
    descriptor->percpu_offsets = (uintptr_t)percpu_offset;
    descriptor->tracepoints = (uintptr_t)tracepoints_start;
    descriptor->tracepoints_end = (uintptr_t)tracepoints_end;
    build_id_fill(descriptor);
    perf_collector_init();
    __atomic_store_n(&descriptor->magic, PERF_EXPORT_MAGIC, __ATOMIC_RELEASE);
}
