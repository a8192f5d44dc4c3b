// SPDX-License-Identifier: MIT
// Promotion: small pages of a program become huge ones, in the background and on request. Theory in
// collapse.c. Private to mm/.
#pragma once

#include "mm/address_space.h"

// The space has small pages where huge ones are allowed: they are looked at later. space->lock held
// in any way; task context.
void collapse_register(struct address_space *space);
// The last user has left the space: nobody looks at it any more.
void collapse_forget(struct address_space *space);
// MADV_COLLAPSE: all whole 2 MiB of the range. Takes space->lock. 0, -EINVAL, -EAGAIN (pages are
// used by others at the moment), -ENOMEM.
[[nodiscard]] int collapse_range(struct address_space *space, uintptr_t start, uintptr_t end);
