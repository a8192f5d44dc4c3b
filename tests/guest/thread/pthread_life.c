// SPDX-License-Identifier: MIT
//
// Claim: thread-local storage, cancellation, detached threads, thread-specific signals, fork from a
// threaded process, attributes, and C library services that rest on the kernel (stdio, malloc from
// many threads, directories, time zones, locale-free formatting).
// Method: small scenes, each with one outcome.
#include "tests/guest/check.h"
#include <math.h>
#include <pthread.h>
#include <setjmp.h>

static _Thread_local int local = 5;
static _Thread_local char big_local[10000];
static pthread_key_t key;
static _Atomic int destroyed, cleaned;

static void destroy(void *value)
{
    destroyed += *(int *)value;
}

static void *use_local(void *argument)
{
    static int value = 1;
    int start = local;
    local += (int)(long)argument;
    big_local[9999] = (char)local;
    pthread_setspecific(key, &value);
    sleep_ms(10);
    return (void *)(long)(start == 5 && local == 5 + (int)(long)argument &&
                          big_local[9999] == (char)local && big_local[0] == 0);
}

static void local_storage(void)
{
    pthread_t threads[10];
    long right = 0;
    pthread_key_create(&key, destroy);
    local = 100;
    for (long i = 0; i < 10; i++) {
        pthread_create(&threads[i], NULL, use_local, (void *)(i + 1));
    }
    for (int i = 0; i < 10; i++) {
        void *result;
        pthread_join(threads[i], &result);
        right += (long)result;
    }
    CHECK_EQ(right, 10);
    CHECK_EQ(local, 100);
    CHECK_EQ(destroyed, 10);
    // errno is every thread's own.
    errno = 77;
    pthread_t thread;
    pthread_create(&thread, NULL, use_local, NULL);
    pthread_join(thread, NULL);
    CHECK_EQ(errno, 77);
}

static void clean(void *argument)
{
    cleaned += *(int *)argument;
}

static void *sleep_for_ever(void *argument)
{
    int one = 1;
    pthread_cleanup_push(clean, &one);
    for (;;) {
        sleep(1000);
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *read_for_ever(void *argument)
{
    int one = 1;
    char byte;
    pthread_cleanup_push(clean, &one);
    (void)!read(*(int *)argument, &byte, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *compute_for_ever(void *argument)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    volatile unsigned long *counter = argument;
    for (;;) {
        ++*counter;
    }
    return NULL;
}

static void *not_to_be_cancelled(void *argument)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    sleep_ms(100);
    return argument;
}

static void cancellation(void)
{
    pthread_t thread;
    void *result;
    int ends[2];
    static volatile unsigned long counter;

    MUST(pipe(ends));
    pthread_create(&thread, NULL, sleep_for_ever, NULL);
    sleep_ms(20);
    CHECK_EQ(pthread_cancel(thread), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    pthread_create(&thread, NULL, read_for_ever, &ends[0]);
    sleep_ms(20);
    CHECK_EQ(pthread_cancel(thread), 0);
    pthread_join(thread, &result);
    CHECK(result == PTHREAD_CANCELED);
    CHECK_EQ(cleaned, 2);
    pthread_create(&thread, NULL, compute_for_ever, (void *)&counter);
    while (counter == 0) {
        sleep_ms(1);
    }
    CHECK_EQ(pthread_cancel(thread), 0);
    pthread_join(thread, &result);
    CHECK(result == PTHREAD_CANCELED);
    pthread_create(&thread, NULL, not_to_be_cancelled, &ends);
    sleep_ms(20);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    CHECK(result == &ends);
}

static _Atomic int detached_done;

static void *detached_body(void *argument)
{
    detached_done++;
    return argument;
}

static void detached(void)
{
    pthread_attr_t attributes;
    size_t size = 0;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_attr_getstacksize(&attributes, &size);
    CHECK_EQ(size, 65536);
    for (int i = 0; i < 300; i++) {
        pthread_t thread;
        while (pthread_create(&thread, &attributes, detached_body, NULL) != 0) {
            sleep_ms(1);
        }
    }
    for (int i = 0; i < 2000 && detached_done < 300; i++) {
        sleep_ms(1);
    }
    CHECK_EQ(detached_done, 300);
}

static _Atomic pid_t signalled[4];
static _Thread_local int my_index;

static void on_signal(int number)
{
    (void)number;
    signalled[my_index] = (pid_t)syscall(SYS_gettid);
}

static void *wait_for_signal(void *argument)
{
    my_index = (int)(long)argument;
    while (signalled[my_index] == 0) {
        sleep_ms(1);
    }
    return (void *)(long)(signalled[my_index] == (pid_t)syscall(SYS_gettid));
}

static void directed_signals(void)
{
    pthread_t threads[4];
    long right = 0;
    signal(SIGUSR1, on_signal);
    for (long i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, wait_for_signal, (void *)i);
    }
    sleep_ms(20);
    for (int i = 3; i >= 0; i--) {
        CHECK_QUIET(pthread_kill(threads[i], SIGUSR1) == 0);
    }
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        right += (long)result;
    }
    CHECK_EQ(right, 4);
}

static pthread_mutex_t fork_mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile bool stop_forking;

static void *allocate_all_the_time(void *argument)
{
    unsigned state = (unsigned)(uintptr_t)argument;
    void *blocks[32] = {NULL};
    while (!stop_forking) {
        state = state * 1664525 + 1013904223;
        unsigned slot = (state >> 10) % 32;
        free(blocks[slot]);
        size_t size = (state >> 16) % 20000;
        blocks[slot] = malloc(size + 1);
        if (blocks[slot] != NULL) {
            memset(blocks[slot], 1, size + 1);
        }
        pthread_mutex_lock(&fork_mutex);
        pthread_mutex_unlock(&fork_mutex);
    }
    for (int i = 0; i < 32; i++) {
        free(blocks[i]);
    }
    return NULL;
}

// A child of a threaded process has one thread and a usable C library.
static void fork_with_threads(void)
{
    pthread_t threads[3];
    int wrong = 0;
    for (long i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, allocate_all_the_time, (void *)(i + 1));
    }
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            char *memory = malloc(5000);
            memset(memory, 2, 5000);
            free(memory);
            pthread_t thread;
            _exit(pthread_create(&thread, NULL, detached_body, NULL) == 0 &&
                          pthread_join(thread, NULL) == 0
                      ? 0
                      : 1);
        }
        int status;
        waitpid(child, &status, 0);
        wrong += status != 0;
    }
    stop_forking = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_EQ(wrong, 0);
}

