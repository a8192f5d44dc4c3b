// SPDX-License-Identifier: MIT
//
// Claim: the files of /proc about the whole system have the keys and forms that programs read:
// meminfo, cpuinfo, stat, uptime, loadavg, version, cmdline, filesystems, mounts, sys/kernel, and
// others. Method: keys that busybox and libraries rely on must be there and believable; the rest is
// not compared.
#include "tests/guest/check.h"
#include <dirent.h>

static char text[65536];

static void load(const char *path)
{
    size_t length = 0;
    ssize_t got;
    int file = (int)MUST(open(path, O_RDONLY));
    while ((got = read(file, text + length, sizeof(text) - 1 - length)) > 0) {
        length += (size_t)got;
    }
    text[length] = 0;
    close(file);
}

static bool has_line(const char *start)
{
    size_t length = strlen(start);
    for (const char *line = text; line != NULL && *line != 0;) {
        if (strncmp(line, start, length) == 0) {
            return true;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    note("no line \"%s\"", start);
    return false;
}

static long long value_of(const char *key)
{
    const char *found = strstr(text, key);
    return found != NULL ? strtoll(found + strlen(key), NULL, 10) : -1;
}

static void memory(void)
{
    static const char *const keys[] = {
        "MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SwapCached:", "Active:",
        "Inactive:", "SwapTotal:", "SwapFree:", "Dirty:", "Writeback:", "AnonPages:", "Mapped:",
        "Shmem:", "Slab:", "SReclaimable:", "SUnreclaim:", "KernelStack:", "PageTables:",
        "CommitLimit:", "Committed_AS:", "VmallocTotal:", "HugePages_Total:", "Hugepagesize:"};
    load("/proc/meminfo");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        CHECK_QUIET(has_line(keys[i]));
    }
    CHECK(strncmp(text, "MemTotal:       ", 16) == 0);
    CHECK(value_of("MemTotal:") > 4000);
    CHECK(value_of("MemFree:") > 0 && value_of("MemFree:") <= value_of("MemTotal:"));
    CHECK(value_of("MemAvailable:") > 0 && value_of("MemAvailable:") <= value_of("MemTotal:"));
    CHECK_EQ(value_of("SwapTotal:"), 0);
    long long before = value_of("MemFree:");
    char *area = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(area, 1, 16 << 20);
    load("/proc/meminfo");
    CHECK(value_of("MemFree:") < before - 12000);
}

static void processors(void)
{
    static const char *const keys[] = {"processor\t: 0",
        "vendor_id\t: ", "cpu family\t: ", "model\t\t: ", "model name\t: ", "stepping\t: ",
        "cpu MHz\t\t: ", "siblings\t: ", "cpu cores\t: ", "apicid\t\t: ", "fpu\t\t: yes",
        "flags\t\t: ", "bogomips\t: ", "address sizes\t: "};
    load("/proc/cpuinfo");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        CHECK_QUIET(has_line(keys[i]));
    }
    int count = 0;
    for (const char *at = text; (at = strstr(at, "processor\t:")) != NULL; at++) {
        count++;
    }
    CHECK(count == sysconf(_SC_NPROCESSORS_ONLN));
    CHECK(strstr(text, " sse2 ") != NULL && strstr(text, " syscall ") != NULL);

    load("/proc/stat");
    static const char *const lines[] = {"cpu  ", "cpu0 ", "intr ", "ctxt ", "btime ", "processes ",
        "procs_running ", "procs_blocked ", "softirq "};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        CHECK_QUIET(has_line(lines[i]));
    }
    unsigned long long user, nice_time, system, idle, wait, irq, softirq, steal, guest, guest_nice;
    CHECK_EQ(sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &user,
                 &nice_time, &system, &idle, &wait, &irq, &softirq, &steal, &guest, &guest_nice),
        10);
    CHECK(user + system + idle > 0);
    CHECK(llabs(value_of("\nbtime ") - (long long)time(NULL)) < 7200);
    long long switches = value_of("\nctxt "), forks = value_of("\nprocesses ");
    for (int i = 0; i < 5; i++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    load("/proc/stat");
    CHECK(value_of("\nctxt ") > switches);
    CHECK(value_of("\nprocesses ") >= forks + 5);
}

