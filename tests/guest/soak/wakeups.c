// SPDX-License-Identifier: MIT
//
// Claim: no sleep loses its wake-up, whatever the vCPUs do meanwhile.
// Method: pairs that wake each other in turn, thousands of times each: by futex, by pipe between
// processes, by eventfd, by condition variable, by futex with timeouts that race with the wake-up,
// and by signal. There are more pairs than vCPUs, some of which compute a little or change their
// CPU between rounds, so that every interleaving of going to sleep, waking, stealing and moving
// comes up. A round that never ends is found by the alarm. The argument is the number of rounds.
#include "tests/guest/check.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

#define PAIRS  6
#define HANG_S 110

static unsigned rounds = 1000;

static int futex(uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
    return (int)syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

// Something between two rounds that shifts the players against each other.
static void disturb(unsigned round, unsigned player)
{
    unsigned kind = (round * 7 + player * 13) % 64;
    if (kind < 8) {
        for (volatile unsigned i = 0; i < kind * 200; i++)
            ;
    } else if (kind == 20) {
        sched_yield();
    } else if (kind == 40) {
        cpu_set_t set;
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        CPU_ZERO(&set);
        CPU_SET((round + player) % (unsigned)(cpus > 0 ? cpus : 1), &set);
        sched_setaffinity(0, sizeof(set), &set);
    } else if (kind == 50) {
        cpu_set_t set;
        memset(&set, 0xff, sizeof(set));
        sched_setaffinity(0, sizeof(set), &set);
    }
}

struct pair {
    const struct game *game;
    unsigned number;
    uint32_t turn; // whose turn it is, 0 or 1
    int fds[2][2]; // pipe or eventfd that tells player 0, 1
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    pthread_t threads[2];
    pid_t tids[2]; // each set by its player before it wakes the other for the first time
};

struct game {
    const char *name;
    void (*wait)(struct pair *pair, unsigned player); // until it is the player's turn
    void (*wake)(struct pair *pair, unsigned player); // it is the player's turn now
};

static void futex_wait_turn(struct pair *pair, unsigned player)
{
    while (__atomic_load_n(&pair->turn, __ATOMIC_SEQ_CST) != player)
        futex(&pair->turn, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1 - player, NULL);
}

static void futex_wake_turn(struct pair *pair, unsigned player)
{
    __atomic_store_n(&pair->turn, player, __ATOMIC_SEQ_CST);
    futex(&pair->turn, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL);
}

// The timeout is about as long as a round takes: wake-up and expiry race.
static void futex_timed_wait_turn(struct pair *pair, unsigned player)
{
    const struct timespec timeout = {.tv_nsec = 30000};
    while (__atomic_load_n(&pair->turn, __ATOMIC_SEQ_CST) != player)
        futex(&pair->turn, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1 - player, &timeout);
}

static void pipe_wait_turn(struct pair *pair, unsigned player)
{
    char byte;
    if (read(pair->fds[player][0], &byte, 1) != 1)
        abort();
}

static void pipe_wake_turn(struct pair *pair, unsigned player)
{
    if (write(pair->fds[player][1], "x", 1) != 1)
        abort();
}

static void event_wait_turn(struct pair *pair, unsigned player)
{
    uint64_t value;
    if (read(pair->fds[player][0], &value, sizeof(value)) != sizeof(value) || value != 1)
        abort();
}

static void event_wake_turn(struct pair *pair, unsigned player)
{
    const uint64_t one = 1;
    if (write(pair->fds[player][0], &one, sizeof(one)) != sizeof(one))
        abort();
}

static void condition_wait_turn(struct pair *pair, unsigned player)
{
    pthread_mutex_lock(&pair->mutex);
    while (pair->turn != player)
        pthread_cond_wait(&pair->condition, &pair->mutex);
    pthread_mutex_unlock(&pair->mutex);
}

static void condition_wake_turn(struct pair *pair, unsigned player)
{
    pthread_mutex_lock(&pair->mutex);
    pair->turn = player;
    pthread_cond_broadcast(&pair->condition);
    pthread_mutex_unlock(&pair->mutex);
}

static void signal_wait_turn(struct pair *pair, unsigned player)
{
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    while (__atomic_load_n(&pair->turn, __ATOMIC_SEQ_CST) != player)
        sigwaitinfo(&set, &info);
}

static void signal_wake_turn(struct pair *pair, unsigned player)
{
    __atomic_store_n(&pair->turn, player, __ATOMIC_SEQ_CST);
    // Not pthread_kill(): the last wake-up may go to a thread that has been joined.
    syscall(SYS_tgkill, getpid(), pair->tids[player], SIGUSR1);
}

static const struct game games[] = {
    {"futex", futex_wait_turn, futex_wake_turn},
    {"futex with timeouts", futex_timed_wait_turn, futex_wake_turn},
    {"eventfd", event_wait_turn, event_wake_turn},
    {"pipe between threads", pipe_wait_turn, pipe_wake_turn},
    {"condition variable", condition_wait_turn, condition_wake_turn},
    {"signal", signal_wait_turn, signal_wake_turn},
};

static void play(struct pair *pair, unsigned player)
{
    for (unsigned round = 0; round < rounds; round++) {
        pair->game->wait(pair, player);
        disturb(round, pair->number * 2 + player);
        pair->game->wake(pair, 1 - player);
    }
}

static void *play_0(void *argument)
{
    struct pair *pair = argument;
    pair->tids[0] = gettid();
    play(pair, 0);
    return NULL;
}

static void *play_1(void *argument)
{
    struct pair *pair = argument;
    __atomic_store_n(&pair->tids[1], gettid(), __ATOMIC_SEQ_CST);
    play(pair, 1);
    return NULL;
}

static void pair_open(struct pair *pair, const struct game *game, unsigned number)
{
    *pair = (struct pair){.game = game, .number = number};
    pthread_mutex_init(&pair->mutex, NULL);
    pthread_cond_init(&pair->condition, NULL);
    for (int player = 0; player < 2; player++) {
        if (game->wait == event_wait_turn)
            pair->fds[player][0] = eventfd(player == 0 ? 1 : 0, 0);
        else if (pipe(pair->fds[player]) != 0)
            abort();
    }
    if (game->wait == pipe_wait_turn)
        pipe_wake_turn(pair, 0);
}

static void pair_close(struct pair *pair)
{
    for (int player = 0; player < 2; player++) {
        close(pair->fds[player][0]);
        if (pair->game->wait != event_wait_turn)
            close(pair->fds[player][1]);
    }
}

static const char *current_name;

static void on_alarm(int number)
{
    (void)number;
    static const char text[] = " hangs\n";
    if (write(1, current_name, strlen(current_name)) < 0 || write(1, text, sizeof(text) - 1) < 0)
        _exit(3);
    _exit(2);
}

static void play_with_threads(const struct game *game)
{
    static struct pair pairs[PAIRS];
    current_name = game->name;
    alarm(HANG_S);
    for (unsigned i = 0; i < PAIRS; i++) {
        pair_open(&pairs[i], game, i);
        CHECK(pthread_create(&pairs[i].threads[1], NULL, play_1, &pairs[i]) == 0);
        while (__atomic_load_n(&pairs[i].tids[1], __ATOMIC_SEQ_CST) == 0)
            sched_yield();
        CHECK(pthread_create(&pairs[i].threads[0], NULL, play_0, &pairs[i]) == 0);
    }
    for (unsigned i = 0; i < PAIRS; i++) {
        pthread_join(pairs[i].threads[0], NULL);
        pthread_join(pairs[i].threads[1], NULL);
        pair_close(&pairs[i]);
    }
    printf("%s: done\n", game->name);
}

// Pairs of processes over pipes; the parent waits for all of them.
static void play_with_processes(void)
{
    static const struct game game = {"pipe between processes", pipe_wait_turn, pipe_wake_turn};
    current_name = game.name;
    alarm(HANG_S);
    for (unsigned i = 0; i < PAIRS; i++) {
        struct pair pair;
        pair_open(&pair, &game, i);
        for (unsigned player = 0; player < 2; player++) {
            if (fork() == 0) {
                alarm(HANG_S);
                play(&pair, player);
                _exit(0);
            }
        }
        pair_close(&pair);
    }
    for (unsigned i = 0; i < 2 * PAIRS; i++) {
        int status = -1;
        if (wait(&status) < 0 || status != 0)
            check_failures++;
    }
    printf("%s: done\n", game.name);
}

int main(int count, char **arguments)
{
    sigset_t set;
    if (count > 1)
        rounds = (unsigned)strtoul(arguments[1], NULL, 10);
    signal(SIGALRM, on_alarm);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < ARRAY_SIZE(games); i++)
        play_with_threads(&games[i]);
    play_with_processes();
    return check_failures != 0;
}
