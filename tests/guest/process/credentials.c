// SPDX-License-Identifier: MIT
//
// Claim: the set*id calls follow the rules for privileged and other processes, also through execve
// of set-user-ID files; supplementary groups, file-system ids and capabilities behave as on Linux.
// Method: each scenario in a child which starts as root and gives privileges up.
#include "tests/guest/check.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/auxv.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void show(const char *when)
{
    uid_t r = 0, e = 0, s = 0;
    gid_t rg = 0, eg = 0, sg = 0;

    CHECK_QUIET(getresuid(&r, &e, &s) == 0 && getresgid(&rg, &eg, &sg) == 0);
    CHECK_QUIET(getuid() == r && geteuid() == e && getgid() == rg && getegid() == eg);
    note("  %s: uid %u %u %u fs %d, gid %u %u %u fs %d", when, r, e, s, setfsuid((uid_t)-1), rg, eg,
        sg, setfsgid((gid_t)-1));
}

static void show_capabilities(const char *when)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    CHECK_QUIET(syscall(SYS_capget, &header, data) == 0);
    // Only capabilities which every kernel of interest has.
    note("  %s: effective %s, permitted %s, CHOWN %d", when,
        data[0].effective != 0 ? "some" : "none", data[0].permitted != 0 ? "some" : "none",
        (data[0].effective >> CAP_CHOWN) & 1);
}

static void root_setuid(void)
{
    OK(setuid(1000));
    show("after setuid(1000) as root");
    show_capabilities("after setuid(1000)");
    ERR(EPERM, setuid(0));
    ERR(EPERM, seteuid(0));
    ERR(EPERM, setuid(1001));
    OK(setuid(1000));
    ERR(EPERM, setgid(5));
    ERR(EPERM, setgroups(0, NULL));
    ERR(EPERM, setresuid(1000, 1000, 1001));
    OK(setresuid((uid_t)-1, 1000, (uid_t)-1));
    ERR(EPERM, kill(1, 0));
    ERR(EPERM, kill(getppid(), 0));
    OK(kill(getppid(), SIGCONT)); // always allowed within a session
}

static void effective_only(void)
{
    OK(seteuid(1000));
    show("after seteuid(1000)");
    show_capabilities("after seteuid(1000)");
    ERR(EACCES, open("root-only", O_RDONLY));
    OK(seteuid(0));
    show_capabilities("after seteuid(0)");
    OK(close((int)OK(open("root-only", O_RDONLY))));
    OK(setreuid(1000, 2000));
    show("after setreuid(1000, 2000)");
    ERR(EPERM, setreuid(3000, -1));
    OK(setreuid(2000, 1000));
    show("after setreuid(2000, 1000)");
}

static void saved_ids(void)
{
    OK(setresuid(1000, 1000, 0));
    show("after setresuid(1000, 1000, 0)");
    OK(seteuid(0));
    show("after seteuid(0)");
    OK(setresuid(1, 2, 3));
    show("after setresuid(1, 2, 3)");
    OK(setresuid(3, 1, 2));
    show("after setresuid(3, 1, 2)");
    ERR(EPERM, setresuid(4, -1, -1));
    ERR(EPERM, setuid(4));
    OK(setuid(2));
    show("after setuid(2)");
}

static void groups(void)
{
    gid_t list[4] = {5, 3, 9, 3}, got[16];

    OK(setgroups(4, list));
    int count = (int)OK(getgroups(0, NULL));
    CHECK_EQ(count, 4);
    ERR(EINVAL, getgroups(2, got));
    ERR(EINVAL, getgroups(-1, got));
    OK(getgroups(16, got));
    note("  groups %u %u %u %u", got[0], got[1], got[2], got[3]);
    ERR(EINVAL, setgroups(70000, list));
    OK(setgid(7));
    OK(setuid(1000));
    ERR(EPERM, setgroups(1, list));
    // Membership decides about access.
    OK(access("group-5", R_OK));
    ERR(EACCES, access("group-8", R_OK));
    OK(close((int)OK(open("group-7", O_RDONLY))));
    ERR(EACCES, open("group-5", O_WRONLY));
    ERR(EPERM, setgid(3)); // supplementary groups do not count
    OK(setegid(7));
}

