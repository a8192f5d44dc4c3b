// SPDX-License-Identifier: MIT
// Ram disks.
#pragma once

#include "kernel/base/types.h"

// Makes and registers /dev/ram<number>. 0, -EEXIST, -ENOMEM. May sleep.
[[nodiscard]] int ram_disk_create(uint32_t number, uint64_t sector_count);
void ram_disk_init(void); // those that the boot options ask for
