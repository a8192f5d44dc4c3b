// SPDX-License-Identifier: MIT
//
// The subcommands. Each takes its own arguments (argv[0] is its name) and returns the exit code.
#pragma once

int cmd_run(int argc, char **argv);
int cmd_xl(int argc, char **argv);
int cmd_lab(int argc, char **argv);
int cmd_test(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_perf(int argc, char **argv);
int cmd_stat(int argc, char **argv); // perf stat
int cmd_options(int argc, char **argv);
int cmd_symbolize(int argc, char **argv);
int cmd_pack(int argc, char **argv);
int cmd_efi_image(int argc, char **argv);
