/* SPDX-License-Identifier: MIT */
/* PURE. The parent role: which answer each message is owed (docs/protocol.md, parent). How to get at it is the caller's. */
#include "hotrestart/hotrestart.h"

enum hr_owes hr_parent_owes(enum hr_type request)
{
        switch (request) {
        case HR_SHUTDOWN_ADMIN:
                return HR_OWES_SHUTDOWN_ADMIN;
        case HR_PASS_LISTEN_SOCKET:
                return HR_OWES_PASS;
        case HR_STATS:
                return HR_OWES_STATS;
        case HR_DRAIN_LISTENERS:
        case HR_TERMINATE:
        case HR_TEST_CONNECTION: /* an answer would be taken for the answer to its next request */
                return HR_OWES_NOTHING;
        case HR_FORWARDED_UDP: /* goes to a child, on another socket */
        case HR_UNKNOWN_REQUEST:
        case HR_REPLY_PASS:
        case HR_REPLY_SHUTDOWN_ADMIN:
        case HR_REPLY_STATS:
        case HR_REPLY_UNRECOGNIZED:
        case HR_UNKNOWN_REPLY:
        case HR_EMPTY:
                return HR_OWES_UNRECOGNIZED;
        }
        return HR_OWES_UNRECOGNIZED;
}
