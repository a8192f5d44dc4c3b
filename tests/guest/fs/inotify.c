// SPDX-License-Identifier: MIT
//
// Claim: inotify reports what happens to watched files and directories, in order, with names,
// cookies and masks; removes watches; overflows and merges as on Linux.
// Method: one operation at a time, all events that follow are printed.
#include "tests/guest/check.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

static int watcher, directory_watch, file_watch;
static uint32_t last_cookie;

static void print_events(const char *what)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {{IN_ACCESS, "ACCESS"}, {IN_MODIFY, "MODIFY"}, {IN_ATTRIB, "ATTRIB"},
        {IN_CLOSE_WRITE, "CLOSE_WRITE"}, {IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"}, {IN_OPEN, "OPEN"},
        {IN_MOVED_FROM, "MOVED_FROM"}, {IN_MOVED_TO, "MOVED_TO"}, {IN_CREATE, "CREATE"},
        {IN_DELETE, "DELETE"}, {IN_DELETE_SELF, "DELETE_SELF"}, {IN_MOVE_SELF, "MOVE_SELF"},
        {IN_UNMOUNT, "UNMOUNT"}, {IN_Q_OVERFLOW, "OVERFLOW"}, {IN_IGNORED, "IGNORED"},
        {IN_ISDIR, "ISDIR"}};
    char buffer[8192] __attribute__((aligned(8))), line[900];
    ssize_t got = read(watcher, buffer, sizeof(buffer));
    int at = snprintf(line, sizeof(line), "%s:", what);

    for (ssize_t offset = 0; offset < got;) {
        struct inotify_event *event = (struct inotify_event *)(buffer + offset);
        at += snprintf(line + at, sizeof(line) - (size_t)at, " [%s",
            event->wd == directory_watch ? "directory"
            : event->wd == file_watch    ? "file"
                                         : "other");
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
            if ((event->mask & names[i].bit) != 0) {
                at += snprintf(line + at, sizeof(line) - (size_t)at, " %s", names[i].name);
            }
        }
        if (event->len > 0) {
            at += snprintf(line + at, sizeof(line) - (size_t)at, " \"%s\"", event->name);
            CHECK_QUIET(event->len % 16 == 0);
        }
        if (event->cookie != 0) {
            at += snprintf(line + at, sizeof(line) - (size_t)at, " cookie%s",
                event->cookie == last_cookie ? " again" : "");
            last_cookie = event->cookie;
        }
        at += snprintf(line + at, sizeof(line) - (size_t)at, "]");
        offset += (ssize_t)(sizeof(*event) + event->len);
    }
    note("%s%s", line, got < 0 ? errno_name(errno) : "");
}

int main(void)
{
    char byte;

    scratch();
    watcher = (int)OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    print_events("nothing yet");
    MUST(mkdir("dir", 0755));
    put_file("dir/file", "abc", 0644);
    directory_watch = (int)OK(inotify_add_watch(watcher, "dir", IN_ALL_EVENTS));
    CHECK_EQ(directory_watch, 1);
    file_watch = (int)OK(inotify_add_watch(watcher, "dir/file", IN_ALL_EVENTS));
    CHECK_EQ(file_watch, 2);
    CHECK_EQ(inotify_add_watch(watcher, "dir/../dir", IN_ALL_EVENTS), 1); // the same inode

    int file = (int)MUST(open("dir/file", O_RDWR));
    print_events("open");
    MUST(read(file, &byte, 1));
    print_events("read");
    MUST(write(file, "x", 1));
    MUST(write(file, "y", 1));
    print_events("two writes, merged");
    MUST(fchmod(file, 0600));
    print_events("chmod");
    MUST(ftruncate(file, 1));
    print_events("truncate");
    close(file);
    print_events("close");
    close((int)MUST(open("dir/file", O_RDONLY)));
    print_events("open and close for reading");
    put_file("dir/new", "n", 0644);
    print_events("create, write, close");
    MUST(mkdir("dir/sub", 0755));
    print_events("mkdir");
    MUST(symlink("x", "dir/link"));
    print_events("symlink");
    MUST(link("dir/new", "dir/hard"));
    print_events("link");
    MUST(unlink("dir/hard"));
    print_events("unlink of one of two names");
    MUST(rename("dir/new", "dir/newer"));
    print_events("rename within");
    MUST(rename("dir/newer", "away"));
    print_events("rename out");
    MUST(rename("away", "dir/back"));
    print_events("rename in");
    MUST(rename("dir/file", "dir/file2"));
    print_events("rename of a watched file");
    MUST(rename("dir/back", "dir/file2"));
    print_events("rename over the watched file");
    MUST(rmdir("dir/sub"));
    print_events("rmdir");
    MUST(utimensat(AT_FDCWD, "dir", NULL, 0));
    print_events("times of the directory");
    OK(inotify_rm_watch(watcher, directory_watch));
    print_events("watch removed");
    put_file("dir/unseen", "", 0644);
    print_events("unwatched");
    ERR(EINVAL, inotify_rm_watch(watcher, directory_watch));
    directory_watch = (int)OK(inotify_add_watch(watcher, "dir", IN_CREATE | IN_ONESHOT));
    put_file("dir/once", "", 0644);
    put_file("dir/twice", "", 0644);
    print_events("one shot");
    directory_watch = (int)OK(inotify_add_watch(watcher, "dir", IN_DELETE_SELF | IN_ONLYDIR));
    CHECK_EQ(system("/bin/busybox rm -r dir"), 0);
    print_events("directory deleted");

    put_file("plain", "", 0644);
    ERR(ENOTDIR, inotify_add_watch(watcher, "plain", IN_OPEN | IN_ONLYDIR));
    ERR(ENOENT, inotify_add_watch(watcher, "missing", IN_OPEN));
    ERR(EINVAL, inotify_add_watch(watcher, "plain", 0));
    ERR(EINVAL, inotify_add_watch(0, "plain", IN_OPEN));
    ERR(EBADF, inotify_add_watch(99, "plain", IN_OPEN));
    ERR(EINVAL, inotify_init1(1));
    // A second add replaces or extends the mask.
    file_watch = (int)OK(inotify_add_watch(watcher, "plain", IN_OPEN));
    OK(inotify_add_watch(watcher, "plain", IN_CLOSE | IN_MASK_ADD));
    close((int)MUST(open("plain", O_RDONLY)));
    print_events("extended mask");
    OK(inotify_add_watch(watcher, "plain", IN_ATTRIB));
    close((int)MUST(open("plain", O_RDONLY)));
    print_events("replaced mask");
    // Waiting: a child makes the event.
    struct pollfd source = {.fd = watcher, .events = POLLIN};
    CHECK_EQ(poll(&source, 1, 0), 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        wait_until_asleep(parent, parent);
        _exit(chmod("plain", 0600) == 0 ? 0 : 1);
    }
    CHECK_EQ(poll(&source, 1, 10000), 1);
    int bytes = 0;
    OK(ioctl(watcher, FIONREAD, &bytes));
    CHECK_EQ(bytes, 16);
    char small[10];
    ERR(EINVAL, read(watcher, small, sizeof(small)));
    print_events("event from another process");
    waitpid(child, NULL, 0);
    return check_done();
}
