// SPDX-License-Identifier: MIT
// Which backend, which features, which operations.

#include "pv/select.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"

#define OPERATIONS (sizeof(struct pv_ops) / sizeof(void (*)(void)))
static_assert(sizeof(struct pv_ops) == OPERATIONS * sizeof(void (*)(void)));

void pv_ops_copy(struct pv_ops *to, const struct pv_ops *from)
{
    const uintptr_t *source = (const uintptr_t *)from;
    uintptr_t *target = (uintptr_t *)to;
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (source[i] != 0)
            target[i] = source[i];
    }
}

static void features_start(const struct pv_backend *backend, const char **why, struct pv_ops *ops)
{
    assert(backend->feature_count <= PV_FEATURES_MAX);
    for (uint32_t i = 0; i < backend->feature_count; i++) {
        const struct pv_feature *feature = &backend->features[i];
        why[i] = *feature->wanted ? feature->start() : "switched off by boot option";
        if (why[i] == NULL)
            pv_ops_copy(ops, &feature->ops);
    }
}

static const struct pv_backend *native_of(const struct pv_backend *const *backends, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (backends[i]->detect == NULL)
            return backends[i];
    }
    assert_unreachable();
}

static const struct pv_backend *detect(const struct pv_selection *selection,
    const struct pv_backend *const *backends, size_t count, const char *only)
{
    const struct pv_backend *best = selection->native;
    for (size_t i = 0; i < count; i++) {
        const struct pv_backend *backend = backends[i];
        if (backend->detect == NULL || (only[0] != 0 && strcmp(only, backend->name) != 0))
            continue;
        if (backend->detect(&selection->identity) &&
            (best == selection->native || backend->rank > best->rank))
            best = backend;
    }
    return best;
}

void pv_select(struct pv_selection *selection, struct pv_ops *ops,
    const struct pv_backend *const *backends, size_t count, const char *only,
    pv_cpuid_function *cpuid)
{
    *selection = (struct pv_selection){.native = native_of(backends, count)};
    pv_identity_read(&selection->identity, cpuid);
    pv_ops_copy(ops, &selection->native->ops);
    features_start(selection->native, selection->why[0], ops);

    const struct pv_backend *backend = detect(selection, backends, count, only);
    if (backend != selection->native && backend->start != NULL) {
        selection->refused = backend->start(&selection->identity);
        if (selection->refused != NULL) {
            selection->refused_name = backend->name;
            backend = selection->native;
        }
    }
    selection->backend = backend;
    if (backend == selection->native)
        return;
    pv_ops_copy(ops, &backend->ops);
    features_start(backend, selection->why[1], ops);
}

const char **pv_selection_why(struct pv_selection *selection, const struct pv_feature *feature)
{
    const struct pv_backend *tables[2] = {selection->native, selection->backend};
    for (int i = 0; i < 2; i++) {
        const struct pv_feature *first = tables[i]->features;
        if (feature >= first && feature < first + tables[i]->feature_count)
            return &selection->why[i][feature - first];
    }
    return NULL;
}
