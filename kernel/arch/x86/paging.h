// SPDX-License-Identifier: MIT
// Page tables: their format, the kernel's own top level, and the TLB of the running CPU. For mm/
// only.
//
// What exists when mm_init_early() is called: `kernel_page_table` is loaded. It maps
//   - the first 4 GiB of physical memory at PHYS_MAP_BASE (large pages, writable, not executable)
//   and, for
//     the start-up code, at address 0 (entry 0, writable and executable),
//   - the kernel image at its link address (2 MiB pages, everything allowed).
// mm completes it: the whole direct map, the image with W^X, and entry 0 removed. kernel_page_table
// stays the kernel's top level; each address space copies its upper half. Other CPUs start on it.
// NX, PGE, WP, SMEP, SMAP are switched on (where they exist) by arch_early_init() before
// mm_init_early(); PCID by arch_early_init() too, so that CR3 has the PCID format if
// arch_cpu_has(ARCH_PCID).
#pragma once

#include "kernel/base/types.h"

#define PTE_PRESENT (UINT64_C(1) << 0)
#define PTE_WRITE   (UINT64_C(1) << 1)
#define PTE_USER    (UINT64_C(1) << 2)
// With PCD clear: write combining (the PAT is programmed so)
#define PTE_PWT             (UINT64_C(1) << 3)
#define PTE_PCD             (UINT64_C(1) << 4) // uncached
#define PTE_ACCESSED        (UINT64_C(1) << 5)
#define PTE_DIRTY           (UINT64_C(1) << 6)
#define PTE_LARGE           (UINT64_C(1) << 7) // levels 2 and 3: maps a page
#define PTE_GLOBAL          (UINT64_C(1) << 8)
#define PTE_SOFT1           (UINT64_C(1) << 9) // for software; 52 to 58 too
#define PTE_SOFT2           (UINT64_C(1) << 10)
#define PTE_SOFT3           (UINT64_C(1) << 11)
#define PTE_NX              (UINT64_C(1) << 63)
#define PTE_ADDRESS         UINT64_C(0x000ffffffffff000)
#define PTE_UNCACHED        PTE_PCD
#define PTE_WRITE_COMBINING PTE_PWT

#define PAGE_TABLE_ENTRIES 512
#define PAGE_TABLE_LEVELS  4
// log2 of the bytes that an entry of `level` (1: pages .. 4: top) covers.
#define PAGE_LEVEL_SHIFT(level)          (12 + 9 * ((level) - 1))
#define PAGE_LEVEL_INDEX(address, level) (((address) >> PAGE_LEVEL_SHIFT(level)) & 511)

// Error code of a page fault.
#define FAULT_PRESENT (UINT64_C(1) << 0) // the page is there but the access is not allowed
#define FAULT_WRITE   (UINT64_C(1) << 1)
#define FAULT_USER    (UINT64_C(1) << 2)
// A reserved bit is set in a table: always the kernel's fault
#define FAULT_RESERVED    (UINT64_C(1) << 3)
#define FAULT_INSTRUCTION (UINT64_C(1) << 4)

#define CR3_PCID_MASK UINT64_C(0xfff)
#define CR3_NO_FLUSH  (UINT64_C(1) << 63) // keep what the TLB has for this PCID

// Virtual address of physical address kernel_phys_base
#define KERNEL_IMAGE_BASE UINT64_C(0xffffffff80000000)

// Physical address that KERNEL_IMAGE_BASE + 0 stands for: 0 unless the boot loader moved the image.
// A multiple of 2 MiB.
extern uint64_t kernel_phys_base;
// Top level of the kernel's page tables, in the image.
extern uint64_t kernel_page_table[PAGE_TABLE_ENTRIES];

// Borders of the image, from kernel.lds; all multiples of 4 KiB. [text: read, execute] [rodata:
// read] [data and bss: read, write]. The image starts with text at kernel_image_start.
extern char kernel_image_start[], kernel_text_end[], kernel_rodata_start[], kernel_rodata_end[];
extern char kernel_data_start[], kernel_image_end[];

#ifndef LODGER_HOST
// ---- TLB of the running CPU ----
static inline uint64_t arch_cr3_read(void)
{
    uint64_t value;
    asm volatile("movq %%cr3, %0" : "=r"(value) : : "memory");
    return value;
}

// Physical address of the top level, PCID, CR3_NO_FLUSH.
static inline void arch_cr3_write(uint64_t value)
{
    asm volatile("movq %0, %%cr3" : : "r"(value) : "memory");
}

// One page of the current address space (PCID), all page sizes; also a global one.
static inline void arch_tlb_flush_page(uintptr_t address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

// Everything that is not global, of the current address space (PCID).
static inline void arch_tlb_flush_current(void)
{
    arch_cr3_write(arch_cr3_read());
}

struct arch_invpcid_descriptor {
    uint64_t pcid;
    uint64_t address;
};

// Type 0: one address of one PCID; 1: one PCID; 2: everything with global entries; 3: all but
// global. Needs ARCH_INVPCID.
static inline void arch_invpcid(uint64_t type, uint64_t pcid, uintptr_t address)
{
    struct arch_invpcid_descriptor descriptor = {pcid, address};
    asm volatile("invpcid %1, %0" : : "r"(type), "m"(descriptor) : "memory");
}

// Everything, with all PCIDs and global entries.
void arch_tlb_flush_all(void);
#else
// Host tests bring their own processor.
uint64_t arch_cr3_read(void);
void arch_cr3_write(uint64_t value);
void arch_tlb_flush_page(uintptr_t address);
void arch_tlb_flush_current(void);
void arch_tlb_flush_all(void);
#endif
