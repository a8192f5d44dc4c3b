// SPDX-License-Identifier: MIT
//
// Reading the list of tests that the build made (build/manifest.gni).
#include "tools/lodger/test.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *get_text(json_t *entry, const char *key)
{
    const char *text = json_string_value(json_object_get(entry, key));
    return text != NULL ? text : "";
}

static void get_texts(json_t *entry, const char *key, struct strings *list)
{
    size_t index;
    json_t *value;
    json_array_foreach(json_object_get(entry, key), index, value)
    {
        strings_add(list, json_string_value(value) != NULL ? json_string_value(value) : "");
    }
}

static struct test *add(struct test_list *list, enum test_kind kind, json_t *entry)
{
    list->tests = xrealloc(list->tests, (list->count + 1) * sizeof(list->tests[0]));
    struct test *test = &list->tests[list->count++];
    *test = (struct test){
        .kind = kind,
        .name = xstrdup(get_text(entry, "name")),
        .machine = xstrdup(""),
        .program = tree_path("out/host/%s", get_text(entry, "program")),
        .timeout_s = (uint64_t)json_integer_value(json_object_get(entry, "timeout_s")),
    };
    test->title = xstrdup(test->name);
    return test;
}

static void add_guest_tests(struct test_list *list, json_t *entry)
{
    struct strings machines = {};
    get_texts(entry, "machines", &machines);
    for (size_t i = 0; i < machines.count; i++) {
        struct test *test = add(list, TEST_GUEST, entry);
        test->machine = xstrdup(machines.items[i]);
        test->own_machine = test->machine;
        test->title = xasprintf("%s [%s]", test->name, test->machine);
        test->compared = json_is_true(json_object_get(entry, "linux"));
        get_texts(entry, "args", &test->args);
        get_texts(entry, "files", &test->files);
        for (size_t file = 0; file < test->files.count; file++) {
            char *absolute = tree_path("out/host/%s", test->files.items[file]);
            free(test->files.items[file]);
            test->files.items[file] = absolute;
        }
    }
    strings_free(&machines);
}

void test_list_read(struct test_list *list, const char *path)
{
    *list = (struct test_list){};
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!json_is_array(root)) {
        die("%s: %s", path, root == NULL ? error.text : "not a list of tests");
    }
    size_t index;
    json_t *entry;
    json_array_foreach(root, index, entry)
    {
        const char *kind = get_text(entry, "kind");
        if (strcmp(kind, "host") == 0 || strcmp(kind, "script") == 0) {
            enum test_kind read = strcmp(kind, "host") == 0 ? TEST_HOST : TEST_SCRIPT;
            struct test *test = add(list, read, entry);
            get_texts(entry, "args", &test->args);
        } else if (strcmp(kind, "fuzz") == 0) {
            struct test *test = add(list, TEST_FUZZ, entry);
            test->corpus = xstrdup(get_text(entry, "corpus"));
            test->max_len_bytes =
                (uint64_t)json_integer_value(json_object_get(entry, "max_len_bytes"));
            test->fuzz_s = (uint64_t)json_integer_value(json_object_get(entry, "seconds"));
        } else if (strcmp(kind, "guest") == 0) {
            add_guest_tests(list, entry);
        } else {
            die("%s: unknown kind of test: %s", path, kind);
        }
    }
    json_decref(root);
}

// `machine` with those words of a test's own configuration that the test depends on.
static char *with_needs(const char *machine, const char *own_machine)
{
    static const char *const needs[] = {"memory=", "append=", "disk=", "device="};
    struct strings words = {};
    strings_add_words(&words, own_machine);
    char *all = xstrdup(machine);
    for (size_t i = 0; i < words.count; i++) {
        bool needed = false;
        for (size_t need = 0; need < sizeof(needs) / sizeof(needs[0]); need++) {
            needed |= strncmp(words.items[i], needs[need], strlen(needs[need])) == 0;
        }
        if (needed) {
            char *longer = xasprintf("%s %s", all, words.items[i]);
            free(all);
            all = longer;
        }
    }
    strings_free(&words);
    return all;
}

void test_list_set_machines(struct test_list *list, const struct strings *machines)
{
    struct test_list old = *list;
    *list = (struct test_list){};
    for (size_t i = 0; i < old.count; i++) {
        const struct test *test = &old.tests[i];
        bool again = i > 0 && strcmp(old.tests[i - 1].name, test->name) == 0;
        size_t count = test->kind != TEST_GUEST ? 1 : again ? 0 : machines->count;
        for (size_t machine = 0; machine < count; machine++) {
            list->tests = xrealloc(list->tests, (list->count + 1) * sizeof(list->tests[0]));
            struct test *added = &list->tests[list->count++];
            *added = *test;
            if (test->kind == TEST_GUEST) {
                added->machine = with_needs(machines->items[machine], test->machine);
                added->title = xasprintf("%s [%s]", test->name, added->machine);
            }
        }
    }
    free(old.tests);
}
