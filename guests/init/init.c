// SPDX-License-Identifier: MIT
//
// First process of a guest which runs one command, on Lodger and on Linux alike: mounts what every
// program expects, starts the command of /.lodger/argv, and ends the machine with its exit code.
//
//   /.lodger/argv   the command's arguments, each ended by NUL; the first is the program's path
//   /.lodger/env    its environment, likewise
//   /.lodger/cwd    its working folder (optional)
//
// Standard input, output and error are those of this process. If they are a terminal it becomes the
// command's controlling terminal, of the size that the boot option lodger.winsize=ROWSxCOLUMNS
// says.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/core/debug_exit.h"

// Exit codes of a command that could not be started, as a shell has them.
enum { CANNOT_RUN = 126, NOT_FOUND = 127 };

static void complain(const char *what, const char *detail)
{
    fprintf(stderr, "lodger-init: %s: %s: %s\n", what, detail, strerror(errno));
}

static void mount_one(const char *type, const char *path, const char *options)
{
    mkdir(path, 0755);
    if (mount(type, path, type, 0, options) != 0 && errno != EBUSY && errno != ENODEV) {
        complain("cannot mount", path);
    }
}

// Reads a file of NUL-terminated strings. Returns NULL if there is none.
static char **read_strings(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    struct stat status;
    fstat(fd, &status);
    size_t len_bytes = (size_t)status.st_size;
    char *text = malloc(len_bytes + 1);
    size_t got_bytes = 0;
    ssize_t got;
    while (text != NULL && got_bytes < len_bytes &&
           (got = read(fd, text + got_bytes, len_bytes - got_bytes)) > 0) {
        got_bytes += (size_t)got;
    }
    close(fd);
    if (text == NULL) {
        return NULL;
    }
    text[got_bytes] = '\0';
    size_t count = 0;
    for (size_t i = 0; i < got_bytes; i++) {
        count += text[i] == '\0';
    }
    char **strings = calloc(count + 1, sizeof(*strings));
    char *from = text;
    for (size_t i = 0; strings != NULL && i < count; i++) {
        strings[i] = from;
        from += strlen(from) + 1;
    }
    return strings;
}

// The value of a boot option, up to the next blank, or NULL.
static char *boot_option(const char *key)
{
    static char line[4096];
    static char value[256];
    FILE *file = fopen("/proc/cmdline", "re");
    char *option =
        file != NULL && fgets(line, sizeof(line), file) != NULL ? strstr(line, key) : NULL;
    if (file != NULL) {
        fclose(file);
    }
    if (option == NULL) {
        return NULL;
    }
    option += strlen(key);
    snprintf(value, sizeof(value), "%.*s", (int)strcspn(option, " \n"), option);
    return value;
}

// The console's size as the boot option says. Without it the terminal keeps what it has.
static void set_window_size(void)
{
    unsigned rows, columns;
    char *option = boot_option("lodger.winsize=");
    if (option != NULL && sscanf(option, "%ux%u", &rows, &columns) == 2) {
        struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
        ioctl(STDIN_FILENO, TIOCSWINSZ, &size);
    }
}

// TERM is the user's if the command says what that is.
static void set_terminal_type(char **env)
{
    static char term[300];
    char *option = boot_option("lodger.term=");
    for (; option != NULL && *env != NULL; env++) {
        if (strncmp(*env, "TERM=", 5) == 0) {
            snprintf(term, sizeof(term), "TERM=%s", option);
            *env = term;
        }
    }
}

// /dev/console cannot be a controlling terminal on Linux; the port behind it can.
static void take_terminal(void)
{
    if (!isatty(STDIN_FILENO)) {
        return;
    }
    // What the boot options name comes first: Linux has /dev/ttyS0 also where there is no such
    // port.
    static char named[64];
    const char *console = boot_option("console=");
    snprintf(named, sizeof(named), "/dev/%s", console != NULL ? console : "ttyS0");
    const char *const terminals[] = {named, "/dev/ttyS0", "/dev/hvc0"};
    for (size_t i = 0; i < sizeof(terminals) / sizeof(terminals[0]); i++) {
        int fd = open(terminals[i], O_RDWR | O_CLOEXEC);
        if (fd >= 0 && isatty(fd)) {
            dup2(fd, STDIN_FILENO);
            dup2(fd, STDOUT_FILENO);
            dup2(fd, STDERR_FILENO);
            break;
        }
    }
    set_window_size();
}

// Ends the machine with the command's exit code. The kernel does so itself when its first process
// ends; Linux must be told through the ports, if it lets us.
[[noreturn]] static void end(int code)
{
    sync();
    if (ioperm(DEBUG_EXIT_PORT_HOW, DEBUG_EXIT_PORT_CODE - DEBUG_EXIT_PORT_HOW + 1, 1) == 0 &&
        inb(DEBUG_EXIT_PORT_HOW) != 0xff) {
        outb((unsigned char)code, DEBUG_EXIT_PORT_CODE);
        outb(DEBUG_EXIT_DONE, DEBUG_EXIT_PORT_HOW);
    }
    _exit(code);
}

static pid_t start(char **argv, char **env)
{
    pid_t child = fork();
    if (child != 0) {
        return child;
    }
    setsid();
    if (isatty(STDIN_FILENO) && ioctl(STDIN_FILENO, TIOCSCTTY, 0) != 0) {
        complain("cannot make it the controlling terminal", "standard input");
    }
    execve(argv[0], argv, env);
    complain("cannot run", argv[0]);
    _exit(errno == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

int main(void)
{
    mount_one("devtmpfs", "/dev", NULL);
    mount_one("proc", "/proc", NULL);
    mount_one("sysfs", "/sys", NULL);
    mount_one("tmpfs", "/tmp", "mode=1777");
    mount_one("devpts", "/dev/pts", "ptmxmode=666");
    mount_one("tmpfs", "/dev/shm", "mode=1777");
    take_terminal();

    char **argv = read_strings("/.lodger/argv");
    char **env = read_strings("/.lodger/env");
    char **folder = read_strings("/.lodger/cwd");
    static char *empty[] = {NULL};
    if (argv == NULL || argv[0] == NULL) {
        fprintf(stderr, "lodger-init: /.lodger/argv names no command\n");
        end(NOT_FOUND);
    }
    if (folder != NULL && folder[0] != NULL && chdir(folder[0]) != 0) {
        complain("cannot change to", folder[0]);
    }
    env = env != NULL ? env : empty;
    set_terminal_type(env);
    pid_t child = start(argv, env);
    int status = 0;
    pid_t gone;
    while ((gone = wait(&status)) != child) {
        if (gone < 0 && errno != EINTR) {
            complain("cannot wait for", argv[0]);
            end(CANNOT_RUN);
        }
    }
    end(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}
