// SPDX-License-Identifier: MIT
//
// lodger efi-image: a guest as an EFI file or as a disk that firmware boots.
#include "tools/lodger/build.h"
#include "tools/lodger/commands.h"
#include "tools/lodger/description.h"
#include "tools/lodger/efi_image.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: ./lodger efi-image [OPTIONS] GUEST OUTPUT\n"
    "\n"
    "Writes a PE file that holds the kernel, the guest's initial file system and its boot "
    "options.\n"
    "\n"
    "  --disk             write a raw disk (GPT, EFI system partition) that boots it instead\n"
    "  --append OPTIONS   more boot options\n"
    "  --variant VARIANT  release (default), debug or kasan\n";

int cmd_efi_image(int argc, char **argv)
{
    static const struct option options[] = {
        {"disk", no_argument, NULL, 'd'},
        {"append", required_argument, NULL, 'a'},
        {"variant", required_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    struct machine machine;
    machine_init(&machine);
    bool disk = false;
    const char *append = "";
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'd') {
            disk = true;
        } else if (option == 'a') {
            append = optarg;
        } else if (option == 'v' && machine_parse_variant(optarg, &machine.variant)) {
            continue;
        } else if (option == 'h') {
            fputs(help, stdout);
            return 0;
        } else {
            die("efi-image: see ./lodger efi-image --help");
        }
    }
    if (argc - optind != 2) {
        die("efi-image: see ./lodger efi-image --help");
    }
    char *path = tree_path("guests/%s/guest.txt", argv[optind]);
    if (access(path, R_OK) != 0) {
        die("there is no guest %s (./lodger run --list)", argv[optind]);
    }
    struct strings targets = {};
    strings_add(&targets, "guests:guest_programs");
    build("host", &targets);
    build(machine.variant, &(struct strings){});

    char *programs = tree_path("out/host/guest");
    struct cpio cpio = {};
    struct description description;
    description_read(path, programs, &cpio, &description);
    description_add_basics(&cpio, programs, &description.argv, &description.env, "/root");
    cpio_finish(&cpio);
    machine.append = description.append;
    strings_add_words(&machine.append, append);
    char *line = machine_kernel_line(&machine);
    char *image = tree_path("out/%s/lodger.img", machine.variant);
    char *efi = disk ? xasprintf("%s/lodger.efi", folder_temporary()) : xstrdup(argv[optind + 1]);
    efi_image_write(image, cpio.archive.data, cpio.archive.len_bytes, line, efi);
    if (disk) {
        efi_disk_write(efi, argv[optind + 1]);
    }
    cpio_free(&cpio);
    free(line);
    free(image);
    free(efi);
    free(path);
    return 0;
}
