// SPDX-License-Identifier: MIT
// The vDSO in a program's memory: one page of code, behind it the page with the clock's data, and
// behind that the hypervisor's clock page where there is one. All belong to the kernel and are the
// same for all programs.
#include "kernel/process/vdso.h"
#include "kernel/core/time.h"
#include "kernel/vdso/image.h"
#include "mm/address_space.h"
#include "pv/pv.h"

// Physical addresses of code, data and clock page (0: none); constant after the first call.
static uint64_t frames[3];

static int64_t map_page(
    struct address_space *space, uintptr_t address, size_t page, uint32_t access, const char *label)
{
    struct vm_map_request request = {
        .address = address,
        .len_bytes = PAGE_SIZE,
        .flags = access | VM_FIXED_PAGES,
        .fixed = true,
        .backing = &frames[page],
        .label = label,
    };
    return vm_map(space, &request);
}

int vdso_map(struct address_space *space)
{
    if (frames[0] == 0) {
        frames[2] = pv_ops.user_clock_page != NULL ? pv_ops.user_clock_page() : 0;
        frames[1] = kernel_image_to_phys(time_vdso_data);
        frames[0] = kernel_image_to_phys(vdso_image);
    }
    // A place for all, then each with its own access.
    size_t pages = frames[2] != 0 ? 3 : 2;
    struct vm_map_request reserve = {.len_bytes = pages * PAGE_SIZE};
    int64_t place = vm_map(space, &reserve);
    if (place < 0)
        return (int)place;
    int64_t result = map_page(space, (uintptr_t)place, 0, VM_READ | VM_EXEC, "[vdso]");
    if (result >= 0)
        result = map_page(space, (uintptr_t)place + PAGE_SIZE, 1, VM_READ, "[vvar]");
    if (result >= 0 && pages == 3)
        result = map_page(space, (uintptr_t)place + 2 * PAGE_SIZE, 2, VM_READ, "[vvar]");
    if (result < 0)
        return (int)result;
    space->vdso_base = (uintptr_t)place;
    return 0;
}
