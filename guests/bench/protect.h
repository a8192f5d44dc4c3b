// SPDX-License-Identifier: MIT
//
// What the benchmarks of mprotect have in common.
#pragma once

// Makes the page at `page`, which is private, writable and touched, read-only and writable again
// `count` times, with a write each time, and measures it. Whether the kernel means it is checked
// before and after that.
void protect_page(char *page, unsigned count);
