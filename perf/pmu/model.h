// SPDX-License-Identifier: MIT
// A model of one CPU's counters, for tests: what CPUID says of them, their registers, their
// interrupt and the local APIC's entry for it. Written from the manuals (Intel SDM 3B chapter 20,
// AMD APM 2 chapter 13.2), not from the driver. Plain C: unit tests use it, and the model VMM
// (tests/pmu_vmm), where a guest's accesses end here.
//
// It knows what really happened: every count that a counter made is also made in `counted`, by the
// event that the counter had selected.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PMU_MODEL_COUNTERS 48 // general from 0, fixed from 32
#define PMU_MODEL_CODES    8  // different events that a test lets happen

struct pmu_model_config {
    const char *name;
    bool amd;
    uint32_t version; // Intel 2 to 5, AMD 1 or 2
    uint32_t general, fixed;
    uint64_t fixed_mask; // version 5: in place of `fixed`
    uint32_t width_bits;
    bool full_width;
    bool core_extension; // AMD
    bool no_freeze;      // DEBUGCTL does not take the bit
    uint32_t late;       // interrupts come so many accesses and events later
};

// Kinds of processors that the driver is tried on.
extern const struct pmu_model_config pmu_model_configs[];
extern const size_t pmu_model_config_count;

struct pmu_model {
    struct pmu_model_config config;
    uint64_t codes[PMU_MODEL_CODES]; // event and unit mask
    uint64_t counted[PMU_MODEL_CODES];
    uint64_t happened[PMU_MODEL_CODES];
    uint64_t overflows; // of counters with their interrupt on
    uint64_t dropped;   // interrupts that met a masked entry, with no other under way
    uint64_t wrong;     // accesses that a processor would not have let pass

    uint64_t select[32], counter[PMU_MODEL_COUNTERS];
    uint64_t fixed_control, global_control, global_status, debug_control;
    bool masked;         // the local APIC's entry
    bool pending;        // an NMI for the CPU to take
    uint32_t pending_in; // so many accesses and events from now
    bool on_its_way;
};

// All registers as after a reset.
void pmu_model_init(struct pmu_model *model, const struct pmu_model_config *config);
// Changes what CPUID says to what the model has. Other leaves, and bits that have nothing to do
// with counters, are left alone.
void pmu_model_cpuid(
    const struct pmu_model *model, uint32_t leaf, uint32_t subleaf, uint32_t result[4]);
// False: there is no such register (#GP).
bool pmu_model_read(struct pmu_model *model, uint32_t msr, uint64_t *value);
bool pmu_model_write(struct pmu_model *model, uint32_t msr, uint64_t value);
void pmu_model_unmask(struct pmu_model *model);
// `count` events of codes[index] happen, until an NMI is to be taken. How many have not happened.
uint64_t pmu_model_events(struct pmu_model *model, int index, bool in_kernel, uint64_t count);
// Could so many events make a counter overflow now? If not, `masked` is not looked at.
bool pmu_model_may_overflow(
    const struct pmu_model *model, int index, bool in_kernel, uint64_t count);
// An NMI that is due is taken: true, once.
bool pmu_model_take_nmi(struct pmu_model *model);
