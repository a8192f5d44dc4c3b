// SPDX-License-Identifier: MIT
// The whole driver against the model: on each kind of processor what is counted equals what the
// model's counters counted, no period is lost over ten thousand overflows, wherever the interrupts
// come: late, in the middle of the driver, or right behind each other.
#include "perf/pmu/model.h"
#include "perf/pmu/pmu.h"

#include "kernel/base/host/host_base.h"
#include "kernel/base/host/host_cmocka.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>

#define CODE_IDLE         7 // nobody counts it: time passes
#define KERNEL_EVENTS_MAX 8 // that happen with one access of the driver

// ---- the machine --------------------------------------------------------------------------------

static struct pmu_model model;
static struct pmu pmu;
static struct pmu_cpu cpu;
static struct prng prng;
static bool in_nmi, events_in_driver;
static uint64_t now_ns, foreign;

static void deliver(void)
{
    while (!in_nmi && pmu_model_take_nmi(&model)) {
        in_nmi = true;
        if (!pmu_cpu_interrupt(&cpu, now_ns, &model))
            foreign++;
        in_nmi = false;
    }
}

// The driver's own instructions are counted too, and interrupts come between them.
static void accessed(void)
{
    static bool inside;
    now_ns++;
    if (inside || cpu.pmu == NULL)
        return;
    inside = true;
    if (events_in_driver && prng_below(&prng, 2) == 0)
        (void)pmu_model_events(&model, (int)prng_below(&prng, PMU_MODEL_CODES), true,
            1 + prng_below(&prng, KERNEL_EVENTS_MAX));
    inside = false;
    deliver();
}

static void access_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t result[4])
{
    memset(result, 0, 16);
    pmu_model_cpuid(&model, leaf, subleaf, result);
}

static uint64_t access_read(uint32_t msr)
{
    uint64_t value = 0;
    assert_true(pmu_model_read(&model, msr, &value));
    accessed();
    return value;
}

static void access_write(uint32_t msr, uint64_t value)
{
    assert_true(pmu_model_write(&model, msr, value));
    accessed();
}

static bool access_try_read(uint32_t msr, uint64_t *value)
{
    return pmu_model_read(&model, msr, value);
}

static bool access_try_write(uint32_t msr, uint64_t value)
{
    return pmu_model_write(&model, msr, value);
}

static void access_unmask(void)
{
    pmu_model_unmask(&model);
}

static void access_raise(void)
{
    model.pending = true;
    deliver();
}

static const struct pmu_access access = {
    .cpuid = access_cpuid,
    .read = access_read,
    .write = access_write,
    .try_read = access_try_read,
    .try_write = access_try_write,
    .unmask = access_unmask,
    .raise = access_raise,
};

// Events of code `index` happen in a program, and interrupts with them.
static void happen(int index, uint64_t count)
{
    while (count != 0) {
        uint64_t left = pmu_model_events(&model, index, false, count);
        now_ns += count - left;
        count = left;
        deliver();
    }
}

// ---- events -------------------------------------------------------------------------------------

struct test_event {
    struct pmu_event event; // first
    struct pmu_group group;
    int code;
    uint64_t periods, changed_period;
};
static struct test_event events[PMU_MODEL_CODES];

static void on_overflow(
    struct pmu_cpu *on, struct pmu_event *event, uint64_t periods, void *context)
{
    struct test_event *test = (struct test_event *)event;
    assert_ptr_equal(on, &cpu);
    assert_ptr_equal(context, &model);
    assert_true(in_nmi);
    test->periods += periods;
}

static void machine_start(const struct pmu_model_config *config)
{
    static const uint64_t codes[PMU_MODEL_CODES] = {
        0x00c0, 0x003c, 0x01b1, 0x02b1, 0x04b1, 0x08b1, 0x10b1, 0x20b1};
    memset(&model, 0, sizeof(model));
    memset(&cpu, 0, sizeof(cpu));
    memset(events, 0, sizeof(events));
    memcpy(model.codes, codes, sizeof(codes));
    pmu_model_init(&model, config);
    in_nmi = false;
    events_in_driver = false;
    now_ns = 1000000000;
    foreign = 0;
    assert_true(pmu_detect(&pmu, &access));
    cpu.on_overflow = on_overflow;
    assert_true(pmu_cpu_init(&cpu, &pmu));
    pmu_model_unmask(&model);
    model.wrong = 0;
}