static void little_files(void)
{
    double up = 0, idle = 0, one, five, fifteen;
    int running = 0, all = 0, last = 0, version = 0;
    struct timespec now;

    load("/proc/uptime");
    clock_gettime(CLOCK_BOOTTIME, &now);
    CHECK(sscanf(text, "%lf %lf", &up, &idle) == 2 && up > 0 && idle >= 0);
    CHECK((long)up <= now.tv_sec && now.tv_sec - (long)up <= 2);
    load("/proc/loadavg");
    CHECK(sscanf(text, "%lf %lf %lf %d/%d %d", &one, &five, &fifteen, &running, &all, &last) == 6);
    CHECK(running >= 1 && all >= running && last > 0);
    load("/proc/version");
    CHECK(sscanf(text, "Linux version %d.", &version) == 1 && version >= 5);
    load("/proc/cmdline");
    CHECK(strlen(text) > 0 && text[strlen(text) - 1] == '\n');
    load("/proc/filesystems");
    CHECK(has_line("nodev\ttmpfs") && has_line("nodev\tproc") && has_line("nodev\tdevpts"));
    load("/proc/mounts");
    CHECK(strstr(text, " /proc proc rw") != NULL && strstr(text, " /tmp tmpfs rw") != NULL);
    CHECK(strstr(text, " /dev/pts devpts rw") != NULL);
    load("/proc/self/mountinfo");
    CHECK(strstr(text, " / /proc ") != NULL && strstr(text, " - proc ") != NULL);
    load("/proc/devices");
    CHECK(strncmp(text, "Character devices:\n", 19) == 0 &&
          strstr(text, "\nBlock devices:\n") != NULL);
    CHECK(strstr(text, "  1 mem\n") != NULL);
    load("/proc/interrupts");
    CHECK(strstr(text, "CPU0") != NULL);
    load("/proc/vmstat");
    CHECK(has_line("nr_free_pages ") && has_line("pgfault "));
    load("/proc/swaps");
    CHECK(strncmp(text, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n", 39) == 0);
}

static void kernel_settings(void)
{
    static const struct {
        const char *path;
        bool number;
    } files[] = {{"ostype", false}, {"osrelease", false}, {"version", false}, {"hostname", false},
        {"domainname", false}, {"pid_max", true}, {"threads-max", true}, {"ngroups_max", true},
        {"random/boot_id", false}, {"random/uuid", false}, {"random/entropy_avail", true},
        {"cap_last_cap", true}, {"overflowuid", true}, {"randomize_va_space", true}};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char path[128];
        snprintf(path, sizeof(path), "/proc/sys/kernel/%s", files[i].path);
        load(path);
        bool right = strlen(text) > 1 && text[strlen(text) - 1] == '\n' &&
                     (!files[i].number || (text[0] >= '0' && text[0] <= '9'));
        note("%s: %s", files[i].path, right ? "there" : "wrong");
        CHECK_QUIET(right);
    }
    load("/proc/sys/kernel/ostype");
    CHECK_STR(text, "Linux\n");
    load("/proc/sys/kernel/random/boot_id");
    char first[64];
    snprintf(first, sizeof(first), "%.40s", text);
    CHECK_EQ(strlen(text), 37);
    load("/proc/sys/kernel/random/boot_id");
    CHECK(strcmp(text, first) == 0);
    load("/proc/sys/kernel/random/uuid");
    snprintf(first, sizeof(first), "%.40s", text);
    load("/proc/sys/kernel/random/uuid");
    CHECK(strcmp(text, first) != 0);
    load("/proc/sys/fs/file-max");
    CHECK(value_of("") > 100);
    load("/proc/sys/fs/pipe-max-size");
    CHECK_STR(text, "1048576\n");
    load("/proc/sys/vm/overcommit_memory");
    CHECK_STR(text, "0\n");
    // Writing a setting.
    put_file("/proc/sys/kernel/hostname", "from-proc\n", 0);
    char name[64] = "";
    gethostname(name, sizeof(name));
    CHECK_STR(name, "from-proc");
}

static void as_a_tree(void)
{
    struct stat about;
    DIR *directory = opendir("/proc");
    bool self = false, own = false, one = false;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        self |= strcmp(entry->d_name, "self") == 0 && entry->d_type == DT_LNK;
        own |= atoi(entry->d_name) == getpid() && entry->d_type == DT_DIR;
        one |= strcmp(entry->d_name, "1") == 0;
    }
    closedir(directory);
    CHECK(self && own && one);
    ERR(ENOENT, mkdir("/proc/new", 0755));
    ERR(ENOENT, stat("/proc/999999", &about));
    ERR(ENOENT, stat("/proc/0", &about));
    ERR(ENOENT, stat("/proc/01", &about));
    ERR(EPERM, unlink("/proc/uptime"));
    MUST(stat("/proc/uptime", &about));
    CHECK(S_ISREG(about.st_mode) && (about.st_mode & 0777) == 0444 && about.st_size == 0);
    MUST(stat("/proc/self/environ", &about));
    CHECK_EQ(about.st_mode & 0777, 0400);
    // Another user's processes keep their secrets.
    pid_t child = fork();
    if (child == 0) {
        MUST(setuid(1000));
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/environ", getppid());
        ERR(EACCES, open(path, O_RDONLY));
        snprintf(path, sizeof(path), "/proc/%d/fd", getppid());
        CHECK(opendir(path) == NULL);
        snprintf(path, sizeof(path), "/proc/%d/stat", getppid());
        OK(close((int)OK(open(path, O_RDONLY))));
        _exit(check_failures);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_STR(status_text(status), "exit 0");
    // Small reads see one consistent text.
    int file = (int)MUST(open("/proc/mounts", O_RDONLY));
    load("/proc/mounts");
    bool same = true;
    char byte;
    size_t at = 0;
    while (read(file, &byte, 1) == 1) {
        same &= text[at++] == byte;
    }
    CHECK(same && at == strlen(text));
    MUST(lseek(file, 5, SEEK_SET));
    CHECK(read(file, &byte, 1) == 1 && byte == text[5]);
    close(file);
}

int main(void)
{
    scratch();
    memory();
    processors();
    little_files();
    kernel_settings();
    as_a_tree();
    return check_done();
}
