// SPDX-License-Identifier: MIT
// The vDSO as a program sees it: two pages, this image (read, execute) and behind it the page of
// time_vdso_data (read; kernel/core/time.h). AT_SYSINFO_EHDR is the address of the first.
#pragma once

// Page-aligned, in the kernel's read-only data: kernel_image_to_phys() has its frame
extern const char vdso_image[4096];
