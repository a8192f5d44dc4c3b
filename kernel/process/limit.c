// SPDX-License-Identifier: MIT
// Resource limits: the values a first process has, and reading them.
#include "kernel/process/process.h"

uint64_t process_limit(unsigned resource)
{
    assert(resource < RLIM_NLIMITS);
    return atomic_load_relaxed(&process_current()->limits[resource].rlim_cur);
}
