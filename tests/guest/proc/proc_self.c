// SPDX-License-Identifier: MIT
//
// Claim: /proc/self and /proc/PID tell a process's name, state, parents, limits, memory, files,
// arguments, environment and threads in Linux's formats, and vanish with the process.
// Method: each file is parsed as its readers do; values are compared with what is known otherwise.
#include "tests/guest/check.h"
#include <dirent.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static const char *field(const char *text, const char *key)
{
    static char value[256];
    char start[64];
    snprintf(start, sizeof(start), "\n%s:", key);
    const char *found = strstr(text, start);
    if (found == NULL) {
        return "missing";
    }
    found += strlen(start);
    found += strspn(found, " \t");
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(found, "\n"), found);
    return value;
}

static void stat_file(void)
{
    char text[4096], name[64] = "", state = 0;
    int pid = 0, parent = 0, group = 0, session = 0, terminal = 0, foreground = 0;
    unsigned long start_time = 0, size = 0;
    long resident = 0, threads = 0;

    snprintf(text, sizeof(text), "%s", get_file("/proc/self/stat"));
    char *rest = strrchr(text, ')');
    CHECK(rest != NULL && sscanf(text, "%d (%63[^)])", &pid, name) == 2);
    CHECK(pid == getpid());
    CHECK_STR(name, "proc_self");
    CHECK_EQ(
        sscanf(rest + 2,
            "%c %d %d %d %d %d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %lu %lu %ld",
            &state, &parent, &group, &session, &terminal, &foreground, &threads, &start_time, &size,
            &resident),
        10);
    CHECK(state == 'R' && parent == getppid() && group == getpgrp() && session == getsid(0));
    CHECK(terminal == 0 && foreground == -1 && threads == 1);
    CHECK(start_time > 0 && size > 100000 && resident > 0);
    int fields = 0;
    for (char *c = rest; *c != 0; c++) {
        fields += *c == ' ';
    }
    CHECK_EQ(fields, 50); // 52 fields in all
    long pages = 0, resident_pages = 0;
    CHECK(sscanf(get_file("/proc/self/statm"), "%ld %ld", &pages, &resident_pages) == 2);
    CHECK(pages > 0 && resident_pages > 0 && pages >= resident_pages);
}

static void status_file(void)
{
    static const char *const keys[] = {"Umask", "State", "Tgid", "Ngid", "Pid", "PPid", "TracerPid",
        "Uid", "Gid", "FDSize", "Groups", "VmPeak", "VmSize", "VmLck", "VmHWM", "VmRSS", "VmData",
        "VmStk", "VmExe", "VmLib", "Threads", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigIgn",
        "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Cpus_allowed",
        "Cpus_allowed_list", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"};
    char text[8192];
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    signal(SIGUSR2, SIG_IGN);
    umask(027);
    snprintf(text, sizeof(text), "%s", get_file("/proc/self/status"));
    umask(022);
    CHECK(strncmp(text, "Name:\tproc_self\n", 16) == 0);
    int missing = 0;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(field(text, keys[i]), "missing") == 0) {
            note("missing: %s", keys[i]);
            missing++;
        }
    }
    CHECK_EQ(missing, 0);
    CHECK_STR(field(text, "Umask"), "0027");
    CHECK_STR(field(text, "State"), "R (running)");
    CHECK(atoi(field(text, "Pid")) == getpid());
    CHECK(atoi(field(text, "PPid")) == getppid());
    CHECK_STR(field(text, "Uid"), "0\t0\t0\t0");
    CHECK_STR(field(text, "Threads"), "1");
    CHECK_STR(field(text, "SigBlk"), "0000000000000200");
    CHECK_STR(field(text, "SigPnd"), "0000000000000200");
    CHECK_STR(field(text, "SigIgn"), "0000000000000800");
    CHECK(strstr(field(text, "VmRSS"), " kB") != NULL);
    // States of others.
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_NAME, "a (odd) name");
        pause();
        _exit(0);
    }
    CHECK(wait_until_asleep(child, child));
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/status", child);
    CHECK_STR(field(get_file(path), "State"), "S (sleeping)");
    snprintf(path, sizeof(path), "/proc/%d/comm", child);
    CHECK_STR(get_file(path), "a (odd) name\n");
    kill(child, SIGSTOP);
    waitpid(child, NULL, WUNTRACED);
    snprintf(path, sizeof(path), "/proc/%d/status", child);
    CHECK_STR(field(get_file(path), "State"), "T (stopped)");
    kill(child, SIGKILL);
    siginfo_t info;
    waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
    CHECK_STR(field(get_file(path), "State"), "Z (zombie)");
    snprintf(path, sizeof(path), "/proc/%d/cmdline", child);
    CHECK_STR(get_file(path), "");
    waitpid(child, NULL, 0);
    ERR(ENOENT, open(path, O_RDONLY));
}

