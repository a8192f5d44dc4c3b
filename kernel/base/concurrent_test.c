// SPDX-License-Identifier: MIT
//
// What may be used without a lock, under ThreadSanitizer: sequence counter, reference count,
// and the RCU readers of lists and xarray. Threads work on small structures so that they meet
// often; each yields at random, because two processors rarely interleave finely on their own.
#include "kernel/base/alloc.h"
#include "kernel/base/hlist.h"
#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"
#include "kernel/base/list.h"
#include "kernel/base/refcount.h"
#include "kernel/base/seqcount.h"
#include "kernel/base/xarray.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define READERS    2
#define MAGIC      0x600d600dul
#define DEAD_MAGIC 0xdeadul

// Checks in threads: cmocka's asserts may only be used in the main thread.
#define check(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void yield_sometimes(struct prng *prng)
{
    if (prng_below(prng, 64) == 0) {
        sched_yield();
    }
}

// One writer in the main thread; readers run until it has finished.
struct readers {
    pthread_t threads[READERS];
    void (*read)(void *shared, struct prng *prng);
    void *shared;
    uint64_t seed;
    bool stop;      // atomic
    uint64_t reads; // atomic
};

static void *reader_main(void *argument)
{
    struct readers *readers = argument;
    struct prng prng = {.state = atomic_fetch_add(&readers->seed, 1)};
    while (!atomic_load_acquire(&readers->stop)) {
        readers->read(readers->shared, &prng);
        atomic_fetch_add_relaxed(&readers->reads, 1);
        yield_sometimes(&prng);
    }
    return nullptr;
}

static void readers_start(struct readers *readers, struct prng *prng,
    void (*read)(void *shared, struct prng *prng), void *shared)
{
    *readers = (struct readers){.read = read, .shared = shared, .seed = prng_u64(prng)};
    for (int i = 0; i < READERS; i++) {
        check(pthread_create(&readers->threads[i], nullptr, reader_main, readers) == 0);
    }
}

static void readers_join(struct readers *readers)
{
    while (atomic_load_relaxed(&readers->reads) < 100) {
        sched_yield();
    }
    atomic_store_release(&readers->stop, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers->threads[i], nullptr);
    }
}

// ---- Sequence counter

struct guarded {
    struct seqcount count;
    uint64_t a; // b == ~a whenever nobody writes
    uint64_t b;
};

static void read_guarded(void *shared, struct prng *prng)
{
    struct guarded *guarded = shared;
    uint32_t sequence;
    uint64_t a;
    uint64_t b;
    do {
        if (prng_below(prng, 2) == 0) {
            sequence = seqcount_read_begin(&guarded->count);
        } else if (!seqcount_try_read_begin(&guarded->count, &sequence)) {
            return;
        }
        a = atomic_load_relaxed(&guarded->a);
        yield_sometimes(prng);
        b = atomic_load_relaxed(&guarded->b);
    } while (seqcount_read_retry(&guarded->count, sequence));
    check(a == ~b);
}

static void sequence_counter_shows_no_half_update(void **state)
{
    static struct guarded guarded;
    struct prng prng = host_seed(__func__);
    struct readers readers;

    guarded = (struct guarded){.a = 0, .b = ~0ul};
    readers_start(&readers, &prng, read_guarded, &guarded);
    for (int i = 0; i < 100000; i++) {
        uint64_t value = prng_u64(&prng);
        seqcount_write_begin(&guarded.count);
        atomic_store_relaxed(&guarded.a, value);
        yield_sometimes(&prng);
        atomic_store_relaxed(&guarded.b, ~value);
        seqcount_write_end(&guarded.count);
        yield_sometimes(&prng);
    }
    readers_join(&readers);
}

// ---- Lists and xarray under RCU: elements are freed a grace period after removal

struct object {
    uint64_t magic;
    uint64_t key;
    struct hlist_node hnode;
    struct list_node node;
    struct refcount refs;
    struct rcu_head rcu;
};

#define KEYS 64

struct table {
    struct hlist_head buckets[4];
    struct list_node list;
    struct xarray array;
    struct object *objects[KEYS]; // the writer's own
};

static void object_free(struct rcu_head *head)
{
    struct object *object = container_of(head, struct object, rcu);
    object->magic = DEAD_MAGIC;
    base_free(object);
}

static void table_change(struct table *table, uint64_t key)
{
    struct object *object = table->objects[key];
    if (object != nullptr) {
        hlist_remove_rcu(&object->hnode);
        list_remove_rcu(&object->node);
        check(xarray_erase(&table->array, key * key * key) == object);
        table->objects[key] = nullptr;
        base_call_rcu(&object->rcu, object_free);
        return;
    }
    object = base_alloc(sizeof(*object));
    check(object != nullptr);
    object->magic = MAGIC;
    object->key = key;
    hlist_add_head(&table->buckets[key % 4], &object->hnode);
    list_add_tail_rcu(&table->list, &object->node);
    check(xarray_insert(&table->array, key * key * key, object) == 0);
    xarray_set_mark(&table->array, key * key * key, (enum xarray_mark)(key % 3));
    table->objects[key] = object;
}

