// SPDX-License-Identifier: MIT
//
// Claim: Debian's unmodified busybox-static works: more than 120 of its applets give the same
// output as on Linux.
// Method: starts applets.sh (packed as /data/applets.sh) in an empty directory under busybox's
// shell; the script checks exit statuses itself and counts the applets.
#include "tests/guest/check.h"

int main(void)
{
    scratch();
    put_file("/proc/self/comm", "applets", 0);
    execl("/bin/busybox", "sh", "/data/applets.sh", (char *)NULL);
    note("cannot start busybox: %s", errno_name(errno));
    return 1;
}
