// SPDX-License-Identifier: MIT
//
// Unit tests of the statistics: known values, and series whose truth is known.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tools/lodger/statistics.h"

#include <math.h>
#include <stdlib.h>

static void assert_near(double value, double expected, double tolerance)
{
    if (fabs(value - expected) > tolerance) {
        fail_msg("%f is not within %f of %f", value, tolerance, expected);
    }
}

static struct samples series(const double *values, size_t count)
{
    struct samples samples = {};
    for (size_t i = 0; i < count; i++) {
        samples_add(&samples, values[i]);
    }
    return samples;
}

static void quantiles(void **state)
{
    struct samples odd = series((double[]){5, 1, 3, 2, 4}, 5);
    assert_near(samples_median(&odd), 3, 1e-12);
    assert_near(samples_quantile(&odd, 0), 1, 1e-12);
    assert_near(samples_quantile(&odd, 1), 5, 1e-12);
    assert_near(samples_quantile(&odd, 0.25), 2, 1e-12);
    assert_near(samples_quantile(&odd, 0.9), 4.6, 1e-12);
    assert_near(samples_spread(&odd), 2.0 / 3, 1e-12);
    struct samples even = series((double[]){4, 1, 3, 2}, 4);
    assert_near(samples_median(&even), 2.5, 1e-12);
    struct samples one = series((double[]){7}, 1);
    assert_near(samples_median(&one), 7, 1e-12);
    assert_near(samples_spread(&one), 0, 1e-12);
    assert_near(odd.values[0], 5, 0); // the order of measurement is kept
    samples_free(&odd);
    samples_free(&even);
    samples_free(&one);
}

static void outliers_are_counted_and_kept(void **state)
{
    struct samples samples = series((double[]){10, 11, 10, 12, 11, 10, 95, 11}, 8);
    assert_int_equal(samples_count_outliers(&samples), 1);
    assert_true(samples_is_outlier(&samples, 95));
    assert_false(samples_is_outlier(&samples, 12));
    assert_int_equal(samples.count, 8);
    assert_near(samples_median(&samples), 11, 1e-12);
    samples_free(&samples);
}

// Noise with a long tail, as a shared machine makes it: mostly within 3 %, now and then three times
// as long.
static double noise(unsigned short *seed)
{
    double factor = 1 + 0.03 * erand48(seed);
    return erand48(seed) < 0.05 ? 3 * factor : factor;
}

// Pairs of which the second is `ratio` times faster. What disturbs a pair, drifts of the machine by
// up to a factor of two, disturbs both.
static void measure_pairs(
    double ratio, size_t count, unsigned seed, struct samples *a, struct samples *b)
{
    unsigned short random[3] = {(unsigned short)seed, 1, 2};
    for (size_t i = 0; i < count; i++) {
        double drift = 1 + erand48(random);
        samples_add(a, 100 * ratio * drift * noise(random));
        samples_add(b, 100 * drift * noise(random));
    }
}

// In how many of 200 experiments the interval holds `claimed`, where `ratio` is true.
static unsigned count_holding(double ratio, double claimed, size_t pairs)
{
    unsigned holding = 0;
    for (unsigned seed = 0; seed < 200; seed++) {
        struct samples a = {}, b = {};
        struct estimate estimate;
        measure_pairs(ratio, pairs, seed, &a, &b);
        assert_true(statistics_paired_ratio(&a, &b, &estimate));
        assert_true(estimate.low <= estimate.value && estimate.value <= estimate.high);
        holding += estimate.low <= claimed && claimed <= estimate.high;
        samples_free(&a);
        samples_free(&b);
    }
    return holding;
}

static void equal_things_are_found_equal(void **state)
{
    assert_true(count_holding(1, 1, 21) >= 184); // 92 %; 95 % are expected
}

static void five_percent_are_found(void **state)
{
    assert_true(count_holding(1.05, 1, 21) <= 2);
    assert_true(count_holding(1.05, 1.05, 21) >= 184);
}

static void pairs_see_through_drift(void **state)
{
    // The same data, not paired: a drift by a factor of two hides 5 %.
    struct samples a = {}, b = {};
    struct estimate paired, unpaired;
    measure_pairs(1.05, 21, 3, &a, &b);
    assert_true(statistics_paired_ratio(&a, &b, &paired));
    assert_true(statistics_ratio(&a, &b, &unpaired));
    assert_true(paired.high - paired.low < (unpaired.high - unpaired.low) / 4);
    samples_free(&a);
    samples_free(&b);
}

static void edges(void **state)
{
    struct samples none = {}, one = series((double[]){6}, 1), other = series((double[]){3, 9}, 2);
    struct samples zero = series((double[]){0}, 1);
    struct estimate ratio;
    assert_false(statistics_paired_ratio(&none, &one, &ratio));
    assert_false(statistics_paired_ratio(&one, &zero, &ratio));
    assert_false(statistics_ratio(&one, &zero, &ratio));
    assert_true(statistics_paired_ratio(&one, &other, &ratio));
    assert_near(ratio.value, 2, 1e-12);
    assert_near(ratio.low, 2, 1e-12);
    assert_near(ratio.high, 2, 1e-12);
    assert_true(statistics_ratio(&one, &other, &ratio));
    assert_near(ratio.value, 1, 1e-12);
    samples_free(&one);
    samples_free(&other);
    samples_free(&zero);
}

static void the_same_each_time(void **state)
{
    struct samples a = {}, b = {};
    struct estimate first, second;
    measure_pairs(1.2, 15, 9, &a, &b);
    assert_true(statistics_paired_ratio(&a, &b, &first));
    assert_true(statistics_paired_ratio(&a, &b, &second));
    assert_near(first.low, second.low, 0);
    assert_near(first.high, second.high, 0);
    samples_free(&a);
    samples_free(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles),
        cmocka_unit_test(outliers_are_counted_and_kept),
        cmocka_unit_test(equal_things_are_found_equal),
        cmocka_unit_test(five_percent_are_found),
        cmocka_unit_test(pairs_see_through_drift),
        cmocka_unit_test(edges),
        cmocka_unit_test(the_same_each_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
