// SPDX-License-Identifier: MIT
//
// Fitting the guest's clock, and the host's side of the handshake.
#include "tools/lodger/perf/clock.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// What the guest's measure of its TSC's rate is good for.
#define FIRST_RATE_ERROR 500e-6
// What the host's clock is slewed by at most (adjtimex), and what a rate is never better than.
#define RATE_ERROR_MIN 1e-7
// A guest cannot make us loop longer.
#define LOOP_MAX 10000000u

static uint64_t host_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void guest_clock_init(struct guest_clock *clock, uint64_t tsc_hz)
{
    *clock = (struct guest_clock){.rate_error = FIRST_RATE_ERROR};
    // Between 1 MHz and 100 GHz; what a guest says outside of that is nonsense.
    bool sane = tsc_hz >= 1000000 && tsc_hz <= 100000000000;
    clock->ns_per_tick = sane ? 1e9 / (double)tsc_hz : 1.0;
}

// Nanoseconds between two TSC values, `to` after `from`.
static double distance_ns(const struct guest_clock *clock, uint64_t from, uint64_t to)
{
    return (double)(int64_t)(to - from) * clock->ns_per_tick;
}

// Adjusts the rate to the points (C2).
static void fit(struct guest_clock *clock)
{
    double best_error = clock->count > 2 ? INFINITY : clock->rate_error, best_rate = 0;
    for (unsigned i = 0; i < clock->count; i++) {
        for (unsigned j = i + 1; j < clock->count; j++) {
            const struct clock_point *a = &clock->points[i], *b = &clock->points[j];
            double ticks = (double)(int64_t)(b->tsc - a->tsc);
            double ns = (double)(int64_t)(b->host_ns - a->host_ns);
            double error = (double)(a->error_ns + b->error_ns) / ns;
            if (ticks > 0 && ns > 0 && error < best_error) {
                best_error = error;
                best_rate = ns / ticks;
            }
        }
    }
    if (best_rate > 0) {
        clock->ns_per_tick = best_rate;
        clock->rate_error = fmax(best_error, RATE_ERROR_MIN);
    }
}

bool guest_clock_add(struct guest_clock *clock, const struct clock_bounds *bounds)
{
    assert(bounds->lower_count <= PERF_EXPORT_CLOCK_PAIRS);
    assert(bounds->upper_count <= PERF_EXPORT_CLOCK_ROUNDS);
    if (bounds->lower_count == 0 || bounds->upper_count == 0) {
        clock->failures++;
        return false;
    }
    // Everything is moved to the first lower bound's TSC and counted from its host time.
    uint64_t tsc = bounds->lower[0].tsc, host_ns = bounds->lower[0].host_ns;
    double low = -INFINITY, high = INFINITY, span = 0;
    for (unsigned i = 0; i < bounds->lower_count; i++) {
        double moved = (double)(int64_t)(bounds->lower[i].host_ns - host_ns) -
                       distance_ns(clock, tsc, bounds->lower[i].tsc);
        low = fmax(low, moved);
        span = fmax(span, fabs(distance_ns(clock, tsc, bounds->lower[i].tsc)));
    }
    for (unsigned i = 0; i < bounds->upper_count; i++) {
        double moved = (double)(int64_t)(bounds->upper[i].host_ns - host_ns) -
                       distance_ns(clock, tsc, bounds->upper[i].tsc);
        high = fmin(high, moved);
        span = fmax(span, fabs(distance_ns(clock, tsc, bounds->upper[i].tsc)));
    }
    double slack = span * clock->rate_error + 1;
    if (!(low <= high + 2 * slack) || span > 1e9 || fabs(low) > 1e9 || fabs(high) > 1e9) {
        clock->failures++;
        return false; // C1
    }
    double middle = (low + high) / 2;
    struct clock_point point = {tsc, host_ns + (uint64_t)(int64_t)llround(middle),
        (uint64_t)(fabs(high - low) / 2 + slack)};
    if (clock->count == CLOCK_POINTS_MAX) {
        memmove(&clock->points[0], &clock->points[1],
            (CLOCK_POINTS_MAX - 1) * sizeof(clock->points[0]));
        clock->count--;
    }
    clock->points[clock->count++] = point;
    clock->handshakes++;
    fit(clock);
    return true;
}

// The point from which a TSC value is known best (C3).
static const struct clock_point *best_point(
    const struct guest_clock *clock, uint64_t tsc, double *error_ns)
{
    const struct clock_point *best = NULL;
    for (unsigned i = 0; i < clock->count; i++) {
        const struct clock_point *point = &clock->points[i];
        double error =
            (double)point->error_ns + fabs(distance_ns(clock, point->tsc, tsc)) * clock->rate_error;
        if (best == NULL || error < *error_ns) {
            best = point;
            *error_ns = error;
        }
    }
    assert(best != NULL);
    return best;
}

uint64_t guest_clock_convert(const struct guest_clock *clock, uint64_t tsc)
{
    double error_ns;
    const struct clock_point *point = best_point(clock, tsc, &error_ns);
    double ns = (double)point->host_ns + distance_ns(clock, point->tsc, tsc);
    if (!(ns > 0)) {
        return 0;
    }
    // A double has 53 bits: enough for the distance, not for the sum.
    int64_t distance = (int64_t)llround(fmin(distance_ns(clock, point->tsc, tsc), 4e18));
    return point->host_ns + (uint64_t)distance;
}

uint64_t guest_clock_error_ns(const struct guest_clock *clock, uint64_t tsc)
{
    double error_ns;
    best_point(clock, tsc, &error_ns);
    return (uint64_t)fmin(error_ns, 1e18);
}

