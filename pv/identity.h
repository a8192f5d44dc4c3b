// SPDX-License-Identifier: MIT
// Who is below: the hypervisors that CPUID names.
//
// A hypervisor shows itself in a block of CPUID leaves that begins at 0x40000000 or, when several
// interfaces are offered, at a multiple of 0x100 above that: the first leaf gives the highest leaf
// of the block in EAX and a signature of 12 bytes in EBX, ECX, EDX. Nothing here says what is
// offered: that is each backend's own affair.
#pragma once

#include "kernel/base/types.h"

#define PV_IDENTITY_FIRST 0x40000000
#define PV_IDENTITY_END   0x40010000
#define PV_IDENTITY_STEP  0x100
#define PV_IDENTITY_MAX   4 // blocks that are remembered

struct pv_cpuid {
    uint32_t eax, ebx, ecx, edx;
};

// CPUID, or in a test what stands for it.
typedef struct pv_cpuid pv_cpuid_function(uint32_t leaf, uint32_t subleaf);

struct pv_identity {
    pv_cpuid_function *cpuid;
    bool is_guest; // leaf 1 says that there is a hypervisor
    uint32_t count;
    struct pv_identity_block {
        uint32_t base;      // its first leaf
        uint32_t last;      // its highest leaf: at least base, below base + PV_IDENTITY_STEP
        char signature[13]; // as CPUID gives it, and a 0
    } blocks[PV_IDENTITY_MAX];
};

// Looks through the blocks. Without the hypervisor bit no leaf is read: processors answer leaves
// that they do not have with something else. Nonsense (a highest leaf outside the block, an empty
// signature) is taken for no block; but 0, which old versions of KVM say, for base + 1.
void pv_identity_read(struct pv_identity *identity, pv_cpuid_function *cpuid);
// The block with that signature (12 bytes, or fewer and zeros), or NULL.
const struct pv_identity_block *pv_identity_find(
    const struct pv_identity *identity, const char *signature);
