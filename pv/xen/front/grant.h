// SPDX-License-Identifier: MIT
// Grants: numbers (references) by which another domain may map or copy single pages of this one.
// Both versions of the table's format.
//
// General preconditions: xen_grants_start() was successful. Unless said otherwise: any context but
// NMI.
#pragma once

#include "kernel/base/types.h"

#include <xen/grant_table.h>

// Sets up the table. 0, or why there can be no devices. Task context.
[[nodiscard]] int xen_grants_start(void);

// Takes `count` unused references: all of them or none. 0, -ENOSPC (the table is as large as Xen
// allows), -ENOMEM. Task context.
[[nodiscard]] int xen_grants_take(uint32_t count, grant_ref_t *references);
// Gives references back, which are closed.
void xen_grants_give(uint32_t count, const grant_ref_t *references);

// Lets the domain read, or read and write, a page frame. The reference is closed until now. No
// hypercall, no lock.
void xen_grant_open(grant_ref_t reference, domid_t domain, uint64_t frame, bool read_only);
// Takes that back. False: the other end still has it mapped; then nothing has changed, and neither
// page nor reference may be used for anything else.
[[nodiscard]] bool xen_grant_close(grant_ref_t reference);
// Whether the other end has the page of an open grant mapped at this moment.
[[nodiscard]] bool xen_grant_is_held(grant_ref_t reference);
// For when a device is gone: closes and gives back; what the other end still has mapped is kept
// open, with its page, for ever. `page` (or NULL) loses a reference when it is not.
struct page;
void xen_grant_end(grant_ref_t reference, struct page *page);
