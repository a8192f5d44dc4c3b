// SPDX-License-Identifier: MIT
//
// list.h and hlist.h: random operations on two lists against arrays.
#include "kernel/base/hlist.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/list.h"

#include <string.h>

#define ELEMENTS 40

struct element {
    int number;
    struct list_node node;
    struct hlist_node hnode;
};

// A list as an array of numbers.
struct model {
    int numbers[ELEMENTS];
    size_t count;
};

static void model_insert(struct model *model, size_t position, int number)
{
    memmove(&model->numbers[position + 1], &model->numbers[position],
        (model->count - position) * sizeof(int));
    model->numbers[position] = number;
    model->count++;
}

static size_t model_position(const struct model *model, int number)
{
    size_t position = 0;
    while (position < model->count && model->numbers[position] != number) {
        position++;
    }
    return position;
}

static void model_remove(struct model *model, size_t position)
{
    model->count--;
    memmove(&model->numbers[position], &model->numbers[position + 1],
        (model->count - position) * sizeof(int));
}

static void check_list(const struct list_node *list, const struct model *model)
{
    struct element *element;
    size_t position = 0;
    assert_true(list_is_valid(list, ELEMENTS));
    assert_int_equal(list_length(list), model->count);
    assert_int_equal(list_is_empty(list), model->count == 0);
    list_for_each_entry (element, list, node) {
        assert_int_equal(element->number, model->numbers[position++]);
    }
    list_for_each_entry_reverse(element, list, node)
    {
        assert_int_equal(element->number, model->numbers[--position]);
    }
    list_for_each_entry_rcu(element, list, node)
    {
        assert_int_equal(element->number, model->numbers[position++]);
    }
    element = list_first_entry_or_null(list, struct element, node);
    assert_int_equal(element == nullptr, model->count == 0);
}

static void splice(struct list_node *lists, struct model *models, size_t from, bool to_tail)
{
    size_t to = 1 - from;
    if (to_tail) {
        list_splice_tail(&lists[to], &lists[from]);
    } else {
        list_splice_head(&lists[to], &lists[from]);
    }
    while (models[from].count > 0) {
        size_t taken = to_tail ? 0 : models[from].count - 1;
        int number = models[from].numbers[taken];
        model_remove(&models[from], taken);
        model_insert(&models[to], to_tail ? models[to].count : 0, number);
    }
}

static void list_matches_an_array(void **state)
{
    struct prng prng = host_seed(__func__);
    struct element elements[ELEMENTS] = {};
    struct list_node lists[2];
    struct model models[2] = {};

    for (int i = 0; i < ELEMENTS; i++) {
        elements[i].number = i;
    }
    list_init(&lists[0]);
    list_init(&lists[1]);
    for (int step = 0; step < 20000; step++) {
        size_t which = prng_below(&prng, 2);
        struct list_node *list = &lists[which];
        struct model *model = &models[which];
        int number = (int)prng_below(&prng, ELEMENTS);
        struct list_node *node = &elements[number].node;
        size_t position = model_position(model, number);
        uint64_t choice = prng_below(&prng, 100);

        if (choice == 0) {
            splice(lists, models, which, prng_below(&prng, 2) == 0);
        } else if (position < model->count && choice < 50) {
            list_remove(node);
            model_remove(model, position);
            assert_false(list_is_linked(node));
        } else if (position < model->count) {
            model_remove(model, position);
            if (choice < 75) {
                list_move_head(list, node);
                model_insert(model, 0, number);
            } else {
                list_move_tail(list, node);
                model_insert(model, model->count, number);
            }
        } else if (!list_is_linked(node)) {
            if (choice < 40) {
                list_add_head(list, node);
                model_insert(model, 0, number);
            } else if (choice < 80 || model->count == 0) {
                list_add_tail(list, node);
                model_insert(model, model->count, number);
            } else {
                size_t at = prng_below(&prng, model->count);
                struct list_node *neighbour = &elements[model->numbers[at]].node;
                if (choice < 90) {
                    list_add_after(neighbour, node);
                    model_insert(model, at + 1, number);
                } else {
                    list_add_before(neighbour, node);
                    model_insert(model, at, number);
                }
            }
        }
        check_list(list, model);
    }
}

static void safe_iteration_allows_removal(void **state)
{
    struct element elements[10] = {};
    struct list_node list = LIST_INIT(list);
    struct element *element;
    struct element *next;

    for (int i = 0; i < 10; i++) {
        elements[i].number = i;
        list_add_tail(&list, &elements[i].node);
    }
    list_for_each_entry_safe (element, next, &list, node) {
        if (element->number % 2 == 0) {
            list_remove(&element->node);
        }
    }
    assert_int_equal(list_length(&list), 5);
    element = list_pop_head_entry_or_null(&list, struct element, node);
    assert_int_equal(element->number, 1);
    assert_int_equal(list_last_entry(&list, struct element, node)->number, 9);
}

static void double_removal_is_caught(void **state)
{
    struct element element = {};
    struct list_node list = LIST_INIT(list);
    list_add_tail(&list, &element.node);
    list_remove(&element.node);
    expect_assert_failure(list_remove(&element.node));
}

static void hlist_matches_an_array(void **state)
{
    struct prng prng = host_seed(__func__);
    struct element elements[ELEMENTS] = {};
    struct hlist_head head = {};
    struct model model = {};

    for (int step = 0; step < 20000; step++) {
        int number = (int)prng_below(&prng, ELEMENTS);
        struct hlist_node *node = &elements[number].hnode;
        elements[number].number = number;
        if (hlist_is_linked(node)) {
            hlist_remove(node);
            model_remove(&model, model_position(&model, number));
        } else if (model.count > 0 && prng_below(&prng, 2) == 0) {
            size_t at = prng_below(&prng, model.count);
            hlist_add_after(&elements[model.numbers[at]].hnode, node);
            model_insert(&model, at + 1, number);
        } else {
            hlist_add_head(&head, node);
            model_insert(&model, 0, number);
        }

        struct element *element;
        struct element *next;
        size_t position = 0;
        assert_true(hlist_is_valid(&head, ELEMENTS));
        assert_int_equal(hlist_is_empty(&head), model.count == 0);
        hlist_for_each_entry (element, &head, hnode) {
            assert_int_equal(element->number, model.numbers[position++]);
        }
        assert_int_equal(position, model.count);
        position = 0;
        hlist_for_each_entry_safe(element, next, &head, hnode)
        {
            assert_int_equal(element->number, model.numbers[position++]);
        }
        position = 0;
        hlist_for_each_entry_rcu(element, &head, hnode)
        {
            assert_int_equal(element->number, model.numbers[position++]);
        }
        assert_int_equal(position, model.count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_matches_an_array),
        cmocka_unit_test(safe_iteration_allows_removal),
        cmocka_unit_test(double_removal_is_caught),
        cmocka_unit_test(hlist_matches_an_array),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
