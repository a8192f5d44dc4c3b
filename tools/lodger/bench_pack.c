// SPDX-License-Identifier: MIT
//
// The initial file systems of measured guests. Both kernels get the same one.
#include "tools/lodger/bench_guest.h"
#include "tools/lodger/description.h"
#include "tools/lodger/packages.h"
#include "tools/lodger/program.h"
#include "tools/lodger/test.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void pack_own_program(struct cpio *cpio, const char *path, const char *program)
{
    char *source = tree_path("out/host/guest/%s", program);
    int error = cpio_add_host_file(cpio, path, 0755, source);
    if (error != 0) {
        die("cannot read %s: %s", source, strerror(-error));
    }
    free(source);
}

// Packs what lies at `path` of the root file system in `root`, folders with all that they hold.
static char *pack_tree(struct cpio *cpio, const char *root, const char *path)
{
    char *source = xasprintf("%s%s", root, path);
    struct stat about;
    char *reason = NULL;
    if (stat(source, &about) != 0) {
        reason = xasprintf("the packages hold no %s", path);
    } else if (S_ISREG(about.st_mode) && !cpio_contains(cpio, path)) {
        int error = cpio_add_host_file(cpio, path, about.st_mode & 07777, source);
        reason = error != 0 ? xasprintf("cannot read %s: %s", source, strerror(-error)) : NULL;
    }
    DIR *folder = reason == NULL && S_ISDIR(about.st_mode) ? opendir(source) : NULL;
    for (struct dirent *entry;
        folder != NULL && reason == NULL && (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            char *below = xasprintf("%s/%s", path, entry->d_name);
            reason = pack_tree(cpio, root, below);
            free(below);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    free(source);
    return reason;
}

// Packs what a macro benchmark needs. Returns NULL, or why it cannot run.
static char *pack_macro(struct cpio *cpio, const struct bench *bench)
{
    char *reason = NULL;
    char *root = bench->packages.count > 0 ? packages_root(&bench->packages, &reason) : NULL;
    for (size_t i = 0; reason == NULL && i < bench->programs.count; i++) {
        reason = program_pack_from(cpio, root != NULL ? root : "", bench->programs.items[i]);
    }
    for (size_t i = 0; reason == NULL && i < bench->files.count; i++) {
        reason = pack_tree(cpio, root != NULL ? root : "", bench->files.items[i]);
    }
    free(root);
    if (reason == NULL) {
        char *path = xasprintf("/bench/macro/%s", bench->name);
        cpio_add_file(cpio, path, 0755, bench->script, strlen(bench->script));
        free(path);
    }
    return reason;
}

// The modules with which Debian's cloud kernel finds a virtio disk, in the order of loading;
// guests/bench/server.c loads them. Without them (no network) the other side says that it has no
// disk.
static void pack_disk_modules(struct cpio *cpio)
{
    static const char *const modules[] = {"virtio/virtio_ring.ko", "virtio/virtio.ko",
        "virtio/virtio_mmio.ko", "virtio/virtio_pci_modern_dev.ko",
        "virtio/virtio_pci_legacy_dev.ko", "virtio/virtio_pci.ko", "block/virtio_blk.ko"};
    char *reason = NULL, *kernel = reference_kernel(&reason);
    const char *version = kernel != NULL ? strstr(kernel, "vmlinuz-") : NULL;
    if (version == NULL) {
        free(reason);
        free(kernel);
        return;
    }
    version += strlen("vmlinuz-");
    struct strings package = {};
    char *package_name = xasprintf("linux-image-%s", version);
    strings_add(&package, package_name);
    char *root = packages_root(&package, &reason);
    for (size_t i = 0; root != NULL && i < sizeof(modules) / sizeof(modules[0]); i++) {
        char *source = xasprintf("%s/lib/modules/%s/kernel/drivers/%s", root, version, modules[i]);
        char *path = xasprintf("/bench/modules/%zu.ko", i);
        (void)cpio_add_host_file(cpio, path, 0644, source);
        free(path);
        free(source);
    }
    if (root == NULL) {
        fprintf(stderr, "the other kernel's disk driver cannot be had: %s\n", reason);
    }
    free(reason);
    free(root);
    free(package_name);
    strings_free(&package);
    free(kernel);
}

char *bench_pack(const char *name, const struct bench *const *benches, size_t count,
    const char *list, char **failures)
{
    struct cpio cpio = {};
    bool shell = false, disk = false;
    char *programs = tree_path("out/host/guest");
    pack_own_program(&cpio, "/init", "bench-server");
    pack_own_program(&cpio, "/bench/bench", "bench");
    for (size_t i = 0; i < count; i++) {
        disk |= benches[i]->disk_bytes != 0;
        if (benches[i]->kind == BENCH_MACRO) {
            failures[i] = pack_macro(&cpio, benches[i]);
            shell = true;
        }
    }
    if (shell) {
        struct description description;
        char *path = tree_path("guests/busybox/guest.txt");
        description_read(path, programs, &cpio, &description);
        free(path);
    }
    if (disk) {
        pack_disk_modules(&cpio);
    }
    if (list != NULL) {
        cpio_add_file(&cpio, "/bench/list", 0644, list, strlen(list));
    }
    description_add_basics(&cpio, programs, &(struct strings){}, &(struct strings){}, NULL);
    cpio_finish(&cpio);
    char *path = xasprintf("%s/%s.cpio", folder_temporary(), name);
    file_write(path, cpio.archive.data, cpio.archive.len_bytes);
    cpio_free(&cpio);
    free(programs);
    return path;
}