// One whose interrupts come at once.
static void prompt_machine_start(const struct pmu_model_config *config)
{
    struct pmu_model_config prompt = *config;
    prompt.late = 0;
    machine_start(&prompt);
}

static void event_make(int index, uint64_t period)
{
    struct test_event *test = &events[index];
    struct pmu_selector selector;
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_RAW, model.codes[index], &selector), 0);
    pmu_event_init(&test->event, &selector, period);
    test->event.in_user = test->event.in_kernel = true;
    test->code = index;
    pmu_group_init(&test->group, false);
}

static void event_add(int index, int group)
{
    pmu_cpu_pause(&cpu);
    pmu_event_add(&cpu, &events[group].group, &events[index].event);
    pmu_cpu_schedule(&cpu, now_ns);
    pmu_cpu_resume(&cpu);
}

static void event_remove(int index, int group)
{
    pmu_cpu_pause(&cpu);
    pmu_event_remove(&cpu, &events[group].group, &events[index].event, now_ns);
    pmu_cpu_schedule(&cpu, now_ns);
    pmu_cpu_resume(&cpu);
}

static uint32_t counters_of(const struct pmu_model_config *config)
{
    return (uint32_t)bit_count(pmu.counters);
}

// What was counted is what the model counted, and all periods were told.
static void check_event(const struct test_event *test)
{
    const struct pmu_event *event = &test->event;
    uint64_t count = pmu_event_count(&cpu, event);
    assert_int_equal(count, model.counted[test->code]);
    if (event->period == 0)
        return;
    assert_true(test->periods * event->period <= count);
    if (event->left > 0 && event->want.has >= 0 && event->left == (int64_t)-event->previous)
        assert_true(count < (test->periods + 1) * event->period);
}

// ---- tests --------------------------------------------------------------------------------------

static void storm(const struct pmu_model_config *config)
{
    machine_start(config);
    const int count = (int)MIN(counters_of(config), 4u);
    events_in_driver = true;
    for (int i = 0; i < count; i++) {
        event_make(i, i == 0 ? 0 : 20 + prng_below(&prng, 200));
        event_add(i, i);
    }
    for (uint32_t rounds = 0; model.overflows < 10000; rounds++) {
        assert_true(rounds < 1000000); // else counters stand still
        happen((int)prng_below(&prng, (uint64_t)count), 1 + prng_below(&prng, 60));
        if (prng_below(&prng, 16) == 0) { // a task's events go and come
            int index = (int)prng_below(&prng, (uint64_t)count);
            event_remove(index, index);
            happen(index, prng_below(&prng, 100));
            event_add(index, index);
        }
        if (prng_below(&prng, 16) == 0)
            (void)pmu_event_count(&cpu, &events[prng_below(&prng, (uint64_t)count)].event);
    }
    events_in_driver = false;
    // Late interrupts come, and what was due when a counter was given is told with the next event.
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < count; i++)
            happen(i, 1);
    }
    happen(CODE_IDLE, 100);
    uint64_t told = 0;
    for (int i = 0; i < count; i++) {
        const struct pmu_event *event = &events[i].event;
        uint64_t all = pmu_event_count(&cpu, event);
        assert_int_equal(all, model.counted[i]);
        told += events[i].periods;
        if (event->period != 0)
            assert_int_equal(events[i].periods, all / event->period);
    }
    assert_true(told > 5000);
    assert_int_equal(model.dropped, 0);
    assert_int_equal(model.wrong, 0);
    assert_int_equal(foreign, 0);
    print_message("%s: %lu overflows, %lu periods, %lu late interrupts\n", config->name,
        (unsigned long)model.overflows, (unsigned long)told, (unsigned long)cpu.late_interrupts);
}

static void no_overflow_is_lost(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++)
        storm(&pmu_model_configs[i]);
}

