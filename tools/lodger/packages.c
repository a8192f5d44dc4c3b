// SPDX-License-Identifier: MIT
//
// Fetching Debian packages with all that they depend on.
//
// apt is asked what it would install on a machine without any package (an empty status file); what
// it names is fetched and unpacked. Package scripts are not run. The host's apt configuration says
// where packages come from.
#include "tools/lodger/packages.h"
#include "tools/lodger/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <fcntl.h>
#include <unistd.h>

#define FETCH_TIMEOUT_NS 900000000000u

// $1 is the folder to fill, the rest are packages.
static const char fetch[] =
    "set -eu\n"
    "folder=$1; shift\n"
    "rm -rf \"$folder\" \"$folder.new\"; mkdir -p \"$folder.new/deb/partial\" "
    "\"$folder.new/root\"\n"
    "cd \"$folder.new\"; : >status\n"
    "names() { apt-get -q -y -o Dir::State::status=\"$PWD/status\" -o Debug::NoLocking=1"
    " -o Dir::Cache::archives=\"$PWD/deb\" --print-uris --no-install-recommends install \"$@\""
    " | sed -n \"s/^'[^']*' \\([^_ ]*\\)_.*/\\1/p\"; }\n"
    "list=$(names \"$@\") || { apt-get -q update; list=$(names \"$@\"); }\n"
    "[ -n \"$list\" ]\n"
    "cd deb; apt-get -q download $list || { apt-get -q update && apt-get -q download $list; }\n"
    "cd ..\n"
    "for deb in deb/*.deb; do\n"
    "  dpkg-deb --fsys-tarfile \"$deb\" | tar -x -C root --no-same-owner"
    " --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale"
    " --exclude=./usr/share/info --exclude=./usr/share/icons\n"
    "done\n"
    "rm -rf deb status\n"
    "find root -type l -lname '/*' | while read -r link; do\n"
    "  ln -sfn \"$folder/root$(readlink \"$link\")\" \"$link\"\n"
    "done\n"
    "cd ..; mv \"$folder.new\" \"$folder\"\n";

static char *folder_name(const struct strings *names)
{
    struct buffer joined = {};
    for (size_t i = 0; i < names->count; i++) {
        buffer_add(&joined, "+", i > 0);
        buffer_add(&joined, names->items[i], strlen(names->items[i]));
    }
    buffer_add(&joined, "", 1);
    return (char *)joined.data;
}

// Who comes second finds what the first has fetched. Released by close().
static int lock_cache(const char *cache)
{
    char *path = xasprintf("%s/.lock", cache);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0) {
        while (flock(fd, LOCK_EX) != 0) {
        }
    }
    free(path);
    return fd;
}

char *packages_root(const struct strings *names, char **reason)
{
    char *cache = tree_path("out/cache/packages");
    char *real = NULL;
    folder_create(cache);
    real = realpath(cache, NULL);
    char *name = folder_name(names);
    char *folder = xasprintf("%s/%s", real != NULL ? real : cache, name);
    char *root = xasprintf("%s/root", folder);
    int lock = lock_cache(cache);
    if (access(root, R_OK) != 0) {
        struct strings command = {};
        struct process_result result;
        fprintf(stderr, "fetching the packages %s and what they depend on\n", name);
        strings_add(&command, "sh");
        strings_add(&command, "-c");
        strings_add(&command, fetch);
        strings_add(&command, "sh");
        strings_add(&command, folder);
        for (size_t i = 0; i < names->count; i++) {
            strings_add(&command, names->items[i]);
        }
        process_run(command.items, NULL, FETCH_TIMEOUT_NS, &result);
        if (!process_succeeded(&result)) {
            size_t shown_bytes = result.output.len_bytes < 400 ? result.output.len_bytes : 400;
            *reason = xasprintf("cannot fetch the packages %s: %.*s", name, (int)shown_bytes,
                (const char *)result.output.data + result.output.len_bytes - shown_bytes);
            free(root);
            root = NULL;
        }
        buffer_free(&result.output);
        strings_free(&command);
    }
    close(lock);
    free(folder);
    free(name);
    free(real);
    free(cache);
    return root;
}
