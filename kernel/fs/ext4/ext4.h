// SPDX-License-Identifier: MIT
// ext2, ext3 and ext4.
#pragma once

void ext4_init(void); // registers the three names
