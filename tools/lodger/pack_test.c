// SPDX-License-Identifier: MIT
//
// Unit tests: what the command packs, the kernel's own reader unpacks; descriptions of guests;
// programs with their libraries.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/base/cpio.h"
#include "tools/lodger/cpio.h"
#include "tools/lodger/description.h"
#include "tools/lodger/program.h"

// Finds a path in a finished archive with the kernel's reader.
static bool find(const struct cpio *cpio, const char *name, struct cpio_entry *entry)
{
    struct cpio_reader reader;
    cpio_reader_init(&reader, cpio->archive.data, cpio->archive.len_bytes);
    int error;
    while ((error = cpio_next(&reader, entry)) == 0) {
        if (strcmp(entry->name, name) == 0) {
            return true;
        }
    }
    assert_int_equal(error, -ENOENT);
    return false;
}

static void the_kernel_reads_what_is_packed(void **state)
{
    struct cpio cpio = {};
    struct cpio_entry entry;
    assert_true(cpio_add_file(&cpio, "/bin/tool", 0755, "abcde", 5));
    assert_false(cpio_add_file(&cpio, "/bin/tool", 0644, "other", 5));
    assert_true(cpio_add_symlink(&cpio, "/bin/link", "tool"));
    assert_true(cpio_add_device(&cpio, "/dev/console", S_IFCHR | 0600, 5, 1));
    assert_true(cpio_add_folder(&cpio, "/tmp", 01777));
    assert_true(cpio_contains(&cpio, "/bin"));
    assert_false(cpio_contains(&cpio, "/bi"));
    cpio_finish(&cpio);

    assert_true(find(&cpio, "bin", &entry));
    assert_int_equal(entry.mode, S_IFDIR | 0755);
    assert_true(find(&cpio, "bin/tool", &entry));
    assert_int_equal(entry.mode, S_IFREG | 0755);
    assert_int_equal(entry.size, 5);
    assert_memory_equal(entry.data, "abcde", 5);
    assert_true(find(&cpio, "bin/link", &entry));
    assert_int_equal(entry.mode, S_IFLNK | 0777);
    assert_memory_equal(entry.data, "tool", 4);
    assert_true(find(&cpio, "dev/console", &entry));
    assert_int_equal(entry.mode, S_IFCHR | 0600);
    assert_int_equal(entry.rdev_major, 5);
    assert_int_equal(entry.rdev_minor, 1);
    assert_true(find(&cpio, "tmp", &entry));
    assert_int_equal(entry.mode, S_IFDIR | 01777);
    assert_false(find(&cpio, "none", &entry));
    cpio_free(&cpio);
}

// Writes a file into the temporary folder and returns its path.
static char *write_file(const char *name, const void *data, size_t len_bytes)
{
    char *path = xasprintf("%s/%s", folder_temporary(), name);
    file_write(path, data, len_bytes);
    chmod(path, 0755);
    return path;
}

static void a_description_is_packed(void **state)
{
    static const char text[] = "# a comment\n"
                               "title  A guest for the test\n"
                               "file   /bin/tool tool.sh 700\n"
                               "links  tool /sbin one two\n"
                               "text   /etc/motd hello  there\n"
                               "text   /etc/motd second line\n"
                               "dir    /root 700\n"
                               "env    A=1 B=2\n"
                               "append loglevel=7\n"
                               "memory 64M\n"
                               "command /bin/tool x y\n";
    char *source = write_file("tool.sh", "#!/bin/sh\n", 10);
    char *path = write_file("guest.txt", text, sizeof(text) - 1);
    struct cpio cpio = {};
    struct description description;
    description_read(path, "/nowhere", &cpio, &description);
    assert_string_equal(description.title, "A guest for the test");
    assert_string_equal(description.memory, "64M");
    assert_null(description.cpus);
    assert_int_equal(description.argv.count, 3);
    assert_string_equal(description.argv.items[2], "y");
    assert_int_equal(description.env.count, 2);
    assert_string_equal(description.append.items[0], "loglevel=7");
    assert_string_equal(description.inputs.items[0], source);
    cpio_finish(&cpio);

    struct cpio_entry entry;
    assert_true(find(&cpio, "bin/tool", &entry));
    assert_int_equal(entry.mode, S_IFREG | 0700);
    assert_true(find(&cpio, "sbin/two", &entry));
    assert_memory_equal(entry.data, "tool", 4);
    assert_true(find(&cpio, "etc/motd", &entry));
    assert_int_equal(entry.size, strlen("hello  there\nsecond line\n"));
    assert_memory_equal(entry.data, "hello  there\nsecond line\n", entry.size);
    assert_true(find(&cpio, "root", &entry));
    assert_int_equal(entry.mode, S_IFDIR | 0700);
    cpio_free(&cpio);
    free(path);
    free(source);
}

