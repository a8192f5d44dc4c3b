// SPDX-License-Identifier: MIT
// The numbers of 9P2000.L, as far as they are used here. No package of Debian has a header with
// them (docs/decisions/0050-shared-folders.md).
//
// Every message is size[4] type[1] tag[2] and its own fields, little-endian; an answer has the
// request's type + 1 and its tag, or is an Rlerror with a Linux errno. Texts are len[2] and bytes
// without an end. A qid is type[1] version[4] path[8]. The layout of each message stands at the
// function that sends it (operations.c), as in the protocol's documentation.
#pragma once

#include "kernel/base/types.h"

enum p9_type {
    P9_RLERROR = 7, // errno[4]
    P9_TSTATFS = 8,
    P9_TLOPEN = 12,
    P9_TLCREATE = 14,
    P9_TSYMLINK = 16,
    P9_TMKNOD = 18,
    P9_TREADLINK = 22,
    P9_TGETATTR = 24,
    P9_TSETATTR = 26,
    P9_TREADDIR = 40,
    P9_TFSYNC = 50,
    P9_TLINK = 70,
    P9_TMKDIR = 72,
    P9_TRENAMEAT = 74,
    P9_TUNLINKAT = 76,
    P9_TVERSION = 100,
    P9_TATTACH = 104,
    P9_TWALK = 110,
    P9_TREAD = 116,
    P9_TWRITE = 118,
    P9_TCLUNK = 120,
};

#define P9_VERSION      "9P2000.L"
#define P9_NO_TAG       UINT16_C(0xffff)     // Tversion's
#define P9_NO_FID       UINT32_C(0xffffffff) // Tattach: no authentication
#define P9_HEADER_BYTES 7
#define P9_QID_BYTES    13
// An Rlerror, and an Rread or Rreaddir before its data: both 11, so that one buffer of 11 bytes
// takes either, and data can go elsewhere.
#define P9_DATA_HEADER_BYTES 11
// A Twrite before its data: fid[4] offset[8] count[4].
#define P9_WRITE_HEADER_BYTES 23

#define P9_QID_DIRECTORY BIT(7)
#define P9_QID_LINK      BIT(1)

#define P9_GETATTR_BASIC UINT64_C(0x7ff) // mode to blocks: everything that stat(2) shows

#define P9_SETATTR_MODE      BIT(0)
#define P9_SETATTR_UID       BIT(1)
#define P9_SETATTR_GID       BIT(2)
#define P9_SETATTR_SIZE      BIT(3)
#define P9_SETATTR_ATIME     BIT(4)
#define P9_SETATTR_MTIME     BIT(5)
#define P9_SETATTR_ATIME_SET BIT(7) // to the time given, not to the server's
#define P9_SETATTR_MTIME_SET BIT(8)

#define P9_UNLINK_DIRECTORY 0x200u // AT_REMOVEDIR
