// SPDX-License-Identifier: MIT
// /sys/kernel/mm: what is said about, and may be set of, huge pages.
#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/fs/proc.h"
#include "kernel/fs/register.h"
#include "mm/huge_policy.h"
#include "mm/huge_pool.h"
#include "mm/page.h"

static const char *const policy_names[] = {
    [HUGE_ALWAYS] = "always", [HUGE_ADVISED] = "madvise", [HUGE_NEVER] = "never"};

static int show_enabled(struct proc_buffer *buffer, void *context)
{
    static const enum huge_policy order[] = {HUGE_ALWAYS, HUGE_ADVISED, HUGE_NEVER};
    enum huge_policy policy = huge_policy_get();
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        proc_printf(buffer, order[i] == policy ? "%s[%s]" : "%s%s", i == 0 ? "" : " ",
            policy_names[order[i]]);
    proc_printf(buffer, "\n");
    return 0;
}

static int store_enabled(const char *text, size_t len, void *context)
{
    if (len != 0 && text[len - 1] == '\n')
        len--;
    for (size_t i = 0; i < ARRAY_SIZE(policy_names); i++) {
        if (strlen(policy_names[i]) == len && memcmp(policy_names[i], text, len) == 0) {
            huge_policy_set((enum huge_policy)i);
            return 0;
        }
    }
    return -EINVAL;
}

// A fault never waits for a huge page.
static int show_defrag(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "always defer defer+madvise madvise [never]\n");
    return 0;
}

static int show_size(struct proc_buffer *buffer, void *context)
{
    proc_printf(buffer, "%u\n", 2u << 20);
    return 0;
}

// ---- the pool of huge pages ----

enum pool_figure { POOL_SET, POOL_FREE, POOL_RESERVED, POOL_SURPLUS };

static int show_pool(struct proc_buffer *buffer, void *context)
{
    struct huge_pool_statistics pool;
    huge_pool_statistics_read(&pool);
    const uint64_t figures[] = {[POOL_SET] = pool.total - pool.surplus,
        [POOL_FREE] = pool.free,
        [POOL_RESERVED] = pool.reserved,
        [POOL_SURPLUS] = pool.surplus};
    proc_printf(buffer, "%lu\n", figures[(uintptr_t)context]);
    return 0;
}

static int store_pool(const char *text, size_t len, void *context)
{
    uint64_t count;
    if (len != 0 && text[len - 1] == '\n')
        len--;
    if (parse_u64(text, len, 10, &count) != 0)
        return -EINVAL;
    huge_pool_resize(count);
    return 0;
}

static void register_pool(void)
{
#define POOL_FOLDER "kernel/mm/hugepages/hugepages-2048kB/"
    static const struct proc_file files[] = {
        {.path = POOL_FOLDER "nr_hugepages",
            .mode = 0644,
            .show = show_pool,
            .store = store_pool,
            .context = (void *)POOL_SET},
        {.path = POOL_FOLDER "free_hugepages",
            .mode = 0444,
            .show = show_pool,
            .context = (void *)POOL_FREE},
        {.path = POOL_FOLDER "resv_hugepages",
            .mode = 0444,
            .show = show_pool,
            .context = (void *)POOL_RESERVED},
        {.path = POOL_FOLDER "surplus_hugepages",
            .mode = 0444,
            .show = show_pool,
            .context = (void *)POOL_SURPLUS},
    };
    static const struct proc_file setting = {.path = "sys/vm/nr_hugepages",
        .mode = 0644,
        .show = show_pool,
        .store = store_pool,
        .context = (void *)POOL_SET};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int error = sysfs_register(&files[i]);
        assert(error == 0); // at boot
    }
    int error = proc_register(&setting);
    assert(error == 0);
}

void sysfs_memory_init(void)
{
    register_pool();
    static const struct proc_file files[] = {
        {.path = "kernel/mm/transparent_hugepage/enabled",
            .mode = 0644,
            .show = show_enabled,
            .store = store_enabled},
        {.path = "kernel/mm/transparent_hugepage/defrag", .mode = 0444, .show = show_defrag},
        {.path = "kernel/mm/transparent_hugepage/hpage_pmd_size", .mode = 0444, .show = show_size},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int error = sysfs_register(&files[i]);
        assert(error == 0); // at boot
    }
}