static void long_periods_are_split(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        prompt_machine_start(&pmu_model_configs[i]);
        event_make(2, pmu.period_max + 1000);
        event_add(2, 2);
        happen(2, pmu.period_max + 999);
        assert_int_equal(events[2].periods, 0);
        happen(2, 100);
        check_event(&events[2]);
        assert_int_equal(events[2].periods, 1);
    }
}

// All of those that want one counter take turns; what they counted, divided by their share of the
// time, is what happened.
static void turns_are_fair(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        machine_start(&pmu_model_configs[i]);
        const uint64_t counters = counters_of(&pmu_model_configs[i]);
        uint64_t shares = 0;
        const uint64_t from_ns = now_ns;
        for (int event = 0; event < PMU_MODEL_CODES; event++) {
            event_make(event, event & 1 ? 1009 : 0);
            event_add(event, event);
        }
        const uint64_t general = (uint64_t)bit_count(pmu.counters & UINT32_MAX);
        for (uint64_t turn = 0; turn < 4000; turn++) {
            for (int event = 0; event < PMU_MODEL_CODES; event++)
                happen(event, 50 + (uint64_t)event * 10);
            pmu_cpu_pause(&cpu);
            pmu_cpu_rotate(&cpu, now_ns);
            pmu_cpu_resume(&cpu);
        }
        const uint64_t all_ns = now_ns - from_ns;
        for (int event = 0; event < PMU_MODEL_CODES; event++) {
            uint64_t running_ns = pmu_event_running_ns(&events[event].event, now_ns);
            uint64_t count = pmu_event_count(&cpu, &events[event].event);
            assert_int_equal(count, model.counted[event]);
            assert_in_range(running_ns, 1, all_ns);
            shares += running_ns;
            double estimate = (double)count * (double)all_ns / (double)running_ns;
            double happened = (double)model.happened[event];
            assert_true(estimate > happened * 0.95);
            assert_true(estimate < happened * 1.05);
        }
        // The counters are used all the time (fixed ones have just one event each).
        assert_true(shares <= counters * all_ns);
        assert_true(shares * 20 >= MIN(general, (uint64_t)PMU_MODEL_CODES) * all_ns * 19);
        // The first two codes have fixed counters, where there are any.
        const uint64_t own = (uint64_t)bit_count(pmu.counters >> PMU_FIXED_FIRST & 3);
        assert_int_equal(cpu.crowded, general < PMU_MODEL_CODES - own);
        assert_int_equal(foreign, 0);
    }
}

static void groups_count_together(void **state)
{
    machine_start(&pmu_model_configs[1]); // four general counters
    for (int i = 0; i < 6; i++)
        event_make(i, 0);
    for (int i = 0; i < 3; i++)
        event_add(i, 0);
    for (int i = 3; i < 6; i++)
        event_add(i, 3); // three more do not fit beside them
    for (int turn = 0; turn < 10; turn++) {
        bool first = events[0].event.want.has >= 0;
        assert_true(cpu.crowded);
        for (int i = 0; i < 6; i++)
            assert_int_equal(events[i].event.want.has >= 0, i < 3 ? first : !first);
        pmu_cpu_pause(&cpu);
        pmu_cpu_rotate(&cpu, now_ns);
        pmu_cpu_resume(&cpu);
        assert_int_equal(events[0].event.want.has >= 0, !first);
    }
    // A pinned one comes first, and stays.
    events[6].group.pinned = true;
    event_make(6, 0);
    events[6].group.pinned = true;
    event_add(6, 6);
    int has = events[6].event.want.has;
    assert_true(has >= 0);
    for (int turn = 0; turn < 4; turn++) {
        pmu_cpu_pause(&cpu);
        pmu_cpu_rotate(&cpu, now_ns);
        pmu_cpu_resume(&cpu);
        assert_int_equal(events[6].event.want.has, has);
    }
}

