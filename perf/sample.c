// SPDX-License-Identifier: MIT
// One sample: what was interrupted, by whom it was called, and whose it was, into this CPU's ring.
//
// The record is written where it will stay: the chains are walked straight into the ring. Nothing
// here takes a lock, faults or leaves the guest.
#include "kernel/arch/x86/arch.h"
#include "kernel/base/assert.h"
#include "kernel/core/counter.h"
#include "kernel/core/thread.h"
#include "perf/collected.h"
#include "perf/state.h"
#include "perf/unwind.h"

COUNTER(perf, samples);
COUNTER(perf, samples_lost);

// The program's part: where it entered the kernel (`user` is not what was interrupted) or who
// called what was interrupted, and the words at its stack pointer.
static void sample_user(struct perf_encoder *encoder, const struct trap_frame *user, bool in_kernel,
    struct perf_user_window *window)
{
    uint64_t *frames = perf_encode_user_frames(encoder);
    uint32_t max = perf_config.frames_user_max;
    uint32_t count = 0;
    bool complete = true;
    if (in_kernel && max != 0)
        frames[count++] = user->rip;
    count += perf_unwind_user(window, frames + count, max - count, user->rbp, user->rsp, &complete);
    perf_encode_user_frames_end(encoder, count);
    if (!complete)
        ((struct perf_export_header *)encoder->begin)->mode |= PERF_EXPORT_FLAG_EXEC;
}

// Program's registers, or NULL: the running thread has no program, or is not to be looked at.
static const struct trap_frame *sample_user_frame(
    const struct trap_frame *frame, const struct thread *thread, uint32_t flags)
{
    if ((flags & PERF_EXPORT_EVENT_NO_USER) || !(flags & PERF_EXPORT_EVENT_CALLCHAIN))
        return NULL;
    if (trap_frame_is_user(frame))
        return frame;
    if (thread->space == NULL || (thread->flags & THREAD_FLAG_KERNEL))
        return NULL;
    return (const struct trap_frame *)thread->arch.kernel_stack_top - 1;
}

static uint8_t sample_mode(const struct trap_frame *frame, const struct thread *thread)
{
    if (trap_frame_is_user(frame))
        return PERF_EXPORT_IN_USER;
    return thread->flags & THREAD_FLAG_IDLE ? PERF_EXPORT_IN_IDLE : PERF_EXPORT_IN_KERNEL;
}

static bool is_wanted(uint8_t mode, uint32_t flags)
{
    if (mode == PERF_EXPORT_IN_USER)
        return (flags & PERF_EXPORT_EVENT_NO_USER) == 0;
    if (mode == PERF_EXPORT_IN_IDLE && (flags & PERF_EXPORT_EVENT_NO_IDLE))
        return false;
    return (flags & PERF_EXPORT_EVENT_NO_KERNEL) == 0;
}

void perf_sample(const struct trap_frame *frame, uint16_t event, uint32_t flags, uint64_t period)
{
    const struct thread *thread = thread_current();
    struct perf_ring *ring = &this_cpu_ptr(perf_cpu)->sample;
    struct perf_who who = {.tsc = arch_tsc(), .pid = thread->pid, .tid = thread->tid};
    uint8_t mode = sample_mode(frame, thread);
    if (!is_wanted(mode, flags) || ring->bytes == 0)
        return;
    uint32_t need = (uint32_t)PERF_ENCODED_SAMPLE(
        perf_config.frames_kernel_max, perf_config.frames_user_max, 0);
    uint8_t *at = perf_ring_reserve(ring, need, who.tsc);
    counter_add(perf, samples, 1);
    if (at == NULL) {
        counter_add(perf, samples_lost, 1);
        return;
    }
    struct perf_encoder encoder;
    perf_encode_begin(&encoder, at, mode, event, &who, frame->rip);
    if (period != 0)
        perf_encode_u64(&encoder, PERF_EXPORT_HAS_PERIOD, period);
    uint64_t words[2];
    bool in_kernel = mode != PERF_EXPORT_IN_USER;
    bool chains = (flags & PERF_EXPORT_EVENT_CALLCHAIN) != 0;
    if (in_kernel && chains && perf_kernel_words(frame->rsp, words))
        perf_encode_words(&encoder, PERF_EXPORT_HAS_KERNEL_WORDS, words);
    const struct trap_frame *user = sample_user_frame(frame, thread, flags);
    struct perf_user_window window;
    if (user != NULL) {
        perf_user_window_init(&window);
        if (perf_user_word(&window, user->rsp, &words[0]) &&
            perf_user_word(&window, user->rsp + 8, &words[1]))
            perf_encode_words(&encoder, PERF_EXPORT_HAS_USER_WORDS, words);
    }
    if (in_kernel && chains)
        perf_encode_kernel_frames_end(
            &encoder, perf_unwind_kernel(perf_encode_kernel_frames(&encoder),
                          perf_config.frames_kernel_max, frame->rbp, frame->rsp));
    if (user != NULL)
        sample_user(&encoder, user, in_kernel, &window);
    perf_ring_commit(ring, perf_encode_end(&encoder));
}
