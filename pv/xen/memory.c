// SPDX-License-Identifier: MIT
// Where memory is, as Xen counts it, and the page that Xen shares with the domain.

#include "kernel/arch/x86/paging.h"
#include "kernel/arch/x86/phys.h"
#include "kernel/base/memmap.h"
#include "kernel/core/init.h"
#include "kernel/core/log.h"
#include "pv/xen/hypercall.h"
#include "pv/xen/xen.h"
#include "pv/xen/xen_internal.h"

#include <xen/memory.h>

#define LOW_MEMORY_END UINT64_C(0x9f000)

PV_READ_ONLY_AFTER_INIT struct shared_info *xen_shared_info = NULL;

uint64_t xen_phys_of(const void *address)
{
    uintptr_t value = (uintptr_t)address;
    return value >= KERNEL_IMAGE_BASE ? kernel_image_to_phys(address) : value - PHYS_DIRECT_BASE;
}

// The shared page takes the place of a page of memory below 1 MiB: there Xen maps single pages
// anyway, elsewhere it would break up a large one. It is in the direct map like all memory.
void xen_shared_info_start(void)
{
    uint64_t phys;
    if (memmap_allocate(
            &boot_info.memory, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, LOW_MEMORY_END, &phys) != 0)
        return;
    struct xen_add_to_physmap add = {
        .domid = DOMID_SELF, .space = XENMAPSPACE_shared_info, .gpfn = phys >> PAGE_SHIFT};
    int error = xen_error(xen_memory_op(XENMEM_add_to_physmap, &add));
    if (error != 0) {
        log_warning("xen: no shared page (error %d)", -error);
        return;
    }
    xen_shared_info = (struct shared_info *)(PHYS_DIRECT_BASE + phys);
    // Until it has a place of its own; only the first vCPUs have one here.
    if (this_cpu(xen_vcpu) < XEN_LEGACY_MAX_VCPUS)
        this_cpu(xen_vcpu_info) = &xen_shared_info->vcpu_info[this_cpu(xen_vcpu)];
}
