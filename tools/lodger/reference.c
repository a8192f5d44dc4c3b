// SPDX-License-Identifier: MIT
//
// Debian's cloud kernel, which guest tests are compared with. It is fetched as a package and
// unpacked into out/cache; it is not installed on the host.
#include "tools/lodger/process.h"
#include "tools/lodger/test.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define META_PACKAGE "linux-image-cloud-amd64"

static char *find_kernel(const char *folder)
{
    char *pattern = xasprintf("%s/boot/vmlinuz-*-cloud-amd64", folder);
    glob_t found;
    char *kernel = NULL;
    if (glob(pattern, 0, NULL, &found) == 0) {
        kernel = xstrdup(found.gl_pathv[found.gl_pathc - 1]);
        globfree(&found);
    }
    free(pattern);
    return kernel;
}

// Runs a shell command in `folder`. Returns its output if it succeeded, else NULL, with the output
// added to `complaints`.
static char *shell(const char *folder, const char *line, struct buffer *complaints)
{
    char *command[] = {"sh", "-c", (char *)line, NULL};
    struct process_result run;
    process_run(command, folder, 600000000000u, &run);
    if (!process_succeeded(&run)) {
        buffer_add(complaints, run.output.data, run.output.len_bytes);
        buffer_free(&run.output);
        return NULL;
    }
    buffer_add(&run.output, "", 1);
    return (char *)run.output.data;
}

char *reference_kernel(char **reason)
{
    char *folder = tree_path("out/cache/linux");
    folder_create(folder);
    char *kernel = find_kernel(folder);
    struct buffer complaints = {};
    // The package by that name only depends on the newest kernel's.
    static const char fetch[] =
        "set -e\n"
        "name() { apt-cache depends --important " META_PACKAGE
        " | sed -n 's/.*Depends: \\(linux-image-[^ ]*\\)$/\\1/p' | head -n 1; }\n"
        "package=$(name)\n"
        "if [ -z \"$package\" ]; then apt-get -q update; package=$(name); fi\n"
        "[ -n \"$package\" ] || { echo 'apt knows no package " META_PACKAGE "'; exit 1; }\n"
        "apt-get -q download \"$package\" || { apt-get -q update && apt-get -q download "
        "\"$package\"; }\n"
        "dpkg-deb --fsys-tarfile \"$package\"_*.deb | tar -x ./boot\n"
        "rm -f ./*.deb boot/System.map*\n";
    if (kernel == NULL) {
        fputs("fetching " META_PACKAGE " to compare guest tests with\n", stderr);
        free(shell(folder, fetch, &complaints));
        kernel = find_kernel(folder);
    }
    if (kernel == NULL) {
        buffer_add(&complaints, "", 1);
        *reason = (char *)complaints.data;
    } else {
        buffer_free(&complaints);
    }
    free(folder);
    return kernel;
}