static void interrupts_of_others_are_theirs(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        prompt_machine_start(&pmu_model_configs[i]);
        assert_false(pmu_cpu_interrupt(&cpu, now_ns, &model));
        event_make(2, 100);
        event_add(2, 2);
        assert_false(pmu_cpu_interrupt(&cpu, now_ns, &model));
        happen(2, 1000);
        assert_int_equal(events[2].periods, 10);
        assert_false(pmu_cpu_interrupt(&cpu, now_ns, &model));
        // Its counter overflows and is taken away while the interrupt is under way: one that finds
        // nothing is that one, a second is not, and none is a second later.
        for (int late = 0; late < 2; late++) {
            const uint64_t overflows = model.overflows;
            in_nmi = true; // held back
            while (model.overflows == overflows) {
                (void)pmu_model_events(&model, 2, false, 1);
                model.pending = false;
            }
            event_remove(2, 2);
            in_nmi = false;
            assert_int_equal(
                pmu_cpu_interrupt(&cpu, now_ns + (late != 0 ? 1000000000u : 0u), &model),
                late == 0);
            assert_false(pmu_cpu_interrupt(&cpu, now_ns, &model) && late == 0);
            pmu_model_unmask(&model);
            event_add(2, 2); // and the period is told now
            happen(2, 1);
            assert_int_equal(events[2].periods, 11 + (uint64_t)late);
            happen(2, 20);
        }
    }
}

// An interrupt that was lost for whatever reason.
static void watch_finds_what_was_lost(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        prompt_machine_start(&pmu_model_configs[i]);
        event_make(2, 100);
        event_add(2, 2);
        model.masked = true;
        happen(2, 150);
        assert_int_equal(model.dropped, 1);
        assert_int_equal(events[2].periods, 0);
        pmu_cpu_watch(&cpu);
        assert_int_equal(events[2].periods, 1);
        happen(2, 1000);
        assert_int_equal(events[2].periods, 11);
        pmu_cpu_watch(&cpu);
        assert_int_equal(foreign, 0);
    }
}

static void periods_change(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        prompt_machine_start(&pmu_model_configs[i]);
        event_make(2, 1000);
        event_add(2, 2);
        happen(2, 10);
        pmu_cpu_pause(&cpu);
        pmu_event_set_period(&cpu, &events[2].event, 100);
        pmu_cpu_resume(&cpu);
        happen(2, 99);
        assert_int_equal(events[2].periods, 0);
        happen(2, 1);
        assert_int_equal(events[2].periods, 1);
        assert_int_equal(pmu_event_count(&cpu, &events[2].event), 110);
    }
}

// A held event counts on and tells nothing; released, it begins a period.
static void held_events_tell_nothing(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        prompt_machine_start(&pmu_model_configs[i]);
        event_make(2, 100);
        event_add(2, 2);
        happen(2, 150);
        assert_int_equal(events[2].periods, 1);
        pmu_cpu_pause(&cpu);
        pmu_event_hold(&events[2].event);
        pmu_event_set_period(&cpu, &events[2].event, 100); // stays held
        pmu_cpu_resume(&cpu);
        happen(2, 1000);
        event_remove(2, 2); // over a change of tasks as well
        event_add(2, 2);
        happen(2, 1000);
        assert_int_equal(events[2].periods, 1);
        pmu_cpu_pause(&cpu);
        pmu_event_release(&cpu, &events[2].event);
        pmu_cpu_resume(&cpu);
        happen(2, 99);
        assert_int_equal(events[2].periods, 1);
        happen(2, 1);
        assert_int_equal(events[2].periods, 2);
        assert_int_equal(pmu_event_count(&cpu, &events[2].event), 2250);
    }
}

// A CPU goes off and comes back with empty registers.
static void cpus_leave_and_return(void **state)
{
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        prompt_machine_start(&pmu_model_configs[i]);
        event_make(2, 100);
        event_make(3, 0);
        event_add(2, 2);
        event_add(3, 3);
        happen(2, 130);
        happen(3, 7);
        pmu_cpu_leave(&cpu, now_ns);
        happen(2, 1000);
        const struct pmu_model_config config = model.config;
        pmu_model_init(&model, &config);
        model.counted[2] = 130;
        model.counted[3] = 7;
        assert_true(pmu_cpu_return(&cpu, now_ns));
        happen(2, 69);
        happen(3, 5);
        assert_int_equal(events[2].periods, 1);
        happen(2, 1);
        assert_int_equal(events[2].periods, 2);
        check_event(&events[2]);
        check_event(&events[3]);
        assert_int_equal(foreign, 0);
    }
}

