// SPDX-License-Identifier: MIT
//
// Unit tests of the command's modules: words and sizes, machines and their QEMU commands, running
// processes, EFI images.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/lodger/device.h"
#include "tools/lodger/efi_image.h"
#include "tools/lodger/machine.h"
#include "tools/lodger/process.h"
#include "tools/lodger/qmp.h"
#include "tools/lodger/util.h"

static void sizes_and_numbers(void **state)
{
    uint64_t value = 7;
    assert_true(parse_size("12M", &value));
    assert_int_equal(value, 12u << 20);
    assert_true(parse_size("8g", &value));
    assert_int_equal(value, (uint64_t)8 << 30);
    assert_true(parse_size("4096", &value));
    assert_int_equal(value, 4096);
    static const char *const bad[] = {
        "", "M", "-1", "1.5G", "12MB", "0", "99999999999999999999", "20000000T"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(parse_size(bad[i], &value));
    }
    assert_true(parse_number("256", 1, 256, &value));
    assert_false(parse_number("257", 1, 256, &value));
    assert_false(parse_number(" 5", 1, 256, &value));
}

static void words_for_a_shell(void **state)
{
    static const char *const words[] = {
        "plain", "with blank", "it's", "", "$HOME", "a\nb", "\"q\""};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        char *quoted = shell_quote(words[i]);
        char *line = xasprintf("printf %%s %s", quoted);
        char *command[] = {"sh", "-c", line, NULL};
        struct process_result result;
        process_run(command, NULL, 0, &result);
        assert_true(process_succeeded(&result));
        assert_int_equal(result.output.len_bytes, strlen(words[i]));
        if (words[i][0] != '\0') {
            assert_memory_equal(result.output.data, words[i], strlen(words[i]));
        }
        buffer_free(&result.output);
        free(line);
        free(quoted);
    }
}

static void processes(void **state)
{
    struct process_result result;
    process_run((char *[]){"sh", "-c", "echo out; echo err >&2; exit 3", NULL}, "/", 0, &result);
    assert_int_equal(WEXITSTATUS(result.status), 3);
    assert_int_equal(result.output.len_bytes, 8);
    buffer_free(&result.output);
    // A child that outlives its shell and holds the pipe is killed as well.
    process_run((char *[]){"sh", "-c", "sleep 100 & sleep 100", NULL}, NULL, 200000000, &result);
    assert_true(result.timed_out);
    assert_true(WIFSIGNALED(result.status));
    assert_true(result.duration_ns < 20000000000u);
    buffer_free(&result.output);
    process_run((char *[]){"/no/such/program", NULL}, NULL, 0, &result);
    assert_false(process_succeeded(&result));
    buffer_free(&result.output);
}

static void machines_from_words(void **state)
{
    struct machine machine;
    machine_init(&machine);
    assert_true(machine_set_word(&machine, "q35"));
    assert_true(machine_set_word(&machine, "uefi-disk"));
    assert_true(machine_set_word(&machine, "cpus=64"));
    assert_true(machine_set_word(&machine, "memory=12M"));
    assert_true(machine_set_word(&machine, "numa=2"));
    assert_true(machine_set_word(&machine, "kasan"));
    assert_true(machine_set_word(&machine, "append=loglevel=7"));
    assert_int_equal(machine.type, MACHINE_Q35);
    assert_int_equal(machine.firmware, FIRMWARE_UEFI);
    assert_true(machine.boot_from_disk);
    assert_int_equal(machine.cpus, 64);
    assert_int_equal(machine.memory_bytes, 12u << 20);
    assert_int_equal(machine.numa_nodes, 2);
    assert_string_equal(machine.variant, "kasan");
    assert_string_equal(machine.append.items[0], "loglevel=7");
    static const char *const bad[] = {
        "", "vax", "cpus=0", "cpus=257", "cpus=x", "memory=", "numa=0", "numa=9", "append"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(machine_set_word(&machine, bad[i]));
    }
}

static char *command_line(const struct machine *machine, const struct machine_streams *streams)
{
    struct strings command = {};
    machine_command(machine, streams, &command);
    char *line = shell_quote_all(command.items);
    strings_free(&command);
    return line;
}

