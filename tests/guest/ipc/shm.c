// SPDX-License-Identifier: MIT
//
// Claim: System V shared memory: keys and ids, sharing by attachment and by fork, rights, removal
// while attached, what shmctl tells, shmdt of a mapping in pieces.
// Method: what one process writes the other reads; every count that IPC_STAT shows is checked after
// each step.
#include "tests/guest/check.h"
#include <sys/ipc.h>
#include <sys/shm.h>

#define KEY   ((key_t)0x10d6e4)
#define BYTES ((size_t)5 * 4096 - 100)

static struct shmid_ds state_of(int id)
{
    struct shmid_ds about;
    memset(&about, 0, sizeof(about));
    OK(shmctl(id, IPC_STAT, &about));
    return about;
}

static void keys(void)
{
    ERR(ENOENT, shmget(KEY, BYTES, 0600));
    int id = shmget(KEY, BYTES, IPC_CREAT | IPC_EXCL | 0640);
    CHECK(id >= 0);
    ERR(EEXIST, shmget(KEY, BYTES, IPC_CREAT | IPC_EXCL | 0600));
    CHECK_EQ(shmget(KEY, 0, 0), id);
    CHECK_EQ(shmget(KEY, BYTES, IPC_CREAT | 0600), id);
    ERR(EINVAL, shmget(KEY, BYTES + 1, 0600));
    ERR(EINVAL, shmget(IPC_PRIVATE, 0, 0600));
    int other = shmget(IPC_PRIVATE, 1, 0600), third = shmget(IPC_PRIVATE, 1, 0600);
    CHECK(other >= 0 && third >= 0 && other != third && other != id);
    struct shmid_ds about = state_of(id);
    CHECK_EQ(about.shm_segsz, BYTES);
    CHECK_EQ(about.shm_perm.mode, 0640);
    CHECK_EQ(about.shm_nattch, 0);
    CHECK(about.shm_perm.__key == KEY);
    CHECK(about.shm_cpid == getpid() && about.shm_lpid == 0);
    CHECK(about.shm_atime == 0 && about.shm_dtime == 0 && about.shm_ctime > 0);
    OK(shmctl(other, IPC_RMID, NULL));
    OK(shmctl(third, IPC_RMID, NULL));
    ERR(EINVAL, shmctl(other, IPC_STAT, &about));
    CHECK(shmat(other, NULL, 0) == (void *)-1 && errno == EINVAL);
    OK(shmctl(id, IPC_RMID, NULL));
    ERR(ENOENT, shmget(KEY, BYTES, 0600));
    ERR(EINVAL, shmctl(-1, IPC_STAT, &about));
    ERR(EINVAL, shmctl(0, 4711, &about));
}

