// SPDX-License-Identifier: MIT
// See model.h. Register numbers stand here once more, on purpose: a wrong one in the driver must
// not be right here.
#include "perf/pmu/model.h"

#include <string.h>

#define FIXED        32
#define ENABLE_BIT   (UINT64_C(1) << 22)
#define INT_BIT      (UINT64_C(1) << 20)
#define USER_BIT     (UINT64_C(1) << 16)
#define KERNEL_BIT   (UINT64_C(1) << 17)
#define FREEZE       (UINT64_C(1) << 12)
#define FROZEN       (UINT64_C(1) << 59)
#define AMD_STRIDE_2 UINT32_C(0xc0010200)

const struct pmu_model_config pmu_model_configs[] = {
    {"Intel 2", .version = 2, .general = 2, .fixed = 3, .width_bits = 40},
    {"Intel 2 without freezing", .version = 2, .general = 4, .width_bits = 48, .no_freeze = true},
    {"Intel 3", .version = 3, .general = 4, .fixed = 3, .width_bits = 48, .full_width = true},
    {"Intel 4", .version = 4, .general = 8, .fixed = 4, .width_bits = 48, .full_width = true},
    {"Intel 4 late", .version = 4, .general = 4, .fixed = 3, .width_bits = 48, .late = 9},
    {"Intel 5", .version = 5, .general = 6, .fixed = 1, .fixed_mask = 5, .width_bits = 48,
        .full_width = true, .late = 1},
    {"Intel 5 unfrozen", .version = 5, .general = 8, .fixed = 3, .fixed_mask = 7, .width_bits = 64,
        .full_width = true, .no_freeze = true, .late = 3},
    {"AMD of old", .amd = true, .version = 1, .general = 4, .width_bits = 48},
    {"AMD", .amd = true, .version = 1, .general = 6, .width_bits = 48, .core_extension = true},
    {"AMD late", .amd = true, .version = 1, .general = 6, .width_bits = 48, .core_extension = true,
        .late = 25},
    {"AMD PerfMonV2", .amd = true, .version = 2, .general = 6, .width_bits = 48,
        .core_extension = true},
    {"AMD PerfMonV2 late", .amd = true, .version = 2, .general = 6, .width_bits = 48,
        .core_extension = true, .late = 12},
};
const size_t pmu_model_config_count = sizeof(pmu_model_configs) / sizeof(pmu_model_configs[0]);

static const uint64_t fixed_codes[] = {0x00c0, 0x003c, 0x0300};

void pmu_model_init(struct pmu_model *model, const struct pmu_model_config *config)
{
    uint64_t codes[PMU_MODEL_CODES];
    memcpy(codes, model->codes, sizeof(codes));
    memset(model, 0, sizeof(*model));
    memcpy(model->codes, codes, sizeof(codes));
    model->config = *config;
    model->masked = true;
}

// ---- CPUID --------------------------------------------------------------------------------------

static void intel_cpuid(const struct pmu_model *model, uint32_t leaf, uint32_t result[4])
{
    const struct pmu_model_config *config = &model->config;
    if (leaf == 0) {
        result[0] = result[0] < 0xa ? 0xa : result[0];
        memcpy(&result[1], "Genu", 4);
        memcpy(&result[3], "ineI", 4);
        memcpy(&result[2], "ntel", 4);
    } else if (leaf == 1) {
        result[2] |= UINT32_C(1) << 15;
    } else if (leaf == 0xa) {
        result[0] =
            config->version | config->general << 8 | config->width_bits << 16 | UINT32_C(7) << 24;
        result[1] = 0;
        result[2] = (uint32_t)config->fixed_mask;
        result[3] = config->fixed | config->width_bits << 5;
    }
}

static void amd_cpuid(const struct pmu_model *model, uint32_t leaf, uint32_t result[4])
{
    const struct pmu_model_config *config = &model->config;
    if (leaf == 0) {
        memcpy(&result[1], "Auth", 4);
        memcpy(&result[3], "enti", 4);
        memcpy(&result[2], "cAMD", 4);
    } else if (leaf == 1) {
        result[0] = 0x00a20f10; // family 19h
    } else if (leaf == 0xa) {
        memset(result, 0, 16);
    } else if (leaf == 0x80000000) {
        result[0] = 0x80000022;
    } else if (leaf == 0x80000001) {
        result[2] = (result[2] & ~(UINT32_C(1) << 23)) | (uint32_t)config->core_extension << 23;
    } else if (leaf == 0x80000022) {
        memset(result, 0, 16);
        result[0] = config->version >= 2;
        result[1] = config->version >= 2 ? config->general : 0;
    }
}

