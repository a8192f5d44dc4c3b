// SPDX-License-Identifier: MIT
// The numbers of abi.h against the C library's.
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>

#include "kernel/net/socket/abi.h"

static void numbers(void **state)
{
    (void)state;
    assert_int_equal(ABI_AF_UNIX, AF_UNIX);
    assert_int_equal(ABI_AF_UNSPEC, AF_UNSPEC);
    assert_int_equal(ABI_AF_PACKET, AF_PACKET);
    assert_int_equal(ABI_AF_VSOCK, AF_VSOCK);
    assert_int_equal(ABI_SOL_PACKET, SOL_PACKET);
    assert_int_equal(ABI_SOCK_STREAM, SOCK_STREAM);
    assert_int_equal(ABI_SOCK_DGRAM, SOCK_DGRAM);
    assert_int_equal(ABI_SOCK_RAW, SOCK_RAW);
    assert_int_equal(ABI_SOCK_SEQPACKET, SOCK_SEQPACKET);
    assert_int_equal(ABI_SOCK_NONBLOCK, SOCK_NONBLOCK);
    assert_int_equal(ABI_SOCK_CLOEXEC, SOCK_CLOEXEC);
    assert_int_equal(ABI_SHUT_RD, SHUT_RD);
    assert_int_equal(ABI_SHUT_WR, SHUT_WR);
    assert_int_equal(ABI_SHUT_RDWR, SHUT_RDWR);
    assert_int_equal(ABI_MSG_OOB, MSG_OOB);
    assert_int_equal(ABI_MSG_PEEK, MSG_PEEK);
    assert_int_equal(ABI_MSG_CTRUNC, MSG_CTRUNC);
    assert_int_equal(ABI_MSG_TRUNC, MSG_TRUNC);
    assert_int_equal(ABI_MSG_DONTWAIT, MSG_DONTWAIT);
    assert_int_equal(ABI_MSG_EOR, MSG_EOR);
    assert_int_equal(ABI_MSG_WAITALL, MSG_WAITALL);
    assert_int_equal(ABI_MSG_NOSIGNAL, MSG_NOSIGNAL);
    assert_int_equal(ABI_MSG_WAITFORONE, MSG_WAITFORONE);
    assert_int_equal(ABI_MSG_CMSG_CLOEXEC, MSG_CMSG_CLOEXEC);
    assert_int_equal(ABI_SCM_RIGHTS, SCM_RIGHTS);
    assert_int_equal(ABI_SCM_CREDENTIALS, SCM_CREDENTIALS);
}

static void structures(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct socket_credentials), sizeof(struct ucred));
    assert_int_equal(sizeof(struct socket_msghdr), sizeof(struct msghdr));
    assert_int_equal(offsetof(struct socket_msghdr, flags), offsetof(struct msghdr, msg_flags));
    assert_int_equal(offsetof(struct socket_msghdr, control), offsetof(struct msghdr, msg_control));
    assert_int_equal(sizeof(struct socket_cmsghdr), sizeof(struct cmsghdr));
    assert_int_equal(SOCKET_ADDRESS_MAX, sizeof(struct sockaddr_storage));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(structures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
