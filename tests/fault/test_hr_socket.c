/* SPDX-License-Identifier: MIT */
/* Every call behind a datagram fails once: no request is lost, no descriptor stays open, no memory is kept. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hotrestart/hotrestart.h"
#include "tests/support/fault.h"
#include "tests/support/hr_pair.h"

static const struct hr_message ask = { .type = HR_PASS_LISTEN_SOCKET, .key = { .url = "tcp://127.0.0.1:80" }, .fd = -1 };

Test(hr_socket, a_failed_bind_leaves_no_socket)
{
        char folder[] = "/tmp/hrfXXXXXX", path[64];
        struct sockaddr_un addr;
        int before, n;

        cr_assert(mkdtemp(folder));
        (void)snprintf(path, sizeof(path), "%s/s", folder);
        cr_assert_eq(hr_name(path, 1, 0, HR_ROLE_PARENT, &addr), 0);
        before = open_fd_count();
        for (n = 0;; n++) {
                int fd = -77, r;

                fault_arm(n, ENFILE);
                r = hr_bind(&addr, 0600, &fd);
                if (!fault_fired()) {
                        cr_assert_eq(r, 0);
                        (void)close(fd);
                        break;
                }
                cr_assert_eq(r, -ENFILE, "call %d", n);
                cr_assert_eq(fd, -77);
                cr_assert_eq(open_fd_count(), before, "call %d leaks", n);
        }
        cr_assert_eq(n, 3, "socket, fchmod, bind: %d calls were tried", n);
        cr_assert_eq(unlink(addr.sun_path), 0);
        cr_assert_eq(rmdir(folder), 0);
}

Test(hr_socket, a_request_that_could_not_be_read_for_lack_of_memory_stays_in_the_queue)
{
        struct hr_pair p = hr_pair_open();
        struct sockaddr_un peer;
        struct hr_message m;
        int n;

        cr_assert_eq(hr_send(p.us, &p.envoy_name, &ask, -1), 0);
        for (n = 0;; n++) {
                int r;

                fault_arm(n, ENOMEM);
                r = hr_peek(p.envoy, &m, &peer);
                if (!fault_fired()) {
                        cr_assert_eq(r, 0);
                        break;
                }
                cr_assert_eq(r, -ENOMEM, "call %d", n);
        }
        cr_assert_gt(n, 2, "only %d calls were tried", n);
        cr_assert_str_eq(m.key.url, ask.key.url);
        cr_assert_eq(hr_take(p.envoy), 0);
        hr_pair_close(&p);
}

Test(hr_socket, a_message_that_could_not_be_sent_was_not_counted)
{
        struct hr_pair p = hr_pair_open();
        struct hr_child c;

        hr_child_init(&c, p.us, &p.envoy_name);
        fault_arm(0, EIO);
        cr_assert_eq(hr_child_ask(&c, &ask), -EIO);
        cr_assert(fault_fired());
        cr_assert_eq(c.outstanding, 0);
        for (int n = 0; n < 2; n++) { /* emptying the queue, sending the marker */
                fault_arm(n, EIO);
                cr_assert_eq(hr_child_sync(&c), -EIO, "call %d", n);
                cr_assert(fault_fired());
                cr_assert_not(c.syncing);
        }
        hr_child_done(&c);
        hr_pair_close(&p);
}

struct answer {
        int error;
        int want;
};

Test(hr_socket, each_failure_of_sending_is_what_its_caller_can_act_on)
{
        const struct answer answers[] = { { EAGAIN, HR_WOULD_BLOCK }, { ENOBUFS, HR_WOULD_BLOCK }, { ETOOMANYREFS, HR_WOULD_BLOCK },
                                          { ECONNREFUSED, HR_NO_PEER }, { ENOENT, HR_NO_PEER }, { EPIPE, HR_NO_PEER },
                                          { EACCES, -EACCES }, { EMSGSIZE, -EMSGSIZE } };
        struct hr_pair p = hr_pair_open();

        for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
                fault_arm(0, answers[i].error);
                cr_assert_eq(hr_send(p.us, &p.envoy_name, &ask, -1), answers[i].want, "%s", strerror(answers[i].error));
                cr_assert(fault_fired());
        }
        hr_pair_close(&p);
}

Test(hr_socket, an_interrupted_read_is_tried_again)
{
        struct hr_pair p = hr_pair_open();
        struct sockaddr_un peer;
        struct hr_message m;

        cr_assert_eq(hr_send(p.us, &p.envoy_name, &ask, -1), 0);
        fault_arm(0, EINTR);
        cr_assert_eq(hr_peek(p.envoy, &m, &peer), 0);
        cr_assert(fault_fired());
        hr_pair_close(&p);
}

/* The socket of a reply that could not be understood for lack of memory: lost to us, but not open for ever. */
Test(hr_socket, a_reply_that_could_not_be_read_leaves_no_descriptor)
{
        struct hr_pair p = hr_pair_open();
        struct hr_message reply = { .type = HR_REPLY_PASS, .fd = p.envoy }, m;
        int n, fd, before = open_fd_count();

        for (n = 0;; n++) {
                struct hr_child c;
                int r;

                hr_child_init(&c, p.us, &p.envoy_name);
                cr_assert_eq(hr_send(p.envoy, &p.our_name, &reply, p.envoy), 0);
                fault_arm(n, ENOMEM);
                r = hr_child_read(&c, &m, &fd);
                if (!fault_fired()) {
                        cr_assert_eq(r, 0);
                        (void)close(fd);
                        hr_child_done(&c);
                        break;
                }
                cr_assert_eq(r, -ENOMEM, "call %d", n);
                hr_child_done(&c);
                if (n == 0) /* recvmsg(): it is still there */
                        cr_assert(hr_take(p.us) == 0);
                cr_assert_eq(open_fd_count(), before, "call %d leaks", n);
        }
        cr_assert_gt(n, 2, "only %d calls were tried", n);
        hr_pair_close(&p);
}