// ---- handshake ------------------------------------------------------------------------

// The two words through which it goes, mapped or not.
struct clock_words {
    struct attach *attach;
    uint64_t physical; // of struct perf_export_clock
    uint64_t *host_ns; // mapped, or NULL
    const uint64_t *guest_tsc;
};

static int exchange(const struct clock_words *words, uint64_t now_ns, uint64_t *guest_tsc)
{
    if (words->host_ns != NULL) {
        __atomic_store_n(words->host_ns, now_ns, __ATOMIC_RELEASE);
        *guest_tsc = __atomic_load_n(words->guest_tsc, __ATOMIC_ACQUIRE);
        return 0;
    }
    struct guest_memory *memory = words->attach->memory;
    int error = guest_memory_write(memory,
        words->physical + offsetof(struct perf_export_clock, host_ns), &now_ns, sizeof(now_ns));
    return error != 0 ? error
                      : guest_memory_read(memory,
                            words->physical + offsetof(struct perf_export_clock, guest_tsc),
                            guest_tsc, sizeof(*guest_tsc));
}

// Keeps the bound; when there are too many, the last ones.
static void add_upper(struct clock_bounds *bounds, uint64_t tsc, uint64_t host_ns)
{
    unsigned place = bounds->upper_count < PERF_EXPORT_CLOCK_ROUNDS ? bounds->upper_count++
                                                                    : bounds->upper_count - 1;
    bounds->upper[place] = (struct clock_bound){tsc, host_ns};
}

static bool answered(struct attach *attach)
{
    uint32_t done;
    uint64_t address = attach->physical + offsetof(struct perf_export_descriptor, status) +
                       offsetof(struct perf_export_status, clock);
    return guest_memory_read(attach->memory, address, &done, sizeof(done)) == 0 &&
           done == attach->request.clock;
}

// Takes the guest's pairs over.
static bool read_pairs(struct attach *attach, uint64_t physical, struct clock_bounds *bounds)
{
    struct perf_export_clock page;
    if (guest_memory_read(attach->memory, physical, &page, sizeof(page)) != 0 ||
        page.pair_count > PERF_EXPORT_CLOCK_PAIRS) {
        return false;
    }
    for (unsigned i = 0; i < page.pair_count; i++) {
        bounds->lower[i] = (struct clock_bound){page.pairs[i].tsc, page.pairs[i].host_ns};
    }
    bounds->lower_count = page.pair_count;
    return true;
}

// Lower bounds that we did not write are no bounds.
static bool pairs_are_ours(const struct clock_bounds *bounds, uint64_t first_ns, uint64_t last_ns)
{
    for (unsigned i = 0; i < bounds->lower_count; i++) {
        if (bounds->lower[i].host_ns < first_ns || bounds->lower[i].host_ns > last_ns) {
            return false;
        }
    }
    return true;
}

bool guest_clock_handshake(struct guest_clock *clock, struct attach *attach, uint64_t patience_ns)
{
    struct clock_words words = {.attach = attach, .physical = attach->status.clock_physical};
    uint8_t *page =
        guest_memory_map(attach->memory, words.physical, sizeof(struct perf_export_clock));
    if (words.physical == 0 || words.physical % 64 != 0) {
        return false;
    }
    if (page != NULL) {
        words.host_ns = (uint64_t *)(page + offsetof(struct perf_export_clock, host_ns));
        words.guest_tsc = (uint64_t *)(page + offsetof(struct perf_export_clock, guest_tsc));
    }
    uint64_t start_ns = host_now_ns(), before_ns = start_ns;
    uint64_t last_tsc, tsc;
    if (exchange(&words, start_ns, &last_tsc) != 0) {
        return false;
    }
    attach->request.clock++;
    uint64_t clock_word = attach->physical + offsetof(struct perf_export_descriptor, request) +
                          offsetof(struct perf_export_request, clock);
    if (guest_memory_write(attach->memory, clock_word, &attach->request.clock,
            sizeof(attach->request.clock)) != 0) {
        return false;
    }
    struct clock_bounds bounds = {};
    bool done = false;
    for (unsigned i = 0; i < LOOP_MAX && !done && before_ns - start_ns < patience_ns; i++) {
        before_ns = host_now_ns();
        if (exchange(&words, before_ns, &tsc) != 0) {
            return false;
        }
        if (tsc != last_tsc) {
            add_upper(&bounds, tsc, host_now_ns());
            last_tsc = tsc;
        }
        done = i % 16 == 0 && answered(attach);
        // A guest that has no processor now is not helped by our having one: coarser, then.
        if (before_ns - start_ns > patience_ns / 4) {
            usleep(50);
        }
    }
    done = done || answered(attach);
    // What it wrote since we looked last.
    if (exchange(&words, before_ns, &tsc) == 0 && tsc != last_tsc) {
        add_upper(&bounds, tsc, host_now_ns());
    }
    if (!done || !read_pairs(attach, words.physical, &bounds) ||
        !pairs_are_ours(&bounds, start_ns, before_ns)) {
        clock->failures++;
        return false;
    }
    // On a busy host the guest may have found no new time of ours. That it answered at all says
    // that its TSC is later than our asking: coarse, but a bound.
    if (bounds.lower_count == 0 && bounds.upper_count > 0) {
        bounds.lower[bounds.lower_count++] = (struct clock_bound){bounds.upper[0].tsc, start_ns};
    }
    return guest_clock_add(clock, &bounds);
}
