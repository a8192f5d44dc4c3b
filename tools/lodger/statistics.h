// SPDX-License-Identifier: MIT
//
// What a series of measurements says: median, quantiles, outliers, and how sure a ratio is.
//
// Nothing here assumes a distribution: times on a shared machine have long tails and several humps.
// No value is ever left out; outliers are only counted.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct samples {
    double *values; // in the order in which they were measured
    size_t count;
    size_t capacity;
};

void samples_add(struct samples *samples, double value);
void samples_free(struct samples *samples);

// The value below which the share `q` (0 to 1) of the samples lies, between neighbours in
// proportion. The samples must not be empty.
double samples_quantile(const struct samples *samples, double q);
double samples_median(const struct samples *samples);

// How far the middle half of the samples reaches, as a share of the median: (q75 - q25) / median. 0
// for fewer than two samples or a median of 0.
double samples_spread(const struct samples *samples);

// Whether `value` lies more than 1.5 interquartile ranges outside the middle half of the samples.
bool samples_is_outlier(const struct samples *samples, double value);
size_t samples_count_outliers(const struct samples *samples);

// An estimate with the interval that holds the true value with a probability of 95 %.
struct estimate {
    double value;
    double low;
    double high;
};

// The ratio a[i] / b[i] of pairs that were measured one right after the other, so that what
// disturbed one disturbed the other: median of the ratios, interval by bootstrap (percentiles of
// the medians of resampled pairs; the resampling is seeded and the same each time). Pairs beyond the
// shorter series are not looked at. With a single pair, or if all ratios are equal, the interval is
// a point. Returns false if there is no pair or a value in b is 0.
[[nodiscard]] bool statistics_paired_ratio(
    const struct samples *a, const struct samples *b, struct estimate *ratio);

// The ratio of the medians of two series that were not measured in pairs; both are resampled.
[[nodiscard]] bool statistics_ratio(
    const struct samples *a, const struct samples *b, struct estimate *ratio);
