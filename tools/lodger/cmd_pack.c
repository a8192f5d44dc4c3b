// SPDX-License-Identifier: MIT
//
// lodger pack: the build makes the initial file systems of guests with it (guest_image in
// build/guest.gni).
#include "tools/lodger/commands.h"
#include "tools/lodger/description.h"

#include <stdlib.h>
#include <string.h>

// A dependency file for Ninja: "OUTPUT: INPUT INPUT...".
static void write_depfile(const char *path, const char *output, const struct strings *inputs)
{
    struct buffer text = {};
    buffer_add(&text, output, strlen(output));
    buffer_add(&text, ":", 1);
    for (size_t i = 0; i < inputs->count; i++) {
        buffer_add(&text, " ", 1);
        buffer_add(&text, inputs->items[i], strlen(inputs->items[i]));
    }
    buffer_add(&text, "\n", 1);
    file_write(path, text.data, text.len_bytes);
    buffer_free(&text);
}

int cmd_pack(int argc, char **argv)
{
    const char *depfile = NULL;
    const char *programs = "guest";
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (strcmp(argv[i], "--depfile") == 0) {
            depfile = argv[i + 1];
        } else if (strcmp(argv[i], "--programs") == 0) {
            programs = argv[i + 1];
        } else {
            die("pack: unknown option: %s", argv[i]);
        }
    }
    if (argc - i != 2) {
        die("usage: lodger pack [--depfile FILE] [--programs FOLDER] DESCRIPTION OUTPUT");
    }
    struct cpio cpio = {};
    struct description description;
    description_read(argv[i], programs, &cpio, &description);
    description_add_basics(&cpio, programs, &description.argv, &description.env, NULL);
    cpio_finish(&cpio);
    file_write(argv[i + 1], cpio.archive.data, cpio.archive.len_bytes);
    if (depfile != NULL) {
        write_depfile(depfile, argv[i + 1], &description.inputs);
    }
    cpio_free(&cpio);
    return 0;
}