static void a_dynamic_program_brings_its_libraries(void **state)
{
    struct cpio cpio = {};
    char *reason = program_pack(&cpio, "/bin/true", "/bin/true");
    assert_null(reason);
    assert_true(cpio_contains(&cpio, "/bin/true"));
    assert_true(cpio_contains(&cpio, "/lib64/ld-linux-x86-64.so.2"));
    bool libc = false;
    for (size_t i = 0; i < cpio.paths.count; i++) {
        libc = libc || strstr(cpio.paths.items[i], "/libc.so.6") != NULL;
    }
    assert_true(libc);
    cpio_free(&cpio);
}

// The program with `change` applied to its ELF header must be refused.
static void refuse_changed(
    const char *name, void (*change)(Elf64_Ehdr *header), const char *expected)
{
    struct buffer file = {};
    assert_int_equal(file_read("/bin/true", &file), 0);
    change((Elf64_Ehdr *)file.data);
    char *path = write_file(name, file.data, file.len_bytes);
    struct cpio cpio = {};
    char *reason = program_pack(&cpio, "/bin/it", path);
    assert_non_null(reason);
    assert_non_null(strstr(reason, expected));
    free(reason);
    free(path);
    cpio_free(&cpio);
    buffer_free(&file);
}

static void make_32bit(Elf64_Ehdr *header)
{
    header->e_machine = EM_386;
}

static void make_object(Elf64_Ehdr *header)
{
    header->e_type = ET_REL;
}

static void remove_segments(Elf64_Ehdr *header)
{
    header->e_phnum = 0;
}

static void move_segments(Elf64_Ehdr *header)
{
    Elf64_Phdr *segments = (Elf64_Phdr *)((uint8_t *)header + header->e_phoff);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        segments[i].p_offset = UINT64_MAX - 10;
    }
}

static void corrupt_programs_are_refused(void **state)
{
    refuse_changed("machine", make_32bit, "not a 64-bit x86 program");
    refuse_changed("object", make_object, "not a program");
    refuse_changed("empty", remove_segments, "no program headers");
    refuse_changed("moved", move_segments, "beyond the end");
}

// Every prefix of a program is refused or packed, but never crashes the packer.
static void cut_programs_do_no_harm(void **state)
{
    struct buffer file = {};
    assert_int_equal(file_read("/bin/true", &file), 0);
    for (size_t len_bytes = 0; len_bytes < file.len_bytes; len_bytes += len_bytes < 256 ? 1 : 997) {
        char *path = write_file("cut", file.data, len_bytes);
        struct cpio cpio = {};
        free(program_pack(&cpio, "/bin/cut", path));
        cpio_free(&cpio);
        free(path);
    }
    buffer_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_reads_what_is_packed),
        cmocka_unit_test(a_description_is_packed),
        cmocka_unit_test(a_dynamic_program_brings_its_libraries),
        cmocka_unit_test(corrupt_programs_are_refused),
        cmocka_unit_test(cut_programs_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
