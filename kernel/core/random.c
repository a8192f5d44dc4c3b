// SPDX-License-Identifier: MIT
// Random numbers: a generator for each CPU, fed from a common pool.
//
// The pool is a generator under a lock. Contributions are mixed into it and advance `generation`; a
// CPU whose generator has not seen the latest generation takes 32 bytes from the pool first. Each
// generator erases what it gave out (kernel/base/random.h), so a look at it later tells nothing
// about the past. The per-CPU generators are used with interrupts off.
#include "kernel/core/random.h"

#include "kernel/arch/x86/arch.h"
#include "kernel/base/random.h"
#include "kernel/core/percpu.h"
#include "kernel/core/spinlock.h"

#define SEED_WORDS  4
#define CHUNK_BYTES 256 // given out with interrupts off in one go

static struct {
    struct spinlock lock;
    struct random_generator generator; // under lock
    uint64_t generation;               // changed under lock, read without
    bool started;                      // under lock
} pool = {.lock = SPINLOCK_INIT("random: pool"), .generation = 1};

struct random_cpu {
    struct random_generator generator; // own CPU, interrupts off
    uint64_t generation;               // of the pool, when it was seeded last
};
static PERCPU(struct random_cpu, random_cpu);

// The processor's random source and the time stamp counter. Under the pool's lock.
static void pool_mix_hardware(void)
{
    uint64_t words[SEED_WORDS + 1];
    for (int i = 0; i < SEED_WORDS; i++) {
        words[i] = 0;
        (void)arch_random_word(&words[i]);
    }
    words[SEED_WORDS] = arch_tsc();
    random_mix(&pool.generator, words, sizeof(words));
}

static void pool_lock(void)
{
    spin_lock(&pool.lock);
    if (!pool.started) {
        random_init(&pool.generator);
        pool_mix_hardware();
        pool.started = true;
    }
}

// Interrupts off.
static void random_seed_cpu(struct random_cpu *cpu)
{
    uint8_t seed[32];
    bool fresh = cpu->generation == 0;
    pool_lock();
    pool_mix_hardware();
    random_bytes(&pool.generator, seed, sizeof(seed));
    cpu->generation = pool.generation;
    spin_unlock_no_resched(&pool.lock);
    if (fresh)
        random_init(&cpu->generator);
    random_mix(&cpu->generator, seed, sizeof(seed));
}

void random_fill(void *to, size_t len_bytes)
{
    uint8_t *bytes = to;
    while (len_bytes > 0) {
        size_t chunk = MIN(len_bytes, (size_t)CHUNK_BYTES);
        uint64_t flags = arch_irq_save();
        struct random_cpu *cpu = this_cpu_ptr(random_cpu);
        if (unlikely(cpu->generation != atomic_load_relaxed(&pool.generation)))
            random_seed_cpu(cpu);
        random_bytes(&cpu->generator, bytes, chunk);
        arch_irq_restore(flags);
        bytes += chunk;
        len_bytes -= chunk;
    }
}

uint64_t random_word(void)
{
    uint64_t word;
    random_fill(&word, sizeof(word));
    return word;
}

uint64_t random_below(uint64_t limit)
{
    debug_assert(limit >= 1);
    // Reject the words of the last, incomplete run of `limit` values.
    uint64_t excess = (UINT64_MAX % limit + 1) % limit;
    uint64_t word;
    do {
        word = random_word();
    } while (excess != 0 && word > UINT64_MAX - excess);
    return word % limit;
}

void random_contribute(const void *bytes, size_t len_bytes)
{
    uint64_t tsc = arch_tsc();
    uint64_t flags = arch_irq_save();
    pool_lock();
    random_mix(&pool.generator, bytes, len_bytes);
    random_mix(&pool.generator, &tsc, sizeof(tsc));
    atomic_store_relaxed(&pool.generation, pool.generation + 1);
    spin_unlock_irqrestore(&pool.lock, flags);
}
