// SPDX-License-Identifier: MIT
//
// xarray.h against a plain array of (entry, marks) over a set of indices that reaches every height,
// with allocations failing at every place. ASan sees every use of a freed node, since callbacks run
// between steps.
#include "kernel/base/xarray.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDICES 96

// Sorted; near and far, both ends.
static uint64_t indices[INDICES];

struct model {
    void *entry[INDICES];
    bool mark[INDICES][XARRAY_MARK_COUNT];
};

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Distinct indices of all magnitudes; index 0 and the greatest are among them.
static void choose_indices(struct prng *prng, bool small)
{
    for (size_t i = 0; i < INDICES; i++) {
        bool is_new;
        do {
            indices[i] = small ? prng_below(prng, 300) : prng_u64(prng) >> prng_below(prng, 64);
            indices[i] = i == 0 ? 0 : i == 1 && !small ? UINT64_MAX : indices[i];
            is_new = true;
            for (size_t j = 0; j < i; j++) {
                is_new &= indices[j] != indices[i];
            }
        } while (!is_new);
    }
    qsort(indices, INDICES, sizeof(indices[0]), compare_u64);
}

static bool model_matches(const struct model *model, size_t i, int mark)
{
    return model->entry[i] != nullptr && (mark < 0 || model->mark[i][mark]);
}

// Searches from random places must agree with the model; mark -1 means any entry.
static void check_search(
    const struct xarray *array, const struct model *model, struct prng *prng, int mark)
{
    uint64_t from = indices[prng_below(prng, INDICES)] + prng_below(prng, 3) - 1;
    uint64_t last = prng_below(prng, 4) == 0 ? indices[prng_below(prng, INDICES)] : UINT64_MAX;
    size_t i = 0;
    while (i < INDICES && (indices[i] < from || !model_matches(model, i, mark))) {
        i++;
    }
    void *expected = i < INDICES && indices[i] <= last ? model->entry[i] : nullptr;
    uint64_t found = from;
    void *entry = mark < 0 ? xarray_find(array, &found, last)
                           : xarray_find_marked(array, &found, last, (enum xarray_mark)mark);
    assert_ptr_equal(entry, expected);
    assert_true(found == (expected != nullptr ? indices[i] : from));
}

static void check_everything(const struct xarray *array, const struct model *model)
{
    bool any_mark[XARRAY_MARK_COUNT] = {};
    uint64_t index;
    void *entry;
    size_t i = 0;

    assert_true(xarray_is_valid(array));
    xarray_for_each(array, index, entry)
    {
        while (i < INDICES && model->entry[i] == nullptr) {
            i++;
        }
        assert_true(i < INDICES);
        assert_true(index == indices[i]);
        assert_ptr_equal(entry, model->entry[i]);
        i++;
    }
    while (i < INDICES) {
        assert_null(model->entry[i++]);
    }
    for (i = 0; i < INDICES; i++) {
        assert_ptr_equal(xarray_load(array, indices[i]), model->entry[i]);
        for (int mark = 0; mark < XARRAY_MARK_COUNT; mark++) {
            any_mark[mark] |= model->mark[i][mark];
            assert_int_equal(
                xarray_get_mark(array, indices[i], (enum xarray_mark)mark), model->mark[i][mark]);
        }
    }
    for (int mark = 0; mark < XARRAY_MARK_COUNT; mark++) {
        assert_int_equal(xarray_has_mark(array, (enum xarray_mark)mark), any_mark[mark]);
    }
}

// One random change of array and model.
static void step(struct xarray *array, struct model *model, struct prng *prng, bool filling)
{
    size_t i = prng_below(prng, INDICES);
    uint64_t index = indices[i];
    void *entry = xarray_value(prng_u64(prng) >> 1);
    int mark = (int)prng_below(prng, XARRAY_MARK_COUNT);
    uint64_t choice = prng_below(prng, 10);

    if (choice < (filling ? 1 : 4)) {
        assert_ptr_equal(xarray_erase(array, index), model->entry[i]);
        model->entry[i] = nullptr;
        memset(model->mark[i], 0, sizeof(model->mark[i]));
    } else if (choice < 6) {
        void *old = nullptr;
        int error = host_with_failing_allocations(
            xarray_store(array, index, entry, &old), check_everything(array, model));
        assert_int_equal(error, 0);
        assert_ptr_equal(old, model->entry[i]);
        model->entry[i] = entry;
    } else if (choice < 7) {
        int error = host_with_failing_allocations(
            xarray_insert(array, index, entry), check_everything(array, model));
        assert_int_equal(error, model->entry[i] != nullptr ? -EEXIST : 0);
        model->entry[i] = model->entry[i] != nullptr ? model->entry[i] : entry;
    } else if (choice < 9) {
        assert_int_equal(
            xarray_set_mark(array, index, (enum xarray_mark)mark), model->mark[i][mark]);
        model->mark[i][mark] = model->entry[i] != nullptr;
    } else {
        assert_int_equal(
            xarray_clear_mark(array, index, (enum xarray_mark)mark), model->mark[i][mark]);
        model->mark[i][mark] = false;
    }
}

