// SPDX-License-Identifier: MIT
//
// The labs' host image in out/cache/lab: built when it is missing or its recipe has changed.
//
//   out/cache/lab/image-HASH/       what tools/lab/build-image made from tools/lab/packages.txt
//   out/cache/lab/host-HASH.cpio    its initramfs with tools/lab/host/*
//   out/cache/lab/host-HASH.state   the snapshot of a booted host
//
// Each HASH is of everything that the file depends on, so that a change makes another file, and
// several trees can share the folder. LODGER_LAB_CACHE in the environment names another folder.
#include "tools/lodger/build.h"
#include "tools/lodger/cpio.h"
#include "tools/lodger/lab.h"
#include "tools/lodger/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// Files of other recipes are kept for so long after their last use.
#define KEPT_S (3 * 24 * 3600)

#define HASH_START 0xcbf29ce484222325u

static uint64_t hash_add(uint64_t hash, const void *data, size_t len_bytes)
{
    const uint8_t *bytes = data; // FNV-1a
    for (size_t i = 0; i < len_bytes; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static uint64_t hash_add_text(uint64_t hash, const char *text)
{
    return hash_add(hash, text, strlen(text) + 1);
}

static uint64_t hash_add_tree_file(uint64_t hash, const char *name)
{
    char *path = tree_path("%s", name);
    struct buffer content = {};
    int error = file_read(path, &content);
    if (error != 0) {
        die("cannot read %s: %s", path, strerror(-error));
    }
    hash = hash_add(hash, content.data, content.len_bytes);
    buffer_free(&content);
    free(path);
    return hash;
}

// ---- damage ----

// Writes the checksum of a file to FILE.sum.
static void checksum_write(const char *path)
{
    char *quoted = shell_quote(path);
    char *line = xasprintf("sha256sum %s >%s.sum", quoted, quoted);
    struct process_result result;
    process_run((char *[]){"sh", "-c", line, NULL}, NULL, 0, &result);
    buffer_free(&result.output);
    free(line);
    free(quoted);
}

// Whether the files which a list of checksums names are as they were.
static bool checksum_holds(const char *folder, const char *list)
{
    struct process_result result;
    process_run((char *[]){"sha256sum", "--status", "-c", (char *)list, NULL}, folder, 0, &result);
    bool holds = process_succeeded(&result);
    buffer_free(&result.output);
    return holds;
}

static void remove_damaged(const char *path)
{
    warn("%s is damaged and is made again", path);
    struct process_result result;
    process_run((char *[]){"rm", "-rf", (char *)path, NULL}, NULL, 0, &result);
    buffer_free(&result.output);
}

// ---- making ----

// Held while something is made: who comes second waits and then finds it. Released by closing.
static int lock_cache(const char *folder)
{
    char *path = xasprintf("%s/lock", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        die("cannot open %s: %s", path, strerror(errno));
    }
    while (flock(fd, LOCK_EX) != 0) {
        if (errno != EINTR) {
            die("cannot lock %s: %s", path, strerror(errno));
        }
    }
    free(path);
    return fd;
}

static void mark_used(const char *path)
{
    // A shared cache may belong to somebody else; then its owner's use counts.
    (void)utimensat(AT_FDCWD, path, NULL, 0);
}

// Removes what other recipes have made and nobody has used for a while.
static void remove_old(const char *folder)
{
    static const char *const patterns[] = {"image-*", "host-*"};
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        char *pattern = xasprintf("%s/%s", folder, patterns[i]);
        glob_t found;
        if (glob(pattern, 0, NULL, &found) == 0) {
            for (size_t entry = 0; entry < found.gl_pathc; entry++) {
                struct stat info;
                if (stat(found.gl_pathv[entry], &info) == 0 &&
                    time(NULL) - info.st_mtime > KEPT_S) {
                    build_run_with_progress("removing an old lab image",
                        (char *[]){"rm", "-rf", found.gl_pathv[entry], NULL});
                }
            }
            globfree(&found);
        }
        free(pattern);
    }
}

// The folder with the host image, built if it is missing. `*hash` is its recipe's.
static char *prepare_image(const char *cache, uint64_t *hash)
{
    *hash = hash_add_tree_file(HASH_START, "tools/lab/packages.txt");
    *hash = hash_add_tree_file(*hash, "tools/lab/build-image");
    *hash = hash_add_tree_file(*hash, "tools/lab/initramfs-init");
    char *image = xasprintf("%s/image-%016llx", cache, (unsigned long long)*hash);
    if (access(image, R_OK) != 0) {
        remove_old(cache);
        char *script = tree_path("tools/lab/build-image");
        build_run_with_progress("building the lab's host image", (char *[]){script, image, NULL});
        free(script);
    }
    mark_used(image);
    return image;
}

// Adds the programs of tools/lab/host to the initramfs, in an archive of their own behind it.
static void make_initramfs(const char *image, const struct strings *programs, const char *path)
{
    struct buffer whole = {};
    char *base = xasprintf("%s/initramfs", image);
    int error = file_read(base, &whole);
    if (error != 0) {
        die("cannot read %s: %s", base, strerror(-error));
    }
    struct cpio extra = {};
    for (size_t i = 0; i < programs->count; i++) {
        char *source = tree_path("tools/lab/host/%s", programs->items[i]);
        char *target = xasprintf("/lab/%s", programs->items[i]);
        error = cpio_add_host_file(&extra, target, 0755, source);
        if (error != 0) {
            die("cannot read %s: %s", source, strerror(-error));
        }
        free(source);
        free(target);
    }
    cpio_finish(&extra);
    buffer_align(&whole, 512);
    buffer_add(&whole, extra.archive.data, extra.archive.len_bytes);
    file_write(path, whole.data, whole.len_bytes);
    cpio_free(&extra);
    buffer_free(&whole);
    free(base);
}

// Names of the files in tools/lab/host, sorted.
static void list_programs(struct strings *programs)
{
    char *folder = tree_path("tools/lab/host");
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            strings_add(programs, entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (count < 0) {
        die("cannot read %s: %s", folder, strerror(errno));
    }
    free(entries);
    free(folder);
}

// Which QEMU this is: another one may not understand the snapshot.
static uint64_t hash_add_qemu(uint64_t hash)
{
    struct stat info;
    static const char qemu[] = "/usr/bin/qemu-system-x86_64";
    if (stat(qemu, &info) == 0) {
        hash = hash_add(hash, &info.st_size, sizeof(info.st_size));
        hash = hash_add(hash, &info.st_mtime, sizeof(info.st_mtime));
    }
    return hash;
}

static uint64_t hash_add_command(uint64_t hash, const struct lab_host *host)
{
    struct strings command = {};
    struct machine_streams none = {
        .console = -1, .log = -1, .code = -1, .out = -1, .err = -1, .control = -1};
    lab_host_command(host, &none, -1, -1, &command);
    for (size_t i = 0; i < command.count; i++) {
        hash = hash_add_text(hash, command.items[i]);
    }
    strings_free(&command);
    return hash;
}

// Takes the snapshot if there is none. A lab works without one, only slower.
static void prepare_snapshot(struct lab_host *host, const char *path)
{
    char *reason = NULL;
    if (access(path, R_OK) != 0) {
        fputs("taking a snapshot of the lab's booted host\n", stderr);
        if (!lab_snapshot_take(host, path, &reason)) {
            warn("the lab's host can't be brought back from a snapshot, so it is booted each "
                 "time: %s",
                reason);
            free(reason);
            host->snapshot = NULL;
            return;
        }
        checksum_write(path);
    }
    mark_used(path);
    host->snapshot = xstrdup(path);
}

static struct lab_host kvm_host;

static void prepare_kvm_host(void)
{
    struct lab_host *host = &kvm_host;
    const char *elsewhere = getenv("LODGER_LAB_CACHE");
    char *cache = elsewhere != NULL ? xstrdup(elsewhere) : tree_path("out/cache/lab");
    folder_create(cache);
    int lock = lock_cache(cache);
    uint64_t hash;
    host->folder = prepare_image(cache, &hash);

    struct strings programs = {};
    list_programs(&programs);
    for (size_t i = 0; i < programs.count; i++) {
        char *name = xasprintf("tools/lab/host/%s", programs.items[i]);
        hash = hash_add_tree_file(hash_add_text(hash, name), name);
        free(name);
    }
    host->initramfs = xasprintf("%s/host-%016llx.cpio", cache, (unsigned long long)hash);
    if (access(host->initramfs, R_OK) != 0) {
        make_initramfs(host->folder, &programs, host->initramfs);
        checksum_write(host->initramfs);
    }
    mark_used(host->initramfs);
    strings_free(&programs);

    hash = hash_add_command(hash_add_qemu(hash), host);
    char *state = xasprintf("%s/host-%016llx.state", cache, (unsigned long long)hash);
    prepare_snapshot(host, state);
    free(state);
    close(lock);
    free(cache);
}

bool lab_repair(const struct lab_host *host)
{
    static pthread_mutex_t once_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&once_at_a_time);
    bool damaged = false;
    char *list = xasprintf("%s.sum", host->initramfs);
    if (!checksum_holds(host->folder, "sums")) {
        remove_damaged(host->folder);
        damaged = true;
    }
    if (!checksum_holds("/", list)) {
        remove_damaged(host->initramfs);
        damaged = true;
    }
    free(list);
    if (host->snapshot != NULL) {
        list = xasprintf("%s.sum", host->snapshot);
        if (damaged || !checksum_holds("/", list)) {
            remove_damaged(host->snapshot);
            damaged = true;
        }
        free(list);
    }
    if (damaged) {
        prepare_kvm_host();
    }
    pthread_mutex_unlock(&once_at_a_time);
    return damaged;
}

const struct lab_host *lab_kvm_host(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_kvm_host);
    return &kvm_host;
}