void pmu_model_cpuid(
    const struct pmu_model *model, uint32_t leaf, uint32_t subleaf, uint32_t result[4])
{
    (void)subleaf;
    if (model->config.amd)
        amd_cpuid(model, leaf, result);
    else
        intel_cpuid(model, leaf, result);
}

// ---- registers ----------------------------------------------------------------------------------

static uint64_t width_mask(const struct pmu_model *model)
{
    return model->config.width_bits >= 64 ? UINT64_MAX
                                          : (UINT64_C(1) << model->config.width_bits) - 1;
}

static uint64_t fixed_mask(const struct pmu_model *model)
{
    uint64_t mask = (UINT64_C(1) << model->config.fixed) - 1;
    return model->config.version >= 5 ? mask | model->config.fixed_mask : mask;
}

static uint64_t all_counters(const struct pmu_model *model)
{
    return ((UINT64_C(1) << model->config.general) - 1) |
           (model->config.amd ? 0 : fixed_mask(model) << FIXED);
}

// Time passes with each access and event.
static void step(struct pmu_model *model)
{
    if (!model->on_its_way)
        return;
    if (model->pending_in != 0) {
        model->pending_in--;
        return;
    }
    model->on_its_way = false;
    model->pending = true;
}

static uint64_t *intel_register(struct pmu_model *model, uint32_t msr)
{
    const struct pmu_model_config *config = &model->config;
    if (msr >= 0x186 && msr < 0x186 + config->general)
        return &model->select[msr - 0x186];
    if (msr >= 0xc1 && msr < 0xc1 + config->general)
        return &model->counter[msr - 0xc1];
    if (config->full_width && msr >= 0x4c1 && msr < 0x4c1 + config->general)
        return &model->counter[msr - 0x4c1];
    if (msr >= 0x309 && msr < 0x309 + 16 && (fixed_mask(model) >> (msr - 0x309) & 1))
        return &model->counter[FIXED + msr - 0x309];
    if (msr == 0x38d)
        return &model->fixed_control;
    if (msr == 0x38e)
        return &model->global_status;
    if (msr == 0x38f)
        return &model->global_control;
    if (msr == 0x1d9)
        return &model->debug_control;
    return NULL;
}

static uint64_t *amd_register(struct pmu_model *model, uint32_t msr)
{
    const struct pmu_model_config *config = &model->config;
    if (config->core_extension && msr >= AMD_STRIDE_2 && msr < AMD_STRIDE_2 + 2 * config->general) {
        uint32_t index = (msr - AMD_STRIDE_2) / 2;
        return msr & 1 ? &model->counter[index] : &model->select[index];
    }
    if (msr >= 0xc0010000 && msr < 0xc0010004)
        return &model->select[msr - 0xc0010000];
    if (msr >= 0xc0010004 && msr < 0xc0010008)
        return &model->counter[msr - 0xc0010004];
    if (config->version >= 2 && msr == 0xc0000300)
        return &model->global_status;
    if (config->version >= 2 && msr == 0xc0000301)
        return &model->global_control;
    return NULL;
}

static uint64_t *find(struct pmu_model *model, uint32_t msr)
{
    return model->config.amd ? amd_register(model, msr) : intel_register(model, msr);
}

bool pmu_model_read(struct pmu_model *model, uint32_t msr, uint64_t *value)
{
    step(model);
    if (!model->config.amd && msr == 0x345) {
        *value = (uint64_t)model->config.full_width << 13;
        return true;
    }
    const uint64_t *place = find(model, msr);
    if (place == NULL) {
        model->wrong++;
        return false;
    }
    *value = *place;
    return true;
}

static bool is_counter(const struct pmu_model *model, const uint64_t *place)
{
    return place >= model->counter && place < model->counter + PMU_MODEL_COUNTERS;
}

// What a write to a counter leaves in it; false: bits that it has not.
static bool counter_value(const struct pmu_model *model, uint32_t msr, uint64_t *value)
{
    bool narrow = !model->config.amd && msr >= 0xc1 && msr < 0xc1 + 32;
    if (narrow)
        *value = (uint64_t)(int64_t)(int32_t)*value & width_mask(model);
    return (*value & ~width_mask(model)) == 0;
}

static bool control_is_right(const struct pmu_model *model, uint64_t *place, uint64_t value)
{
    if (place == &model->global_control)
        return (value & ~all_counters(model)) == 0;
    if (place == &model->fixed_control) {
        for (uint32_t i = 0; i < 16; i++) {
            if ((value >> (4 * i) & 15) != 0 && !(fixed_mask(model) >> i & 1))
                return false;
        }
    }
    if (place == &model->debug_control && (value & FREEZE) && model->config.no_freeze)
        return false;
    return place != &model->global_status; // read-only
}