static void qemu_commands(void **state)
{
    struct machine machine;
    machine_init(&machine);
    machine.accel = ACCEL_TCG;
    machine.kernel = "kernel.elf";
    machine.initrd = "files.cpio";
    strings_add(&machine.append, "one=1");
    strings_add(&machine.append, "two");
    strings_add(&machine.disks, "a,b.img");
    strings_add(&machine.disk_options, "");
    assert_null(machine_add_disk(&machine, "c.img,format=qcow2,readonly,queues=3,packed"));
    assert_null(machine_add_device(&machine, "rng"));
    struct machine_streams streams = {.console = 3, .log = 4, .code = 5, .out = -1, .err = -1};
    char *line = command_line(&machine, &streams);
    assert_non_null(strstr(line, "-machine microvm -accel tcg,thread=multi -cpu max -smp 2"));
    assert_non_null(strstr(line, "-kernel kernel.elf -initrd files.cpio -append 'one=1 two'"));
    assert_non_null(strstr(line, "file=a,,b.img"));
    assert_non_null(strstr(line, "virtio-blk-device,drive=disk0"));
    assert_non_null(strstr(line, "id=disk1,format=qcow2,readonly=on,file=c.img"));
    assert_non_null(strstr(line, "virtio-blk-device,drive=disk1,num-queues=3,packed=on"));
    assert_non_null(strstr(line, "virtio-rng-device"));
    assert_non_null(strstr(line, "socket,id=console,fd=3"));
    assert_null(strstr(line, "iobase=0x502"));
    free(line);

    machine.icount = true;
    machine.type = MACHINE_PC;
    streams.out = 6;
    streams.err = 7;
    line = command_line(&machine, &streams);
    assert_non_null(strstr(line, "thread=single"));
    assert_non_null(strstr(line, "-icount shift=0,sleep=off"));
    assert_non_null(strstr(line, "isa-debugcon,iobase=0x502,chardev=out"));
    assert_non_null(strstr(line, "virtio-blk-pci"));
    free(line);
}

static void devices_that_cannot_be(void **state)
{
    static const char *const disks[] = {"", ",readonly", "f,format=vdi", "f,format", "f,readonly=1",
        "f,queues=0", "f,serial=123456789012345678901", "f,speed=9", "f,block=700", "f,depth=3",
        "f,nvme,packed", "f,vhost-user=1", "f,faults=/no/such/file"};
    static const char *const devices[] = {"", "vga", "net,queues=x", "net,mac=1", "net,vhost=1",
        "vsock", "vsock=2", "vsock=3,peer", "vsock=3,peer=/no/such/file", "vsock=3,speed=1",
        "share=/no/such/folder", "rng1"};
    struct machine machine;
    machine_init(&machine);
    for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
        char *reason = machine_add_disk(&machine, disks[i]);
        assert_non_null(reason);
        free(reason);
    }
    for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
        char *reason = machine_add_device(&machine, devices[i]);
        assert_non_null(reason);
        free(reason);
    }
    assert_int_equal(machine.disks.count + machine.devices.count, 0);
}

static void machines_that_cannot_be(void **state)
{
    struct machine machine;
    machine_init(&machine);
    machine.firmware = FIRMWARE_UEFI;
    char *reason = machine_settle(&machine);
    assert_non_null(reason);
    assert_non_null(strstr(reason, "microvm"));
    free(reason);
    machine_init(&machine);
    strings_add(&machine.disks, "/no/such/disk");
    reason = machine_settle(&machine);
    assert_non_null(strstr(reason, "/no/such/disk"));
    free(reason);
}

// A PE file of one page: just the headers that the tool looks at.
static char *write_pe(void)
{
    static uint8_t file[0x2000];
    memset(file, 0, sizeof(file));
    memcpy(file, "MZ", 2);
    *(uint32_t *)(file + 0x3c) = 0x80;
    memcpy(file + 0x80, "PE\0\0", 4);
    *(uint16_t *)(file + 0x86) = 1;    // sections
    *(uint16_t *)(file + 0x94) = 0xa0; // bytes of the optional header
    uint8_t *optional = file + 0x98;
    *(uint32_t *)(optional + 32) = 0x1000; // section alignment
    *(uint32_t *)(optional + 36) = 0x200;  // file alignment
    *(uint32_t *)(optional + 56) = 0x5000; // bytes of the image
    *(uint32_t *)(optional + 60) = 0x1000; // bytes of the headers
    char *path = xasprintf("%s/kernel.img", folder_temporary());
    file_write(path, file, sizeof(file));
    return path;
}

