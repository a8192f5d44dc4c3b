// SPDX-License-Identifier: MIT
// The vDSO in a program's memory.
#pragma once

struct address_space;

// Maps the vDSO and the page that it reads into a new program's `space` and sets space->vdso_base
// (0: there is none). 0 or -ENOMEM.
[[nodiscard]] int vdso_map(struct address_space *space);