bool pmu_model_write(struct pmu_model *model, uint32_t msr, uint64_t value)
{
    step(model);
    const bool clears =
        model->config.amd ? model->config.version >= 2 && msr == 0xc0000302 : msr == 0x390;
    if (clears) {
        model->global_status &= ~value;
        return true;
    }
    uint64_t *place = find(model, msr);
    bool right = place != NULL && control_is_right(model, place, value);
    if (right && is_counter(model, place))
        right = counter_value(model, msr, &value);
    if (!right) {
        model->wrong++;
        return false;
    }
    *place = value;
    return true;
}

void pmu_model_unmask(struct pmu_model *model)
{
    model->masked = false;
}

// ---- counting -----------------------------------------------------------------------------------

// Does the counter count this event now?
static bool counts(const struct pmu_model *model, int counter, uint64_t code, bool in_kernel)
{
    const struct pmu_model_config *config = &model->config;
    if (!(all_counters(model) >> counter & 1))
        return false;
    if ((!config->amd || config->version >= 2) && !(model->global_control >> counter & 1))
        return false;
    if (!config->amd && (model->global_status & FROZEN))
        return false;
    if (counter >= FIXED) {
        uint32_t index = (uint32_t)counter - FIXED;
        uint64_t control = model->fixed_control >> (4 * index) & 15;
        return index < 3 && fixed_codes[index] == code && (control & (in_kernel ? 1 : 2));
    }
    uint64_t select = model->select[counter];
    return (select & ENABLE_BIT) && (select & 0xffff) == code &&
           (select & (in_kernel ? KERNEL_BIT : USER_BIT));
}

static bool interrupts(const struct pmu_model *model, int counter)
{
    if (counter >= FIXED)
        return model->fixed_control >> (4 * ((uint32_t)counter - FIXED)) & 8;
    return (model->select[counter] & INT_BIT) != 0;
}

// Table 20-5 of the SDM: version 2 clears the control at the interrupt, version 4 sets the status.
static void freeze(struct pmu_model *model)
{
    if (model->config.amd || !(model->debug_control & FREEZE))
        return;
    if (model->config.version >= 4)
        model->global_status |= FROZEN;
    else
        model->global_control = 0;
}

static void overflow(struct pmu_model *model, int counter)
{
    if (!model->config.amd || model->config.version >= 2)
        model->global_status |= UINT64_C(1) << counter;
    if (!interrupts(model, counter))
        return;
    model->overflows++;
    if (model->masked) {
        if (!model->on_its_way && !model->pending) // else the one under way finds it
            model->dropped++;
        return;
    }
    model->masked = !model->config.amd;
    freeze(model);
    if (model->on_its_way || model->pending)
        return; // NMIs do not queue
    model->on_its_way = true;
    model->pending_in = model->config.late;
    step(model);
}

// The most that can happen before the next overflow.
static uint64_t room(const struct pmu_model *model, uint64_t code, bool in_kernel, uint64_t count)
{
    for (int counter = 0; counter < PMU_MODEL_COUNTERS; counter++) {
        if (!counts(model, counter, code, in_kernel))
            continue;
        uint64_t left = width_mask(model) - model->counter[counter];
        if (left != UINT64_MAX && left + 1 < count)
            count = left + 1;
    }
    return count;
}

static void count_now(struct pmu_model *model, int index, bool in_kernel, uint64_t count)
{
    uint64_t code = model->codes[index];
    uint64_t counting = 0;
    for (int counter = 0; counter < PMU_MODEL_COUNTERS; counter++)
        counting |= (uint64_t)counts(model, counter, code, in_kernel) << counter;
    for (int counter = 0; counter < PMU_MODEL_COUNTERS; counter++) {
        if (!(counting >> counter & 1))
            continue;
        model->counted[index] += count;
        model->counter[counter] = (model->counter[counter] + count) & width_mask(model);
        if (model->counter[counter] == 0)
            overflow(model, counter);
    }
    model->happened[index] += count;
}

uint64_t pmu_model_events(struct pmu_model *model, int index, bool in_kernel, uint64_t count)
{
    while (count != 0 && !model->pending) {
        uint64_t now = room(model, model->codes[index], in_kernel, count);
        if (model->on_its_way)
            now = 1; // it may arrive in between
        count_now(model, index, in_kernel, now);
        step(model);
        count -= now;
    }
    return count;
}

bool pmu_model_may_overflow(
    const struct pmu_model *model, int index, bool in_kernel, uint64_t count)
{
    return room(model, model->codes[index], in_kernel, count + 1) <= count;
}

bool pmu_model_take_nmi(struct pmu_model *model)
{
    bool due = model->pending;
    model->pending = false;
    return due;
}