static void arguments(void)
{
    char text[512];
    int ends[2], length;

    MUST(pipe(ends));
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {"cat", "-", NULL}, *environment[] = {"VARIABLE=value", "SECOND=", NULL};
        dup2(ends[0], 0);
        close(ends[1]);
        execve("/bin/busybox", argv, environment);
        _exit(1);
    }
    close(ends[0]);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", child);
    for (int i = 0; i < 2000; i++) {
        int file = open(path, O_RDONLY);
        length = (int)read(file, text, sizeof(text));
        close(file);
        if (length == 6) {
            break;
        }
        sleep_ms(2);
    }
    CHECK(length == 6 && memcmp(text, "cat\0-", 6) == 0);
    snprintf(path, sizeof(path), "/proc/%d/environ", child);
    int file = (int)MUST(open(path, O_RDONLY));
    CHECK_EQ(read(file, text, sizeof(text)), 23);
    CHECK(memcmp(text, "VARIABLE=value\0SECOND=", 23) == 0);
    close(file);
    char target[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/exe", child);
    MUST(readlink(path, target, sizeof(target) - 1));
    CHECK_STR(target, "/bin/busybox");
    snprintf(path, sizeof(path), "/proc/%d/cwd", child);
    memset(target, 0, sizeof(target));
    MUST(readlink(path, target, sizeof(target) - 1));
    char here[PATH_MAX];
    MUST(getcwd(here, sizeof(here)) != NULL ? 0 : -1);
    CHECK(strcmp(target, here) == 0);
    snprintf(path, sizeof(path), "/proc/%d/root", child);
    memset(target, 0, sizeof(target));
    MUST(readlink(path, target, sizeof(target) - 1));
    CHECK_STR(target, "/");
    close(ends[1]);
    waitpid(child, NULL, 0);
}

static void files(void)
{
    char path[64], target[256] = "";
    int ends[2];

    put_file("named", "x", 0644);
    int file = (int)MUST(open("named", O_RDWR | O_APPEND | O_CLOEXEC));
    MUST(lseek(file, 1, SEEK_SET));
    MUST(pipe(ends));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    MUST(readlink(path, target, sizeof(target) - 1));
    CHECK(strlen(target) > 6 && strcmp(target + strlen(target) - 6, "/named") == 0);
    struct stat about;
    MUST(lstat(path, &about));
    CHECK_EQ(about.st_mode & 0777, 0700);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
    MUST(lstat(path, &about));
    CHECK(S_ISLNK(about.st_mode) && (about.st_mode & 0777) == 0500);
    unsigned long inode = 0;
    memset(target, 0, sizeof(target));
    MUST(readlink(path, target, sizeof(target) - 1));
    CHECK(sscanf(target, "pipe:[%lu]", &inode) == 1);
    MUST(stat(path, &about));
    CHECK(about.st_ino == inode);
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", file);
    const char *info = get_file(path);
    CHECK(strncmp(info, "pos:\t1\n", 7) == 0);
    unsigned flags = 0;
    CHECK(sscanf(strstr(info, "flags:") + 6, "%o", &flags) == 1);
    CHECK_EQ(flags & ~0100000u, O_RDWR | O_APPEND | O_CLOEXEC);
    // The listing is that of the open descriptors.
    DIR *directory = opendir("/proc/self/fd");
    int right = 0, wrong = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] != '.') {
            bool open_now = fcntl(atoi(entry->d_name), F_GETFD) >= 0;
            right += open_now;
            wrong += !open_now;
        }
    }
    closedir(directory);
    CHECK_EQ(wrong, 0);
    CHECK(right >= 6);
    ERR(ENOENT, readlink("/proc/self/fd/99", target, sizeof(target)));
    close(file);
    close(ends[0]);
    close(ends[1]);
}

