// SPDX-License-Identifier: MIT
// Who is below.

#include "pv/identity.h"

#include "kernel/base/string.h"

#define CPUID_1_ECX_HYPERVISOR BIT(31)
#define SIGNATURE_BYTES        12

static bool block_read(struct pv_identity_block *block, uint32_t base, const struct pv_cpuid *first)
{
    *block = (struct pv_identity_block){.base = base, .last = first->eax};
    memcpy(block->signature, &first->ebx, 4);
    memcpy(block->signature + 4, &first->ecx, 4);
    memcpy(block->signature + 8, &first->edx, 4);
    if (block->last == 0)
        block->last = base + 1;
    return block->signature[0] != 0 && block->last >= base && block->last - base < PV_IDENTITY_STEP;
}

void pv_identity_read(struct pv_identity *identity, pv_cpuid_function *cpuid)
{
    *identity = (struct pv_identity){.cpuid = cpuid};
    identity->is_guest = (cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) != 0;
    if (!identity->is_guest)
        return;
    for (uint32_t base = PV_IDENTITY_FIRST;
        base < PV_IDENTITY_END && identity->count < PV_IDENTITY_MAX; base += PV_IDENTITY_STEP) {
        struct pv_cpuid first = cpuid(base, 0);
        // Blocks follow each other without a gap; each CPUID may be an exit.
        if (!block_read(&identity->blocks[identity->count], base, &first))
            break;
        // Leaves that are not there are answered like the highest one, or like the block's first.
        if (identity->count != 0 && memcmp(identity->blocks[identity->count].signature,
                                        identity->blocks[0].signature, SIGNATURE_BYTES) == 0)
            break;
        identity->count++;
    }
}

const struct pv_identity_block *pv_identity_find(
    const struct pv_identity *identity, const char *signature)
{
    char wanted[SIGNATURE_BYTES] = {0};
    memcpy(wanted, signature, strnlen(signature, SIGNATURE_BYTES));
    for (uint32_t i = 0; i < identity->count; i++) {
        if (memcmp(identity->blocks[i].signature, wanted, SIGNATURE_BYTES) == 0)
            return &identity->blocks[i];
    }
    return NULL;
}
