// SPDX-License-Identifier: MIT
//
// Finding guests: /proc/PID/cmdline of QEMU says what the guest is.
#include "tools/lodger/perf/guest_find.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// `path` as process `pid` means it, or NULL for NULL.
static char *absolute_path(pid_t pid, const char *path)
{
    if (path == NULL || path[0] == '/') {
        return path != NULL ? xstrdup(path) : NULL;
    }
    char link[64], folder[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/%d/cwd", (int)pid);
    ssize_t len_bytes = readlink(link, folder, sizeof(folder) - 1);
    if (len_bytes <= 0) {
        return xstrdup(path);
    }
    folder[len_bytes] = '\0';
    return xasprintf("%s/%s", folder, path);
}

// The value of `key` in a list such as "guest=a,debug-threads=on"; a first word without a key is
// that of `implied`. An allocated string, or NULL.
static char *list_value(const char *list, const char *key, const char *implied)
{
    char *copy = xstrdup(list);
    char *rest = copy, *word, *result = NULL;
    for (unsigned i = 0; result == NULL && (word = strsep(&rest, ",")) != NULL; i++) {
        char *equals = strchr(word, '=');
        if (equals == NULL && i == 0 && strcmp(implied, key) == 0) {
            result = xstrdup(word);
        } else if (equals != NULL && (size_t)(equals - word) == strlen(key) &&
                   strncmp(word, key, strlen(key)) == 0) {
            result = xstrdup(equals + 1);
        }
    }
    free(copy);
    return result;
}

// Where QEMU puts the hole below 4 GiB (hw/i386: microvm.c, pc_piix.c, pc_q35.c).
static uint64_t hole_start(const char *machine, uint64_t size_bytes)
{
    if (machine != NULL && strncmp(machine, "q35", 3) == 0) {
        return size_bytes >= 0xb0000000 ? 0x80000000 : 0xb0000000;
    }
    if (machine != NULL && strncmp(machine, "pc", 2) == 0) {
        return size_bytes >= 0xe0000000 ? 0xc0000000 : 0xe0000000;
    }
    return 0xc0000000;
}

static uint64_t memory_size(const char *option)
{
    char *text = list_value(option, "size", "size");
    uint64_t size_bytes = 0;
    if (text != NULL && isdigit((unsigned char)text[strlen(text) - 1])) {
        uint64_t mebibytes = 0; // QEMU's unit when there is none
        size_bytes = parse_number(text, 1, 1u << 30, &mebibytes) ? mebibytes << 20 : 0;
    } else if (text == NULL || !parse_size(text, &size_bytes)) {
        size_bytes = 0;
    }
    free(text);
    return size_bytes;
}

// What QEMU's arguments say. `words` is a list of strings that a NUL ends each.
static void read_arguments(struct guest *guest, const struct buffer *words)
{
    const char *end = (const char *)words->data + words->len_bytes;
    const char *option = (const char *)words->data;
    char *machine = NULL;
    uint64_t size_bytes = 128u << 20; // QEMU's default
    while (option < end) {
        const char *value = option + strlen(option) + 1;
        value = value < end ? value : "";
        if (strcmp(option, "-name") == 0 && guest->name == NULL) {
            guest->name = list_value(value, "guest", "guest");
        } else if (strcmp(option, "-kernel") == 0 && guest->kernel == NULL) {
            guest->kernel = absolute_path(guest->pid, value);
        } else if (strcmp(option, "-initrd") == 0 && guest->initrd == NULL) {
            guest->initrd = absolute_path(guest->pid, value);
        } else if (strcmp(option, "-machine") == 0 && machine == NULL) {
            machine = list_value(value, "type", "type");
        } else if (strcmp(option, "-m") == 0) {
            size_bytes = memory_size(value);
        } else if (strcmp(option, "-qmp") == 0 && strncmp(value, "unix:", 5) == 0) {
            char *path = xstrndup(value + 5, strcspn(value + 5, ","));
            free(guest->qmp);
            guest->qmp = absolute_path(guest->pid, path);
            free(path);
        }
        option += strlen(option) + 1;
    }
    guest->layout = (struct guest_memory_layout){size_bytes, hole_start(machine, size_bytes)};
    free(machine);
}

// A guest that firmware starts from a disk has no -initrd; `lodger run` leaves the file beside its
// QMP socket.
static void find_initrd(struct guest *guest)
{
    char *slash = guest->qmp != NULL ? strrchr(guest->qmp, '/') : NULL;
    if (guest->initrd != NULL || slash == NULL) {
        return;
    }
    char *path = xasprintf("%.*s/initrd.cpio", (int)(slash - guest->qmp), guest->qmp);
    if (access(path, R_OK) == 0) {
        guest->initrd = path;
    } else {
        free(path);
    }
}

// Threads of QEMU with debug-threads=on are called "CPU n/KVM" or "CPU n/TCG".
static void read_threads(struct guest *guest)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)guest->pid);
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        char *name_path = xasprintf("%s/%s/comm", path, entry->d_name);
        char *name = entry->d_name[0] != '.' ? file_read_text(name_path) : NULL;
        unsigned vcpu;
        char of;
        if (name != NULL && sscanf(name, "CPU %u/%c", &vcpu, &of) == 2 && vcpu < GUEST_VCPUS_MAX) {
            guest->vcpu_threads[vcpu] = (pid_t)atoi(entry->d_name);
        }
        free(name);
        free(name_path);
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

