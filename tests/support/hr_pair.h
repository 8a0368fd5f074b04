/* SPDX-License-Identifier: MIT */
/* Both ends of the protocol in one test: what plays the Envoy and what plays us, under names of this process alone. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "hotrestart/hotrestart.h"

struct hr_pair {
        struct sockaddr_un envoy_name, our_name;
        int envoy, us; /* bound, non-blocking */
};

/* Abstract names. Asserts. */
struct hr_pair hr_pair_open(void);
void hr_pair_close(struct hr_pair *p);

/* One raw datagram from `fd` to `to`, with n_fds copies of descriptor `pass`. */
void hr_pair_throw(int fd, const struct sockaddr_un *to, const void *bytes, size_t n, int pass, int n_fds);

/* A base id that no other test process has. */
uint64_t hr_test_base_id(void);