// A QEMU that greets, agrees to talk, and then says `lines`, whatever it is asked.
static int fake_qemu(const char *lines)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    dprintf(ends[1], "{\"QMP\": {\"version\": {}}}\n{\"return\": {}}\n%s", lines);
    shutdown(ends[1], SHUT_WR);
    return ends[0]; // the other end stays open, for what is asked
}

static void conversations_with_qemu(void **state)
{
    (void)state;
    struct qmp *qmp =
        qmp_open(fake_qemu("{\"event\": \"STOP\"}\n"
                           "{\"return\": {\"icount\": 7}}\n"
                           "{\"error\": {\"desc\": \"no\"}}\n"
                           "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"active\"}}\n"
                           "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\n"),
            1);
    assert_non_null(qmp);
    json_t *answer = qmp_execute(qmp, "query-replay", NULL);
    assert_int_equal(json_integer_value(json_object_get(answer, "icount")), 7);
    json_decref(answer);
    assert_null(qmp_execute(qmp, "migrate", json_pack("{s:s}", "uri", "nowhere")));
    assert_true(qmp_await(qmp, "MIGRATION", "completed"));
    assert_false(qmp_await(qmp, "MIGRATION", "completed"));
    assert_null(qmp_execute(qmp, "quit", NULL)); // nobody is there any more
    qmp_close(qmp);

    int silent[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, silent), 0);
    assert_null(qmp_open(silent[0], 1));
    close(silent[1]);
    assert_null(qmp_ask("/nowhere", "query-status", 1));
}

static void efi_images(void **state)
{
    char *kernel = write_pe();
    char *output = xasprintf("%s/lodger.efi", folder_temporary());
    efi_image_write(kernel, (const uint8_t *)"files", 5, "a=1 b", output);
    struct buffer file = {};
    assert_int_equal(file_read(output, &file), 0);
    assert_int_equal(*(uint16_t *)(file.data + 0x86), 3);
    const uint8_t *section = file.data + 0x98 + 0xa0 + 40;
    assert_string_equal((const char *)section, ".initrd");
    assert_int_equal(*(const uint32_t *)(section + 8), 5);
    assert_int_equal(*(const uint32_t *)(section + 12), 0x5000);
    assert_memory_equal(file.data + *(const uint32_t *)(section + 20), "files", 5);
    section += 40;
    assert_memory_equal(section, ".cmdline", 8);
    assert_int_equal(*(const uint32_t *)(section + 12), 0x6000);
    assert_string_equal((const char *)file.data + *(const uint32_t *)(section + 20), "a=1 b");
    assert_int_equal(*(uint32_t *)(file.data + 0x98 + 56), 0x7000);

    char *disk = xasprintf("%s/disk.img", folder_temporary());
    efi_disk_write(output, disk);
    struct buffer image = {};
    assert_int_equal(file_read(disk, &image), 0);
    assert_memory_equal(image.data + 512, "EFI PART", 8);
    assert_memory_equal(image.data + image.len_bytes - 512, "EFI PART", 8);
    assert_int_equal(image.data[510], 0x55);
    // The file's bytes lie in one piece behind the two folders.
    assert_non_null(
        memmem(image.data + (1 << 20), image.len_bytes - (1 << 20), file.data, file.len_bytes));
    buffer_free(&image);
    buffer_free(&file);
    free(disk);
    free(output);
    free(kernel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_numbers),
        cmocka_unit_test(words_for_a_shell),
        cmocka_unit_test(processes),
        cmocka_unit_test(machines_from_words),
        cmocka_unit_test(qemu_commands),
        cmocka_unit_test(devices_that_cannot_be),
        cmocka_unit_test(machines_that_cannot_be),
        cmocka_unit_test(conversations_with_qemu),
        cmocka_unit_test(efi_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