static void *print_lines(void *argument)
{
    for (int i = 0; i < 200; i++) {
        fprintf(argument, "a line that must not be torn apart\n");
    }
    return NULL;
}

static void library(void)
{
    pthread_t threads[4];
    FILE *file = fopen("lines", "w");
    setvbuf(file, NULL, _IOFBF, 100);
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, print_lines, file);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    fclose(file);
    file = fopen("lines", "r");
    char line[100];
    int whole = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        whole += strcmp(line, "a line that must not be torn apart\n") == 0;
    }
    fclose(file);
    CHECK_EQ(whole, 800);
    snprintf(line, sizeof(line), "%.10f %g %a %5.2e", M_PI, 1e300, 0.1, 12345.678);
    CHECK_STR(line, "3.1415926536 1e+300 0x1.999999999999ap-4 1.23e+04");
    time_t when = 1000000000;
    struct tm parts;
    gmtime_r(&when, &parts);
    strftime(line, sizeof(line), "%Y-%m-%d %H:%M:%S", &parts);
    CHECK_STR(line, "2001-09-09 01:46:40");
    CHECK_EQ(system("exit 5") >> 8, 5);
    file = popen("echo through a shell", "r");
    CHECK(fgets(line, sizeof(line), file) != NULL);
    CHECK_EQ(pclose(file), 0);
    CHECK_STR(line, "through a shell\n");
    char temporary[] = "tempXXXXXX";
    int made = mkstemp(temporary);
    CHECK(made >= 0);
    file = tmpfile();
    CHECK(file != NULL && fputs("x", file) >= 0);
    CHECK(realpath(temporary, NULL) != NULL);
    // Vector and scalar arithmetic survive switches between threads: checked by the sums.
    volatile double sum = 0;
    for (int i = 1; i < 100000; i++) {
        sum += 1.0 / i;
    }
    CHECK_EQ((long)(sum * 1000000), 12090136);
}

int main(void)
{
    scratch();
    local_storage();
    cancellation();
    detached();
    directed_signals();
    fork_with_threads();
    library();
    return check_done();
}
