// SPDX-License-Identifier: MIT
// Rewriting of indirect calls into direct ones.

#include "kernel/arch/x86/call_site.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#define CALL_INDIRECT_0 0xff // call *disp32(%rip): ff 15 disp32
#define CALL_INDIRECT_1 0x15
#define CALL_DIRECT     0xe8 // call rel32
#define CALL_DIRECT_LEN 5
#define NOP             0x90

bool arch_call_site_rewrite(const struct arch_call_site *site)
{
    const uint8_t *old = site->instruction;
    if (old[0] != CALL_INDIRECT_0 || old[1] != CALL_INDIRECT_1)
        return false;
    int64_t distance = (int64_t)((uintptr_t)*site->slot - ((uintptr_t)old + CALL_DIRECT_LEN));
    int32_t relative = (int32_t)distance;
    if (relative != distance)
        return false;
    uint8_t code[6] = {CALL_DIRECT, [5] = NOP};
    memcpy(code + 1, &relative, sizeof(relative));
    memcpy(site->instruction, code, sizeof(code));
    return true;
}

#ifndef LODGER_HOST
size_t arch_call_sites_patch(void)
{
    extern const struct arch_call_site call_sites_start[], call_sites_end[]; // kernel.lds
    for (const struct arch_call_site *site = call_sites_start; site < call_sites_end; site++) {
        bool done = arch_call_site_rewrite(site);
        assert(done);
    }
    return (size_t)(call_sites_end - call_sites_start);
}
#endif
