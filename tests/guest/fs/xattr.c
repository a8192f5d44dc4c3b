// SPDX-License-Identifier: MIT
//
// Claim: extended attributes behave as on Linux where a file system has them, and give ENOTSUP,
// ENODATA or EPERM cleanly where not; the calls check their arguments first.
// Method: what differs between kernels' tmpfs (user.* attributes came late) is accepted both ways
// and not printed; trusted.* must work.
#include "tests/guest/check.h"
#include <sys/xattr.h>

int main(void)
{
    char value[64] = "", list[256];

    scratch();
    put_file("file", "x", 0644);
    int file = (int)MUST(open("file", O_RDWR));

    OK(setxattr("file", "trusted.one", "first", 5, 0));
    CHECK_EQ(getxattr("file", "trusted.one", value, sizeof(value)), 5);
    CHECK_STR(value, "first");
    CHECK_EQ(getxattr("file", "trusted.one", NULL, 0), 5);
    ERR(ERANGE, getxattr("file", "trusted.one", value, 3));
    ERR(EEXIST, setxattr("file", "trusted.one", "x", 1, XATTR_CREATE));
    ERR(ENODATA, setxattr("file", "trusted.two", "x", 1, XATTR_REPLACE));
    OK(fsetxattr(file, "trusted.two", "", 0, 0));
    CHECK_EQ(fgetxattr(file, "trusted.two", value, sizeof(value)), 0);
    ssize_t length = listxattr("file", list, sizeof(list));
    CHECK(length == 24 && memmem(list, 24, "trusted.one", 12) != NULL &&
          memmem(list, 24, "trusted.two", 12) != NULL);
    CHECK_EQ(flistxattr(file, NULL, 0), 24);
    ERR(ERANGE, listxattr("file", list, 5));
    OK(removexattr("file", "trusted.two"));
    ERR(ENODATA, removexattr("file", "trusted.two"));
    ERR(ENODATA, getxattr("file", "trusted.two", value, sizeof(value)));
    ERR(EINVAL, setxattr("file", "trusted.x", "x", 1, 8));
    ERR(EOPNOTSUPP, setxattr("file", "nosuch.x", "x", 1, 0));
    ERR(EOPNOTSUPP, getxattr("file", "plain", value, sizeof(value)));
    ERR(ERANGE, setxattr("file", "", "x", 1, 0));
    char name[300] = "trusted.";
    memset(name + 8, 'n', 280);
    ERR(ERANGE, setxattr("file", name, "x", 1, 0));
    ERR(E2BIG, setxattr("file", "trusted.x", "x", 100000, 0));
    ERR(EFAULT, setxattr("file", "trusted.x", (void *)8, 10, 0));
    ERR(ENOENT, getxattr("missing", "trusted.one", value, sizeof(value)));
    ERR(EBADF, fgetxattr(99, "trusted.one", value, sizeof(value)));
    MUST(symlink("file", "link"));
    CHECK_EQ(getxattr("link", "trusted.one", value, sizeof(value)), 5);
    ERR(ENODATA, lgetxattr("link", "trusted.one", value, sizeof(value)));

    // user.*: either kept or refused as a whole.
    bool kept = setxattr("file", "user.mine", "u", 1, 0) == 0;
    CHECK(kept || errno == EOPNOTSUPP);
    bool read = getxattr("file", "user.mine", value, sizeof(value)) == 1;
    CHECK(read == kept);
    removexattr("file", "user.mine");

    if (fork() == 0) {
        MUST(setuid(1000));
        ERR(EPERM, setxattr("file", "trusted.one", "x", 1, 0));
        ERR(ENODATA, getxattr("file", "trusted.one", value, sizeof(value)));
        CHECK_EQ(listxattr("file", list, sizeof(list)), 0);
        _exit(check_failures);
    }
    int status;
    wait(&status);
    CHECK_STR(status_text(status), "exit 0");
    return check_done();
}
