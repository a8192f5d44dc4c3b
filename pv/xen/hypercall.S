// SPDX-License-Identifier: MIT
// The hypercall page: Xen fills it in (xen.c tells it where it is) with one entry of 32 bytes for
// each hypercall, which loads the number and does whatever this processor needs to call Xen.
//
// An entry takes its arguments in RDI, RSI, RDX, R10, R8, R9 and returns in RAX, changing nothing
// else. Up to the third argument that is what the C ABI says, so the entries are C functions under
// the names below (hypercall.h). Until Xen has filled the page in, each entry traps.

#define __ASSEMBLY__ // xen.h asks for this one
#include <xen/xen.h>

    .section .text.xen_hypercall_page, "ax", @progbits
    .balign 4096
    .globl xen_hypercall_page
    .type xen_hypercall_page, @function
xen_hypercall_page:
    .fill 4096, 1, 0xcc          // int3
    .size xen_hypercall_page, 4096

.macro HYPERCALL name, number
    .globl xen_page_\name
    .type xen_page_\name, @function
    .set xen_page_\name, xen_hypercall_page + 32 * \number
.endm

    HYPERCALL memory_op, __HYPERVISOR_memory_op
    HYPERCALL multicall, __HYPERVISOR_multicall
    HYPERCALL xen_version, __HYPERVISOR_xen_version
    HYPERCALL console_io, __HYPERVISOR_console_io
    HYPERCALL grant_table_op, __HYPERVISOR_grant_table_op
    HYPERCALL vm_assist, __HYPERVISOR_vm_assist
    HYPERCALL vcpu_op, __HYPERVISOR_vcpu_op
    HYPERCALL sched_op, __HYPERVISOR_sched_op
    HYPERCALL event_channel_op, __HYPERVISOR_event_channel_op
    HYPERCALL hvm_op, __HYPERVISOR_hvm_op
    HYPERCALL xenpmu_op, __HYPERVISOR_xenpmu_op