static void read_table(void *shared, struct prng *prng)
{
    struct table *table = shared;
    struct object *object;
    uint64_t key = prng_below(prng, KEYS);

    host_rcu_read_lock();
    hlist_for_each_entry_rcu(object, &table->buckets[key % 4], hnode)
    {
        check(object->magic == MAGIC);
        check(object->key % 4 == key % 4);
    }
    size_t count = 0;
    list_for_each_entry_rcu(object, &table->list, node)
    {
        check(object->magic == MAGIC);
        yield_sometimes(prng);
        count++;
    }
    check(count < 100000);
    object = xarray_load(&table->array, key * key * key);
    check(object == nullptr || (object->magic == MAGIC && object->key == key));
    uint64_t previous = 0;
    uint64_t index;
    xarray_for_each(&table->array, index, object)
    {
        check(object->magic == MAGIC);
        check(object->key * object->key * object->key == index);
        check(index >= previous);
        previous = index;
    }
    index = 0;
    object = xarray_find_marked(&table->array, &index, UINT64_MAX, XARRAY_MARK_1);
    check(object == nullptr || object->magic == MAGIC);
    void *run[8];
    for (size_t i = xarray_load_run(&table->array, 0, run, 8); i-- > 0;) {
        check(((struct object *)run[i])->magic == MAGIC);
    }
    host_rcu_read_unlock();
}

static void rcu_readers_see_only_live_objects(void **state)
{
    static struct table table;
    struct prng prng = host_seed(__func__);
    struct readers readers;
    uint64_t live = host_alloc_live();

    table = (struct table){};
    list_init(&table.list);
    readers_start(&readers, &prng, read_table, &table);
    for (int i = 0; i < 20000; i++) {
        // Mostly few, sometimes many elements, so that the xarray grows and shrinks.
        uint64_t range = i / 1000 % 2 == 0 ? KEYS : 4;
        uint64_t key = prng_below(&prng, range);
        table_change(&table, key);
        for (key = range; key < KEYS; key++) {
            if (table.objects[key] != nullptr) {
                table_change(&table, key);
            }
        }
        if (i % 50 == 0) {
            host_rcu_run_callbacks();
        }
        yield_sometimes(&prng);
    }
    readers_join(&readers);
    for (uint64_t key = 0; key < KEYS; key++) {
        if (table.objects[key] != nullptr) {
            table_change(&table, key);
        }
    }
    host_rcu_run_callbacks();
    assert_true(xarray_is_empty(&table.array));
    assert_int_equal(host_alloc_live(), live);
}

// ---- Reference counts

struct shared_slot {
    struct object *object; // read under RCU
    uint64_t freed;        // atomic
};

static struct shared_slot slot;

static void release_object(struct object *object)
{
    if (refcount_put(&object->refs)) {
        object->magic = DEAD_MAGIC; // plain write: TSan sees a user who still has it
        atomic_fetch_add(&slot.freed, 1);
        base_call_rcu(&object->rcu, object_free);
    }
}

static void use_object(void *shared, struct prng *prng)
{
    struct object *object;
    host_rcu_read_lock();
    object = atomic_load_acquire(&slot.object);
    bool taken = object != nullptr && refcount_get_unless_zero(&object->refs);
    host_rcu_read_unlock();
    if (taken) {
        check(object->magic == MAGIC);
        refcount_get(&object->refs);
        release_object(object);
        yield_sometimes(prng);
        check(object->magic == MAGIC);
        release_object(object);
    }
}

static void last_reference_frees_once(void **state)
{
    struct prng prng = host_seed(__func__);
    struct readers readers;
    uint64_t live = host_alloc_live();
    enum { ROUNDS = 20000 };

    slot = (struct shared_slot){};
    readers_start(&readers, &prng, use_object, nullptr);
    for (int i = 0; i < ROUNDS; i++) {
        struct object *object = base_alloc(sizeof(*object));
        check(object != nullptr);
        object->magic = MAGIC;
        refcount_init(&object->refs, 1);
        atomic_store_release(&slot.object, object);
        yield_sometimes(&prng);
        atomic_store_release(&slot.object, nullptr);
        release_object(object);
        if (i % 50 == 0) {
            host_rcu_run_callbacks();
        }
    }
    readers_join(&readers);
    host_rcu_run_callbacks();
    assert_int_equal(slot.freed, ROUNDS);
    assert_int_equal(host_alloc_live(), live);
}

static void misused_reference_counts_saturate(void **state)
{
    struct refcount ref = REFCOUNT_INIT(1);
    assert_true(refcount_put(&ref));
    assert_false(refcount_get_unless_zero(&ref));
    expect_assert_failure(refcount_get(&ref)); // after the end
    assert_int_equal(refcount_read(&ref), REFCOUNT_SATURATED);
    expect_assert_failure((void)!refcount_put(&ref)); // stays, is never freed
    assert_int_equal(refcount_read(&ref), REFCOUNT_SATURATED);
    refcount_init(&ref, REFCOUNT_MAX);
    expect_assert_failure(refcount_get(&ref));
    assert_int_equal(refcount_read(&ref), REFCOUNT_SATURATED);
    refcount_init(&ref, 0);
    expect_assert_failure((void)!refcount_put(&ref));
    assert_int_equal(refcount_read(&ref), REFCOUNT_SATURATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequence_counter_shows_no_half_update),
        cmocka_unit_test(rcu_readers_see_only_live_objects),
        cmocka_unit_test(last_reference_frees_once),
        cmocka_unit_test(misused_reference_counts_saturate),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
