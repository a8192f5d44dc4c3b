// SPDX-License-Identifier: MIT
#include "guests/bench/judge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Where this kernel counts the calls that do not exist.
#define ABSENT_CALLS_PATH "/proc/lodger/unimplemented"
#define REASON_BYTES      400

// What programs print when a kernel has not got something.
static bool speaks_of_absence(const char *line)
{
    static const int errors[] = {
        ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT, EOPNOTSUPP, ENODEV, ENOPROTOOPT};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (strstr(line, strerror(errors[i])) != NULL) {
            return true;
        }
    }
    // glibc's words where musl's, which this program uses, are others.
    return strstr(line, "Operation not supported") != NULL ||
           strstr(line, "not supported by protocol") != NULL ||
           strstr(line, "Protocol not available") != NULL;
}

static void copy_line(char *to, const char *line)
{
    snprintf(to, REASON_BYTES, "%.*s", (int)strcspn(line, "\r\n"), line);
}

// Appends the names of the calls that were asked for. C libraries do without some.
static void print_absent_calls(void)
{
    FILE *file = fopen(ABSENT_CALLS_PATH, "r");
    char line[128];
    const char *separator = "; calls that do not exist: ";
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        printf("%s%s", separator, line);
        separator = ", ";
    }
    if (file != NULL) {
        fclose(file);
    }
}

int judge(const char *name, const char *log_path)
{
    char line[1024], last[REASON_BYTES] = "it printed nothing", absent[REASON_BYTES] = "";
    FILE *log = fopen(log_path, "r");
    while (log != NULL && fgets(line, sizeof(line), log) != NULL) {
        if (line[0] == '\n') {
            continue;
        }
        copy_line(last, line);
        if (absent[0] == '\0' && speaks_of_absence(line)) {
            copy_line(absent, line);
        }
    }
    if (log != NULL) {
        fclose(log);
    }
    printf("=bench %s %s %s", name, absent[0] != '\0' ? "unsupported" : "failed",
        absent[0] != '\0' ? absent : last);
    print_absent_calls();
    putchar('\n');
    return 1;
}