static void file_system_ids(void)
{
    CHECK_EQ(setfsuid(1000), 0);
    CHECK_EQ(setfsuid((uid_t)-1), 1000);
    ERR(EACCES, open("root-only", O_RDONLY));
    CHECK_EQ(setfsgid(1000), 0);
    int file = (int)OK(open("anyone/made", O_CREAT | O_RDWR, 0600));
    struct stat about;
    OK(fstat(file, &about));
    CHECK(about.st_uid == 1000 && about.st_gid == 1000);
    OK(unlink("anyone/made"));
    CHECK_EQ(setfsuid(0), 1000);
    OK(close((int)OK(open("root-only", O_RDONLY))));
}

// seteuid changes the file-system id too; a changed id clears dumpability and the death signal.
static void set_user_id_program(void)
{
    OK(setresgid(1000, 1000, 1000));
    OK(setresuid(1000, 1000, 1000));
    execl("./setuid-copy", "credentials", "show", (char *)NULL);
    CHECK(!"reached");
}

static void no_new_privileges(void)
{
    OK(setresgid(1000, 1000, 1000));
    OK(setresuid(1000, 1000, 1000));
    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    execl("./setuid-copy", "credentials", "show", (char *)NULL);
    CHECK(!"reached");
}

static void capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    OK(syscall(SYS_capget, &header, data));
    // Give up everything but CAP_SETUID and CAP_DAC_OVERRIDE.
    memset(data, 0, sizeof(data));
    data[0].permitted = (1u << CAP_SETUID) | (1u << CAP_DAC_OVERRIDE);
    data[0].effective = 1u << CAP_SETUID;
    OK(syscall(SYS_capset, &header, data));
    ERR(EPERM, chown("root-only", 5, 5));
    ERR(EPERM, setgid(5));
    data[0].effective |= 1u << CAP_CHOWN;
    ERR(EPERM, syscall(SYS_capset, &header, data));
    data[0].permitted |= 1u << CAP_CHOWN;
    ERR(EPERM, syscall(SYS_capset, &header, data));
    OK(setresuid(1000, 1000, 1000));
    show_capabilities("after giving up root");

    header.version = 0x12345678;
    ERR(EINVAL, syscall(SYS_capget, &header, data));
    CHECK_EQ(header.version, _LINUX_CAPABILITY_VERSION_3);
    header.pid = -1;
    ERR(EINVAL, syscall(SYS_capget, &header, data));
    header.pid = 999999;
    ERR(ESRCH, syscall(SYS_capget, &header, data));
}

static void keep_capabilities(void)
{
    OK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    OK(setuid(1000));
    show_capabilities("with PR_SET_KEEPCAPS");
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    OK(syscall(SYS_capget, &header, data));
    data[0].effective = data[0].permitted;
    OK(syscall(SYS_capset, &header, data));
    OK(chown("mine", 1000, 1000));
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "show") == 0) {
        show("in the set-user-ID program");
        note("  AT_SECURE %lu, dumpable %d", getauxval(AT_SECURE), prctl(PR_GET_DUMPABLE));
        return 0;
    }
    scratch();
    chmod(".", 0755);
    put_file("root-only", "x", 0600);
    put_file("mine", "x", 0600);
    mkdir("anyone", 0777);
    chmod("anyone", 0777);
    for (int group = 5; group < 9; group++) {
        char name[16];
        snprintf(name, sizeof(name), "group-%d", group);
        put_file(name, "x", 0640);
        MUST(chown(name, 0, (gid_t)group));
    }
    MUST(system("/bin/busybox cp /proc/self/exe setuid-copy; cat /proc/$PPID/exe > setuid-copy"));
    MUST(chown("setuid-copy", 2000, 3000));
    MUST(chmod("setuid-copy", 06755));

    CHILD(root_setuid, "exit 0");
    CHILD(effective_only, "exit 0");
    CHILD(saved_ids, "exit 0");
    CHILD(groups, "exit 0");
    CHILD(file_system_ids, "exit 0");
    CHILD(set_user_id_program, "exit 0");
    CHILD(no_new_privileges, "exit 0");
    CHILD(capabilities, "exit 0");
    CHILD(keep_capabilities, "exit 0");
    show("the parent, untouched");
    return check_done();
}