static void sharing(void)
{
    int id = shmget(IPC_PRIVATE, BYTES, 0600);
    char *memory = shmat(id, NULL, 0), *again = shmat(id, NULL, SHM_RDONLY);
    CHECK(memory != (char *)-1 && again != (char *)-1 && memory != again);
    CHECK_EQ(memory[BYTES], 0); // the rest of the last page
    strcpy(memory + 4096, "written once");
    CHECK(strcmp(again + 4096, "written once") == 0);
    CHECK_EQ(state_of(id).shm_nattch, 2);
    CHECK(state_of(id).shm_atime > 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(state_of(id).shm_nattch, 4);
        strcpy(memory, "child");
        OK(shmdt(memory));
        CHECK_EQ(state_of(id).shm_nattch, 3);
        fflush(stdout);
        _exit(check_failures != 0);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK(strcmp(again, "child") == 0);
    CHECK_EQ(state_of(id).shm_nattch, 2);
    CHECK(state_of(id).shm_lpid == child);
    ERR(EACCES, mprotect(again, 4096, PROT_READ | PROT_WRITE));
    OK(shmdt(again));
    ERR(EINVAL, shmdt(again));
    ERR(EINVAL, shmdt(memory + 4096));
    ERR(EINVAL, shmdt(memory + 1));
    OK(shmdt(memory));
    CHECK_EQ(state_of(id).shm_nattch, 0);
    memory = shmat(id, NULL, 0);
    CHECK(strcmp(memory, "child") == 0); // it stays while nobody has it
    OK(shmdt(memory));
    OK(shmctl(id, IPC_RMID, NULL));
}

static void removal(void)
{
    int id = shmget(KEY, BYTES, IPC_CREAT | 0600);
    char *memory = shmat(id, NULL, 0);
    OK(shmctl(id, IPC_RMID, NULL));
    ERR(ENOENT, shmget(KEY, BYTES, 0600));
    struct shmid_ds about = state_of(id);
    CHECK_EQ(about.shm_perm.mode, 01600);
    CHECK(about.shm_perm.__key == IPC_PRIVATE);
    int next = shmget(KEY, BYTES, IPC_CREAT | 0600);
    CHECK(next >= 0 && next != id);
    strcpy(memory, "still here");
    char *again = shmat(id, NULL, 0); // removed, but attached still
    CHECK(again != (char *)-1 && strcmp(again, "still here") == 0);
    OK(shmdt(memory));
    OK(shmdt(again));
    ERR(EINVAL, shmctl(id, IPC_STAT, &about));
    OK(shmctl(next, IPC_RMID, NULL));
}

static void places(void)
{
    int id = shmget(IPC_PRIVATE, BYTES, 0600);
    char *room = mmap(NULL, 16 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(shmat(id, room + 4096, 0) == (void *)-1 && errno == EINVAL);
    CHECK(shmat(id, room + 4097, SHM_REMAP) == (void *)-1 && errno == EINVAL);
    CHECK(shmat(id, NULL, SHM_REMAP) == (void *)-1 && errno == EINVAL);
    CHECK(shmat(id, room + 4097, SHM_REMAP | SHM_RND) == room + 4096);
    char *memory = room + 4096;
    memory[0] = 1;
    memory[(size_t)4 * 4096] = 2;
    // In pieces: a hole, and other rights.
    OK(munmap(memory + 4096, 4096));
    OK(mprotect(memory + (size_t)3 * 4096, 4096, PROT_READ));
    OK(shmdt(memory));
    CHECK_EQ(state_of(id).shm_nattch, 0);
    unsigned char present;
    ERR(ENOMEM, mincore(memory, 4096, &present));
    ERR(ENOMEM, mincore(memory + (size_t)4 * 4096, 4096, &present));
    OK(mincore(memory + (size_t)5 * 4096, 4096, &present));
    munmap(room, 16 * 4096);
    OK(shmctl(id, IPC_RMID, NULL));
}

static void rights(void)
{
    int id = shmget(KEY, BYTES, IPC_CREAT | 0640);
    struct shmid_ds about = state_of(id);
    about.shm_perm.mode = 0444;
    about.shm_perm.uid = 1234;
    OK(shmctl(id, IPC_SET, &about));
    CHECK_EQ(state_of(id).shm_perm.mode, 0444);
    CHECK_EQ(state_of(id).shm_perm.uid, 1234);
    OK(shmctl(id, SHM_LOCK, NULL));
    CHECK_EQ(state_of(id).shm_perm.mode, 02444);
    OK(shmctl(id, SHM_UNLOCK, NULL));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        OK(setgid(77));
        OK(setuid(77));
        ERR(EACCES, shmget(KEY, BYTES, 0600));
        CHECK_EQ(shmget(KEY, BYTES, 0400), id);
        CHECK(shmat(id, NULL, 0) == (void *)-1 && errno == EACCES);
        CHECK(shmat(id, NULL, SHM_RDONLY) != (void *)-1);
        ERR(EPERM, shmctl(id, IPC_SET, &about));
        ERR(EPERM, shmctl(id, IPC_RMID, NULL));
        fflush(stdout);
        _exit(check_failures != 0);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    OK(shmctl(id, IPC_RMID, NULL));
}

// An exec and an end let go of what is attached.
static void endings(void)
{
    int id = shmget(IPC_PRIVATE, BYTES, 0600);
    for (int round = 0; round < 2; round++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            char *memory = shmat(id, NULL, 0);
            memory[round] = (char)(round + 1);
            if (round == 0)
                execl("/bin/busybox", "true", NULL);
            _exit(0);
        }
        int status = -1;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        CHECK_EQ(state_of(id).shm_nattch, 0);
    }
    char *memory = shmat(id, NULL, 0);
    CHECK(memory[0] == 1 && memory[1] == 2);
    OK(shmctl(id, IPC_RMID, NULL));
    OK(shmdt(memory));
    struct shmid_ds about;
    ERR(EINVAL, shmctl(id, IPC_STAT, &about));
}

int main(void)
{
    keys();
    sharing();
    removal();
    places();
    rights();
    endings();
    return check_done();
}
