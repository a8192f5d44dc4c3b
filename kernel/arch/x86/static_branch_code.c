// SPDX-License-Identifier: MIT
// What the code of a static branch is: the part that needs no kernel.
#include "kernel/arch/x86/static_branch.h"

#include "kernel/base/string.h"

#define JUMP 0xe9 // with a distance of 32 bits

void arch_static_branch_code(
    const struct static_branch_site *site, bool on, uint8_t code[STATIC_BRANCH_BYTES])
{
    static const uint8_t nothing[STATIC_BRANCH_BYTES] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
    int32_t distance = (int32_t)(site->target - (site->code + STATIC_BRANCH_BYTES));
    memcpy(code, nothing, STATIC_BRANCH_BYTES);
    if (on) {
        code[0] = JUMP;
        memcpy(code + 1, &distance, sizeof(distance));
    }
}
