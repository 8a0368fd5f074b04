/* SPDX-License-Identifier: MIT */
/* PURE. What becomes of a set, and when to warn of its end. See certs.h. */
#include "certs/certs.h"

enum { DAY_S = 24 * 3600 };

/* Better a chain that nobody vouches for than none: clients may know more roots than the file. */
enum certs_step certs_decide(enum certs_verdict verdict, bool in_use, bool same, int64_t in_use_ends_s, int64_t now_s)
{
        if (in_use && same)
                return CERTS_STAYS;
        if (verdict == CERTS_GOOD)
                return CERTS_TAKE;
        return verdict == CERTS_BAD_CHAIN && in_use && in_use_ends_s - now_s <= DAY_S ? CERTS_TAKE_ALL_THE_SAME : CERTS_REFUSE;
}

size_t certs_expiry_warns(int64_t not_after_s, const int *days, size_t n, size_t warned, int64_t now_s, int64_t *ret_next_s)
{
        while (warned < n && now_s >= not_after_s - (int64_t)days[warned] * DAY_S)
                warned++;
        *ret_next_s = warned < n ? not_after_s - (int64_t)days[warned] * DAY_S : INT64_MAX;
        return warned;
}
