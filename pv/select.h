// SPDX-License-Identifier: MIT
// Which backend, which features, which operations: decided once from tables and CPUID. No
// hardware: host tests bring their own.
#pragma once

#include "pv/pv.h"

struct pv_selection {
    struct pv_identity identity;
    const struct pv_backend *native;
    const struct pv_backend *backend; // native, or what was detected
    const char *refused; // why a detected backend is not used; NULL: it is, or none was
    const char *refused_name;
    // Why a feature of native [0] and of the backend [1] is off; NULL: it is on.
    const char *why[2][PV_FEATURES_MAX];
};

// `only`: name of the one backend that may be used besides native; "": any.
void pv_select(struct pv_selection *selection, struct pv_ops *ops,
    const struct pv_backend *const *backends, size_t count, const char *only,
    pv_cpuid_function *cpuid);
// Copies the operations that `from` fills in.
void pv_ops_copy(struct pv_ops *to, const struct pv_ops *from);
// Where the feature's reason is kept, or NULL if it is none of the two tables'.
const char **pv_selection_why(struct pv_selection *selection, const struct pv_feature *feature);
