// SPDX-License-Identifier: MIT
//
// path_walk.h: paths and what they fall into, the limits, and random paths against a splitter by
// strtok.
#include "kernel/base/path_walk.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int init(struct path_walk *walk, const char *path)
{
    return path_walk_init(walk, path, strlen(path));
}

static void check_component(struct path_walk *walk, const char *name, enum path_component_kind kind,
    bool is_last, bool must_be_directory)
{
    struct path_component component;
    assert_false(path_walk_at_end(walk));
    assert_int_equal(path_walk_next(walk, &component), 0);
    assert_int_equal(component.len, strlen(name));
    assert_memory_equal(component.name, name, component.len);
    assert_int_equal(component.kind, kind);
    assert_int_equal(component.is_last, is_last);
    assert_int_equal(component.must_be_directory, must_be_directory);
}

static void components_are_split(void **state)
{
    struct path_walk walk;

    assert_int_equal(init(&walk, "/usr//lib/./x/../..."), 0);
    assert_true(walk.is_absolute);
    check_component(&walk, "usr", PATH_COMPONENT_NAME, false, true);
    check_component(&walk, "lib", PATH_COMPONENT_NAME, false, true);
    check_component(&walk, ".", PATH_COMPONENT_DOT, false, true);
    check_component(&walk, "x", PATH_COMPONENT_NAME, false, true);
    check_component(&walk, "..", PATH_COMPONENT_DOT_DOT, false, true);
    check_component(&walk, "...", PATH_COMPONENT_NAME, true, false);
    assert_true(path_walk_at_end(&walk));

    assert_int_equal(init(&walk, "a//"), 0);
    assert_false(walk.is_absolute);
    check_component(&walk, "a", PATH_COMPONENT_NAME, true, true);
    assert_true(path_walk_at_end(&walk));

    assert_int_equal(init(&walk, "///"), 0);
    assert_true(walk.is_absolute);
    assert_true(path_walk_at_end(&walk));
    assert_int_equal(init(&walk, ""), -ENOENT);
}

static void limits_hold(void **state)
{
    struct path_walk walk;
    struct path_component component;
    static char path[PATH_WALK_PATH_MAX + 1];

    memset(path, 'a', sizeof(path));
    path[255] = '/';
    assert_int_equal(path_walk_init(&walk, path, 4095), 0);
    assert_int_equal(path_walk_next(&walk, &component), 0);
    assert_int_equal(component.len, 255);
    assert_int_equal(path_walk_next(&walk, &component), -ENAMETOOLONG);
    assert_int_equal(path_walk_init(&walk, path, 4096), -ENAMETOOLONG);
    path[255] = 'a';
    path[256] = '/';
    assert_int_equal(path_walk_init(&walk, path, 4095), 0);
    assert_int_equal(path_walk_next(&walk, &component), -ENAMETOOLONG);
}

static void random_paths_match_strtok(void **state)
{
    struct prng prng = host_seed(__func__);
    for (int round = 0; round < 50000; round++) {
        size_t len = prng_below(&prng, 30) + 1;
        char *path = malloc(len); // not terminated: ASan watches the end
        char copy[32] = {};
        struct path_walk walk;
        char *rest;
        assert_non_null(path);
        for (size_t i = 0; i < len; i++) {
            path[i] = "./ab\xc3"[prng_below(&prng, 5)];
        }
        memcpy(copy, path, len);
        assert_int_equal(path_walk_init(&walk, path, len), 0);
        assert_int_equal(walk.is_absolute, copy[0] == '/');
        char *name = strtok_r(copy, "/", &rest);
        while (name != nullptr) {
            struct path_component component;
            assert_false(path_walk_at_end(&walk));
            assert_int_equal(path_walk_next(&walk, &component), 0);
            assert_int_equal(component.len, strlen(name));
            assert_memory_equal(component.name, name, component.len);
            assert_int_equal(component.kind == PATH_COMPONENT_DOT, strcmp(name, ".") == 0);
            assert_int_equal(component.kind == PATH_COMPONENT_DOT_DOT, strcmp(name, "..") == 0);
            name = strtok_r(nullptr, "/", &rest);
            assert_int_equal(component.is_last, name == nullptr);
            assert_int_equal(component.must_be_directory, name != nullptr || path[len - 1] == '/');
        }
        assert_true(path_walk_at_end(&walk));
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(components_are_split),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(random_paths_match_strtok),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