static void maps(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long last = 0, stack = 0, vdso = 0, own = 0;
    bool sorted = true, formed = true;

    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long start, end, offset, inode;
        unsigned major, minor;
        char permissions[8], name[256] = "";
        int got = sscanf(line, "%lx-%lx %7s %lx %x:%x %lu %255s", &start, &end, permissions,
            &offset, &major, &minor, &inode, name);
        formed &= got >= 7 && end > start && strlen(permissions) == 4 && start % 4096 == 0;
        formed &= name[0] == 0 || line[73] == name[0]; // names begin in column 74
        sorted &= start >= last;
        last = end;
        stack += strcmp(name, "[stack]") == 0;
        vdso += strcmp(name, "[vdso]") == 0;
        own += strcmp(name, "/tests/proc_self") == 0 && inode != 0;
    }
    fclose(file);
    CHECK(sorted);
    CHECK(formed);
    CHECK(stack == 1 && vdso == 1 && own >= 2);
    CHECK(strstr(get_file("/proc/self/limits"), "Max open files") != NULL);
    CHECK(strncmp(get_file("/proc/self/limits"),
              "Limit                     Soft Limit           Hard Limit           Units     \n",
              78) == 0);
    // Memory through /proc.
    static char secret[] = "to be found";
    int memory = (int)OK(open("/proc/self/mem", O_RDWR));
    char got[12] = "";
    CHECK_EQ(pread(memory, got, 12, (off_t)(uintptr_t)secret), 12);
    CHECK_STR(got, "to be found");
    CHECK_EQ(pwrite(memory, "TO", 2, (off_t)(uintptr_t)secret), 2);
    CHECK_STR(secret, "TO be found");
    ERR(EIO, pread(memory, got, 12, 16));
    close(memory);
}

static volatile pid_t thread_id;
static volatile bool leave;

static void *in_thread(void *argument)
{
    prctl(PR_SET_NAME, "worker");
    thread_id = (pid_t)syscall(SYS_gettid);
    while (!leave) {
        sleep_ms(2);
    }
    return argument;
}

static void threads(void)
{
    pthread_t thread;
    char path[64];

    pthread_create(&thread, NULL, in_thread, NULL);
    while (thread_id == 0) {
        sleep_ms(1);
    }
    CHECK_STR(field(get_file("/proc/self/status"), "Threads"), "2");
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread_id);
    CHECK_STR(get_file(path), "worker\n");
    DIR *directory = opendir("/proc/self/task");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    CHECK_EQ(count, 2);
    snprintf(path, sizeof(path), "/proc/%d/status", thread_id); // found, though not listed
    CHECK(atoi(field(get_file(path), "Tgid")) == getpid());
    char target[64] = "";
    MUST(readlink("/proc/thread-self", target, sizeof(target) - 1));
    snprintf(path, sizeof(path), "%d/task/%d", getpid(), getpid());
    CHECK(strcmp(target, path) == 0);
    memset(target, 0, sizeof(target));
    MUST(readlink("/proc/self", target, sizeof(target) - 1));
    CHECK(atoi(target) == getpid());
    leave = true;
    pthread_join(thread, NULL);
}

int main(void)
{
    scratch();
    stat_file();
    status_file();
    arguments();
    files();
    maps();
    threads();
    return check_done();
}