// Fills in what is known of a process. False: it is gone, or (`any` false) no QEMU.
static bool read_guest(pid_t pid, bool any, struct guest *guest)
{
    *guest = (struct guest){.pid = pid};
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    struct buffer words = {};
    if (file_read(path, &words) != 0 || words.len_bytes == 0) {
        buffer_free(&words);
        return false;
    }
    buffer_add(&words, "", 1);
    const char *program = strrchr((const char *)words.data, '/');
    program = program != NULL ? program + 1 : (const char *)words.data;
    bool is_qemu = strncmp(program, "qemu-system-", strlen("qemu-system-")) == 0;
    if (is_qemu) {
        read_arguments(guest, &words);
        find_initrd(guest);
    }
    buffer_free(&words);
    if (!is_qemu && !any) {
        return false;
    }
    guest->has_name = guest->name != NULL;
    if (guest->name == NULL) {
        guest->name = xasprintf("pid-%d", (int)pid);
    }
    read_threads(guest);
    return true;
}

void guest_free(struct guest *guest)
{
    free(guest->name);
    free(guest->kernel);
    free(guest->initrd);
    free(guest->qmp);
    *guest = (struct guest){};
}

void guests_list(struct guests *guests)
{
    *guests = (struct guests){};
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        uint64_t pid;
        struct guest guest;
        if (parse_number(entry->d_name, 1, INT_MAX, &pid) &&
            read_guest((pid_t)pid, false, &guest)) {
            guests->items = xrealloc(guests->items, (guests->count + 1) * sizeof(guests->items[0]));
            guests->items[guests->count++] = guest;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
}

void guests_free(struct guests *guests)
{
    for (size_t i = 0; i < guests->count; i++) {
        guest_free(&guests->items[i]);
    }
    free(guests->items);
    *guests = (struct guests){};
}

// The names of all guests, for messages.
static char *guest_names(const struct guests *guests)
{
    struct buffer text = {};
    for (size_t i = 0; i < guests->count; i++) {
        char *word = xasprintf(
            "%s%s (pid %d)", i > 0 ? ", " : "", guests->items[i].name, (int)guests->items[i].pid);
        buffer_add(&text, word, strlen(word));
        free(word);
    }
    buffer_add(&text, "", 1);
    return (char *)text.data;
}

char *guest_find(const char *what, struct guest *guest)
{
    uint64_t pid;
    if (what != NULL && parse_number(what, 1, INT_MAX, &pid)) {
        return read_guest((pid_t)pid, true, guest) ? NULL
                                                   : xasprintf("there is no process %s", what);
    }
    struct guests guests;
    guests_list(&guests);
    char *names = guest_names(&guests);
    size_t found = 0, count = 0, named = 0;
    for (size_t i = 0; i < guests.count; i++) {
        named += guests.items[i].has_name ? 1 : 0;
    }
    for (size_t i = 0; i < guests.count; i++) {
        // Without a name asked for, one that has a name is meant rather than one that has none.
        bool chosen = what == NULL ? guests.items[i].has_name || named == 0
                                   : strcmp(guests.items[i].name, what) == 0;
        if (chosen) {
            found = i;
            count++;
        }
    }
    char *reason = NULL;
    if (count == 1) {
        *guest = guests.items[found];
        guests.items[found] = (struct guest){};
    } else if (guests.count == 0) {
        reason = xstrdup("no guest runs on this host (./lodger run starts one)");
    } else if (count == 0) {
        reason = xasprintf("there is no guest %s; there is: %s", what, names);
    } else {
        reason = xasprintf("which guest? Give a name or a process id: %s", names);
    }
    free(names);
    guests_free(&guests);
    return reason;
}
