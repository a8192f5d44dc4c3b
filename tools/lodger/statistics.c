// SPDX-License-Identifier: MIT
//
// Statistics without assumptions on the distribution.
#include "tools/lodger/statistics.h"

#include "tools/lodger/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

// Resamplings of a bootstrap. The ends of the interval then rest on 100 of them each.
#define RESAMPLINGS 4000
// The interval leaves out so much at each end.
#define TAIL 0.025
#define SEED UINT64_C(0x9e3779b97f4a7c15)

void samples_add(struct samples *samples, double value)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity != 0 ? 2 * samples->capacity : 16;
        samples->values = xrealloc(samples->values, samples->capacity * sizeof(double));
    }
    samples->values[samples->count++] = value;
}

void samples_free(struct samples *samples)
{
    free(samples->values);
    *samples = (struct samples){};
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double quantile_of_sorted(const double *sorted, size_t count, double q)
{
    double place = q * (double)(count - 1);
    size_t below = (size_t)place;
    size_t above = below + 1 < count ? below + 1 : below;
    double share = place - (double)below;
    return sorted[below] + share * (sorted[above] - sorted[below]);
}

double samples_quantile(const struct samples *samples, double q)
{
    assert(samples->count > 0);
    assert(q >= 0 && q <= 1);
    double *sorted = xmalloc(samples->count * sizeof(double));
    memcpy(sorted, samples->values, samples->count * sizeof(double));
    qsort(sorted, samples->count, sizeof(double), compare_doubles);
    double value = quantile_of_sorted(sorted, samples->count, q);
    free(sorted);
    return value;
}

double samples_median(const struct samples *samples)
{
    return samples_quantile(samples, 0.5);
}

double samples_spread(const struct samples *samples)
{
    double median = samples->count >= 2 ? samples_median(samples) : 0;
    if (median == 0) {
        return 0;
    }
    return (samples_quantile(samples, 0.75) - samples_quantile(samples, 0.25)) / median;
}

bool samples_is_outlier(const struct samples *samples, double value)
{
    if (samples->count < 4) {
        return false;
    }
    double q25 = samples_quantile(samples, 0.25), q75 = samples_quantile(samples, 0.75);
    double reach = 1.5 * (q75 - q25);
    return value < q25 - reach || value > q75 + reach;
}

size_t samples_count_outliers(const struct samples *samples)
{
    size_t count = 0;
    for (size_t i = 0; i < samples->count; i++) {
        count += samples_is_outlier(samples, samples->values[i]);
    }
    return count;
}

// xorshift64*: the same sequence on every machine.
static size_t random_below(uint64_t *state, size_t limit)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (size_t)(((*state * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % limit);
}

// The median of as many values as there are, drawn with replacement. `drawn` has room for them.
static double resampled_median(const double *values, size_t count, uint64_t *random, double *drawn)
{
    for (size_t i = 0; i < count; i++) {
        drawn[i] = values[random_below(random, count)];
    }
    qsort(drawn, count, sizeof(double), compare_doubles);
    return quantile_of_sorted(drawn, count, 0.5);
}

static void set_interval(struct estimate *estimate, double *resampled)
{
    qsort(resampled, RESAMPLINGS, sizeof(double), compare_doubles);
    estimate->low = quantile_of_sorted(resampled, RESAMPLINGS, TAIL);
    estimate->high = quantile_of_sorted(resampled, RESAMPLINGS, 1 - TAIL);
}

bool statistics_paired_ratio(
    const struct samples *a, const struct samples *b, struct estimate *ratio)
{
    size_t count = a->count < b->count ? a->count : b->count;
    struct samples ratios = {};
    for (size_t i = 0; i < count; i++) {
        if (b->values[i] == 0) {
            samples_free(&ratios);
            return false;
        }
        samples_add(&ratios, a->values[i] / b->values[i]);
    }
    if (count == 0) {
        return false;
    }
    double *drawn = xmalloc(count * sizeof(double));
    double *resampled = xmalloc(RESAMPLINGS * sizeof(double));
    uint64_t random = SEED;
    for (size_t i = 0; i < RESAMPLINGS; i++) {
        resampled[i] = resampled_median(ratios.values, count, &random, drawn);
    }
    ratio->value = samples_median(&ratios);
    set_interval(ratio, resampled);
    free(resampled);
    free(drawn);
    samples_free(&ratios);
    return true;
}

bool statistics_ratio(const struct samples *a, const struct samples *b, struct estimate *ratio)
{
    if (a->count == 0 || b->count == 0 || samples_median(b) == 0) {
        return false;
    }
    size_t room = a->count > b->count ? a->count : b->count;
    double *drawn = xmalloc(room * sizeof(double));
    double *resampled = xmalloc(RESAMPLINGS * sizeof(double));
    uint64_t random = SEED;
    for (size_t i = 0; i < RESAMPLINGS; i++) {
        double above = resampled_median(a->values, a->count, &random, drawn);
        double below = resampled_median(b->values, b->count, &random, drawn);
        resampled[i] = below != 0 ? above / below : above / samples_median(b);
    }
    ratio->value = samples_median(a) / samples_median(b);
    set_interval(ratio, resampled);
    free(resampled);
    free(drawn);
    return true;
}
