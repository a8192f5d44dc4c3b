// SPDX-License-Identifier: MIT
// Memory that is shared but belongs to no file: MAP_SHARED | MAP_ANONYMOUS. Private to mm/.
#pragma once

#include "mm/address_space.h"

// Makes a cache of len bytes and backs the (new) area with it. -ENOMEM.
[[nodiscard]] int shared_memory_attach(struct vm_area *area, size_t len_bytes);
