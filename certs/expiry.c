/* SPDX-License-Identifier: MIT */
/* PURE. When to warn of the end of a certificate. See certs.h. */
#include "certs/certs.h"

size_t certs_expiry_warns(int64_t not_after_s, const int *days, size_t n, size_t warned, int64_t now_s, int64_t *ret_next_s)
{
        enum { DAY_S = 24 * 3600 };

        while (warned < n && now_s >= not_after_s - (int64_t)days[warned] * DAY_S)
                warned++;
        *ret_next_s = warned < n ? not_after_s - (int64_t)days[warned] * DAY_S : INT64_MAX;
        return warned;
}
