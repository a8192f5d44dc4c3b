// SPDX-License-Identifier: MIT
// Chooses the ways of copying and clearing.
#pragma once

void bulk_init(void); // boot CPU, after cpu_detect() and fpu_init()
