// SPDX-License-Identifier: MIT
//
// The rules that tools/tidy checks, as functions over the text of one file: what `gn check` and the
// compiler cannot see.
#pragma once

#include <stddef.h>

// A broken rule. Rules marked "ratchet" may be broken as often as tools/tidy/ratchet.txt says, and
// never more often.
enum tidy_rule {
    RULE_LICENCE,          // the first line is the licence
    RULE_PRAGMA_ONCE,      // a header has #pragma once
    RULE_EXTERN_IN_C,      // no extern declaration in a .c file: what others define, their header
                           // declares
    RULE_NOGNCHECK,        // nogncheck only with the reason behind it, on the same line
    RULE_ASSEMBLY,         // inline assembly in kernel/arch only
    RULE_UNFINISHED,       // no note that something is unfinished
    RULE_HEADER_IN_TARGET, // a header is listed in a BUILD.gn
    RULE_LONG_LINE,        // 100 columns (ratchet)
    RULE_LONG_FUNCTION,    // 70 lines (ratchet)
    RULE_LONG_FILE,        // 800 lines (ratchet)
    RULE_COUNT,
};

// Called for each place where a rule is broken; `line` counts from 1.
typedef void tidy_report(void *context, const char *path, unsigned line, enum tidy_rule rule);

// A rule's name in reports and in the ratchet file, and its explanation.
const char *tidy_rule_name(enum tidy_rule rule);
const char *tidy_rule_text(enum tidy_rule rule);

// Whether the rules look at this file: C, headers and assembly.
bool tidy_is_source(const char *path);

// Checks the text of one file; `path` is relative to the root of the tree.
void tidy_check_file(const char *path, const char *text, tidy_report *report, void *context);

// Checks that the header `path` is named in `build_text`, the BUILD.gn of the folder `folder` at or
// above the header ("" is the root).
bool tidy_header_is_listed(const char *path, const char *folder, const char *build_text);
