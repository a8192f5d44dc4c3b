// SPDX-License-Identifier: MIT
//
// Says why a program of a macro benchmark did not run: the kernel cannot yet, or it went wrong.
#pragma once

// Reads what the program printed, and prints `=bench NAME unsupported REASON` if that has an error
// text for what does not exist, else `=bench NAME failed REASON`. Where the kernel tells which of
// the calls that programs asked for do not exist, the reason names them. Returns the exit code: 1.
int judge(const char *name, const char *log_path);
