// SPDX-License-Identifier: MIT
// Which backend drives the machine. Backends are tried from the most specific to the native one;
// each fills in over the native table what it does better.

#include "pv/pv.h"

#include "kernel/base/assert.h"

// Call sites read it through these pointers; written only here.
struct pv_ops pv_ops;

void pv_start(void)
{
    pv_ops = pv_native_ops;
}

void pv_init(void)
{
    assert(pv_ops.clock_ns != NULL && pv_ops.idle != NULL && pv_ops.shutdown != NULL);
}
