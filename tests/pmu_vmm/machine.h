// SPDX-License-Identifier: MIT
// A virtual machine by /dev/kvm: one vCPU, memory, KVM's own interrupt controllers and timer, and
// no device. It starts a kernel by PVH, and leaves chosen MSRs to its user.
//
// Failures of the host's kernel end the process with a message: nothing can be tested then.
#pragma once

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine {
    int vm, vcpu; // file descriptors
    struct kvm_run *run;
    size_t run_bytes;
    uint8_t *memory;
    size_t memory_bytes;
};

// Prints a message and ends the process.
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct machine_msrs {
    uint32_t first, count;
};

// An empty machine. What the host's KVM offers as CPUID goes through `change`, with `context`,
// which may add a leaf; accesses to the MSRs of the list are exits.
void machine_create(struct machine *machine, size_t memory_bytes,
    void (*change)(void *context, struct kvm_cpuid2 *cpuid), void *context,
    const struct machine_msrs *msrs, size_t msr_ranges);
void machine_destroy(struct machine *machine);

// Loads an ELF kernel with a PVH note, and its initial file system; the vCPU is at its entry.
void machine_load(
    struct machine *machine, const char *kernel, const char *initrd, const char *command_line);

// Goes on until the next exit, of which machine->run tells. False: a signal came first.
[[nodiscard]] bool machine_run(struct machine *machine);

// `size` bytes of memory at a physical address. NULL: there are none.
void *machine_memory(const struct machine *machine, uint64_t address, uint64_t size);
// `size` bytes at an address of the program or kernel that runs; they lie in one page. NULL: there
// is no memory.
void *machine_translate(struct machine *machine, uint64_t address, size_t size);
// The privilege level of what runs.
unsigned machine_privilege(struct machine *machine);
// The local APIC's entry for the counters' interrupt (Intel SDM 3A, 11.5.1).
uint32_t machine_counters_entry(struct machine *machine);
void machine_mask_counters(struct machine *machine);
void machine_nmi(struct machine *machine);

#define MACHINE_LVT_MASKED UINT32_C(0x10000)
#define MACHINE_LVT_MODE   UINT32_C(0x700)
#define MACHINE_LVT_NMI    UINT32_C(0x400)