// Registers that take every write and read as 0: QEMU's emulation, and KVM without counters.
static bool empty_try_read(uint32_t msr, uint64_t *value)
{
    *value = 0;
    return true;
}

static uint64_t empty_read(uint32_t msr)
{
    return 0;
}

static void empty_write(uint32_t msr, uint64_t value)
{
}

static bool empty_try_write(uint32_t msr, uint64_t value)
{
    return true;
}

static void counters_that_keep_nothing_are_none(void **state)
{
    struct pmu_access empty = access;
    empty.read = empty_read;
    empty.write = empty_write;
    empty.try_read = empty_try_read;
    empty.try_write = empty_try_write;
    for (size_t i = 0; i < pmu_model_config_count; i++) {
        machine_start(&pmu_model_configs[i]);
        struct pmu_cpu other = {.on_overflow = on_overflow};
        assert_true(pmu_detect(&pmu, &empty));
        assert_false(pmu_cpu_init(&other, &pmu));
    }
}

// ---- giving out ---------------------------------------------------------------------------------

// Tries all ways.
static bool fits_somehow(const uint64_t *counters, size_t count, uint64_t used)
{
    if (count == 0)
        return true;
    for (uint32_t i = 0; i < PMU_COUNTERS_MAX; i++) {
        if ((counters[0] & ~used) >> i & 1 && fits_somehow(counters + 1, count - 1, used | BIT(i)))
            return true;
    }
    return false;
}

static void groups_fit_if_there_is_a_way(void **state)
{
    uint32_t fit = 0;
    for (int round = 0; round < 20000; round++) {
        uint64_t counters[6];
        size_t count = 1 + prng_below(&prng, ARRAY_SIZE(counters));
        for (size_t i = 0; i < count; i++) {
            counters[i] = BIT(prng_below(&prng, 6)) | BIT(32 + prng_below(&prng, 3));
            if (prng_below(&prng, 2) == 0)
                counters[i] &= UINT32_MAX;
        }
        bool fits = pmu_group_fits(counters, count);
        assert_int_equal(fits, fits_somehow(counters, count, 0));
        fit += fits;
    }
    assert_in_range(fit, 1000, 19000); // both answers were seen
    const uint64_t many[PMU_COUNTERS_MAX + 1] = {1};
    assert_false(pmu_group_fits(many, ARRAY_SIZE(many)));
}

// ---- what events mean ---------------------------------------------------------------------------

static void events_have_their_codes(void **state)
{
    struct pmu_selector found;
    machine_start(&pmu_model_configs[3]);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, &found), 0);
    assert_int_equal(found.bits, 0xc0);
    assert_int_equal(found.counters, 0xff | BIT(32));
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, &found), 0);
    assert_int_equal(found.counters, 0xff | BIT(33));
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HARDWARE, PERF_COUNT_HW_REF_CPU_CYCLES, &found), 0);
    assert_int_equal(found.counters, BIT(34));
    assert_int_equal(
        pmu_find(&pmu, PERF_TYPE_HARDWARE, PERF_COUNT_HW_STALLED_CYCLES_BACKEND, &found), -ENOENT);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HARDWARE, 1000, &found), -ENOENT);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HW_CACHE,
                         PERF_COUNT_HW_CACHE_LL | PERF_COUNT_HW_CACHE_RESULT_MISS << 16, &found),
        0);
    assert_int_equal(found.bits, 0x412e);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HW_CACHE, PERF_COUNT_HW_CACHE_L1D, &found), -ENOENT);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HW_CACHE, 0x77, &found), -EINVAL);
    // Neither privilege, nor the interrupt, nor bits that other processors have.
    static const uint32_t bad[] = {16, 17, 19, 20, 21, 22, 32, 63};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(pmu_find(&pmu, PERF_TYPE_RAW, 0xc0 | BIT(bad[i]), &found), -EINVAL);
    machine_start(&pmu_model_configs[8]);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, &found), 0);
    assert_int_equal(found.bits, 0x76);
    assert_int_equal(found.counters, 0x3f);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_RAW, 0x1000000c0, &found), 0);
    assert_int_equal(pmu_find(&pmu, PERF_TYPE_RAW, BIT(40), &found), -EINVAL);
}