static void run_model_test(struct prng *prng, bool small)
{
    struct xarray array = XARRAY_INIT;
    struct model model = {};
    uint64_t live = host_alloc_live();

    choose_indices(prng, small);
    for (int round = 0; round < 6000; round++) {
        step(&array, &model, prng, round / 500 % 2 == 0);
        for (int mark = -1; mark < XARRAY_MARK_COUNT; mark++) {
            check_search(&array, &model, prng, mark);
        }
        if (round % 16 == 0) {
            check_everything(&array, &model);
            host_rcu_run_callbacks();
        }
    }
    check_everything(&array, &model);
    for (size_t i = 0; i < INDICES; i++) {
        xarray_erase(&array, indices[i]);
    }
    assert_true(xarray_is_empty(&array));
    host_rcu_run_callbacks();
    assert_int_equal(host_alloc_live(), live); // erasing all frees all
}

static void array_matches_model_with_sparse_indices(void **state)
{
    struct prng prng = host_seed(__func__);
    run_model_test(&prng, false);
}

static void array_matches_model_with_dense_indices(void **state)
{
    struct prng prng = host_seed(__func__);
    run_model_test(&prng, true);
}

static void single_entry_needs_no_node(void **state)
{
    struct xarray array;
    uint64_t live = host_alloc_live();
    int page;

    xarray_init(&array);
    assert_int_equal(xarray_store(&array, 0, &page, nullptr), 0);
    assert_int_equal(host_alloc_live(), live);
    assert_ptr_equal(xarray_load(&array, 0), &page);
    assert_null(xarray_load(&array, 1));
    assert_false(xarray_set_mark(&array, 0, XARRAY_MARK_1));
    assert_int_equal(xarray_store(&array, 1, &page, nullptr), 0);
    assert_true(xarray_get_mark(&array, 0, XARRAY_MARK_1)); // survives the first node
    assert_ptr_equal(xarray_erase(&array, 1), &page);
    assert_true(xarray_get_mark(&array, 0, XARRAY_MARK_1)); // and its end
    assert_int_equal(xarray_insert(&array, 0, &page), -EEXIST);
    assert_true(xarray_is_valid(&array));
    assert_true(xarray_clear_mark(&array, 0, XARRAY_MARK_1));
    assert_false(xarray_clear_mark(&array, 0, XARRAY_MARK_1));
    assert_false(xarray_has_mark(&array, XARRAY_MARK_1));
    assert_false(xarray_set_mark(&array, 0, XARRAY_MARK_1));
    assert_ptr_equal(xarray_erase(&array, 0), &page);
    assert_false(xarray_has_mark(&array, XARRAY_MARK_1));
    host_rcu_run_callbacks();
    assert_int_equal(host_alloc_live(), live);
}

static void replacing_needs_no_memory(void **state)
{
    struct xarray array = XARRAY_INIT;
    void *old;
    assert_int_equal(xarray_store(&array, 1ul << 40, xarray_value(1), nullptr), 0);
    host_alloc_fail(0, true);
    assert_int_equal(xarray_store(&array, 1ul << 40, xarray_value(2), &old), 0);
    assert_int_equal(xarray_to_value(old), 1);
    assert_int_equal(xarray_store(&array, 5, xarray_value(2), &old), -ENOMEM);
    host_alloc_fail_never();
    xarray_destroy(&array);
    host_rcu_run_callbacks();
}

static void runs_end_at_the_first_hole(void **state)
{
    struct xarray array = XARRAY_INIT;
    void *entries[200];
    for (uint64_t i = 0; i < 150; i++) {
        assert_int_equal(xarray_store(&array, i, xarray_value(i), nullptr), 0);
    }
    assert_int_equal(xarray_load_run(&array, 0, entries, 200), 150);
    assert_int_equal(xarray_load_run(&array, 60, entries, 10), 10);
    assert_int_equal(xarray_to_value(entries[9]), 69);
    xarray_erase(&array, 100);
    assert_int_equal(xarray_load_run(&array, 60, entries, 200), 40);
    assert_int_equal(xarray_load_run(&array, 100, entries, 200), 0);
    assert_int_equal(xarray_load_run(&array, 0, entries, 0), 0);
    xarray_destroy(&array);
    assert_int_equal(xarray_load_run(&array, 0, entries, 9), 0);
    assert_int_equal(xarray_store(&array, 0, xarray_value(3), nullptr), 0);
    assert_int_equal(xarray_load_run(&array, 0, entries, 9), 1);
    assert_int_equal(xarray_load_run(&array, 1, entries, 9), 0);
    xarray_destroy(&array);
    assert_int_equal(xarray_store(&array, UINT64_MAX, xarray_value(3), nullptr), 0);
    assert_int_equal(xarray_load_run(&array, UINT64_MAX, entries, 9), 1);
    xarray_destroy(&array);
    host_rcu_run_callbacks();
}

static void iteration_allows_erasing(void **state)
{
    struct xarray array = XARRAY_INIT;
    uint64_t index;
    void *entry;
    uint64_t count = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(xarray_store(&array, i * i, xarray_value(i), nullptr), 0);
    }
    xarray_for_each(&array, index, entry)
    {
        assert_true(index == xarray_to_value(entry) * xarray_to_value(entry));
        assert_ptr_equal(xarray_erase(&array, index), entry);
        count++;
    }
    assert_int_equal(count, 1000);
    assert_true(xarray_is_empty(&array));
    host_rcu_run_callbacks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(array_matches_model_with_sparse_indices),
        cmocka_unit_test(array_matches_model_with_dense_indices),
        cmocka_unit_test(single_entry_needs_no_node),
        cmocka_unit_test(replacing_needs_no_memory),
        cmocka_unit_test(runs_end_at_the_first_hole),
        cmocka_unit_test(iteration_allows_erasing),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