// ---- a hypervisor that says anything ------------------------------------------------------------

static uint32_t hostile_leaf[4];
static uint64_t hostile_missing; // one register in so many does not exist

static void hostile_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t result[4])
{
    access_cpuid(leaf, subleaf, result);
    if (leaf == 0xa || leaf == 0x80000022)
        memcpy(result, hostile_leaf, 16);
}

static uint64_t hostile_written; // last

static uint64_t hostile_read(uint32_t msr)
{
    if (prng_below(&prng, 2) == 0)
        return hostile_written; // or it looks as if there were no counters
    return prng_u64(&prng) >> prng_below(&prng, 64);
}

static void hostile_write(uint32_t msr, uint64_t value)
{
    hostile_written = value;
}

static bool hostile_try_read(uint32_t msr, uint64_t *value)
{
    *value = hostile_read(msr);
    return prng_below(&prng, hostile_missing) != 0;
}

static bool hostile_try_write(uint32_t msr, uint64_t value)
{
    return prng_below(&prng, hostile_missing) != 0;
}

static void nothing(void)
{
}

static void hostile_overflow(
    struct pmu_cpu *on, struct pmu_event *event, uint64_t periods, void *context)
{
    assert_true(periods != 0);
}

static void any_answer_is_survived(void **state)
{
    static const struct pmu_access hostile = {.cpuid = hostile_cpuid,
        .read = hostile_read,
        .write = hostile_write,
        .try_read = hostile_try_read,
        .try_write = hostile_try_write,
        .unmask = nothing,
        .raise = nothing};
    uint32_t usable = 0;
    for (int round = 0; round < 20000; round++) {
        machine_start(&pmu_model_configs[prng_below(&prng, pmu_model_config_count)]);
        for (int i = 0; i < 4; i++)
            hostile_leaf[i] = (uint32_t)(prng_u64(&prng) >> prng_below(&prng, 64));
        if (prng_below(&prng, 2) == 0) // a width that may be right
            hostile_leaf[0] = (hostile_leaf[0] & 0xff00ffff) | 48u << 16;
        hostile_missing = prng_below(&prng, 2) == 0 ? 1000000 : 20;
        struct pmu_cpu other = {.on_overflow = hostile_overflow};
        if (!pmu_detect(&pmu, &hostile) || !pmu_cpu_init(&other, &pmu))
            continue;
        usable++;
        struct test_event some[8] = {0};
        for (int i = 0; i < 8; i++) {
            struct pmu_selector selector;
            if (pmu_find(&pmu, PERF_TYPE_RAW, 0xc0 + (uint64_t)i, &selector) != 0)
                continue;
            pmu_event_init(&some[i].event, &selector, 1 + (prng_u64(&prng) >> (1 + i * 7)));
            pmu_group_init(&some[i].group, i == 3);
            pmu_cpu_pause(&other);
            pmu_event_add(&other, &some[i].group, &some[i].event);
            pmu_cpu_rotate(&other, now_ns++);
            pmu_cpu_resume(&other);
            (void)pmu_cpu_interrupt(&other, now_ns++, NULL);
            (void)pmu_event_count(&other, &some[i].event);
            pmu_cpu_watch(&other);
        }
    }
    assert_in_range(usable, 1000, 19999);
}

int main(void)
{
    prng = host_seed("pmu");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_overflow_is_lost),
        cmocka_unit_test(long_periods_are_split),
        cmocka_unit_test(turns_are_fair),
        cmocka_unit_test(groups_count_together),
        cmocka_unit_test(interrupts_of_others_are_theirs),
        cmocka_unit_test(watch_finds_what_was_lost),
        cmocka_unit_test(periods_change),
        cmocka_unit_test(held_events_tell_nothing),
        cmocka_unit_test(cpus_leave_and_return),
        cmocka_unit_test(counters_that_keep_nothing_are_none),
        cmocka_unit_test(groups_fit_if_there_is_a_way),
        cmocka_unit_test(events_have_their_codes),
        cmocka_unit_test(any_answer_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
