/* SPDX-License-Identifier: MIT */
/* The model of a group, what a steer selects, the removal rule in its plain cases, and sock_diag's answers when they are odd. */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include "hotrestart/internal.h"
#include "tests/support/cbpf.h"

static struct hr_group g;
static struct hr_removal steps[HR_GROUP_MAX];

static void group_of(size_t n)
{
        g.n = 0;
        for (size_t i = 0; i < n; i++)
                cr_assert_eq(hr_group_append(&g, 100 + i), 0);
}

static const char *members(void)
{
        static char text[2048];
        size_t at = 0;

        for (size_t i = 0; i < g.n; i++)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u", i ? " " : "", (unsigned)g.members[i]);
        text[at] = '\0';
        return text;
}

Test(hr_group, who_listens_is_last_and_the_last_takes_the_place_of_who_leaves)
{
        group_of(5);
        hr_group_remove(&g, 1);
        cr_assert_str_eq(members(), "100 104 102 103");
        hr_group_remove(&g, 3);
        cr_assert_str_eq(members(), "100 104 102");
        cr_assert_eq(hr_group_append(&g, 101), 0);
        cr_assert_str_eq(members(), "100 104 102 101");
        cr_assert_eq(hr_group_find(&g, 102), 2);
        cr_assert_eq(hr_group_find(&g, 103), HR_GROUP_MAX);
}

Test(hr_group, a_member_is_taken_once_and_not_more_than_there_is_room_for)
{
        group_of(HR_GROUP_MAX);
        cr_assert_eq(hr_group_append(&g, 7), -ENOSPC);
        cr_assert_eq(hr_group_append(&g, 100), -EEXIST);
        cr_assert_eq(g.n, HR_GROUP_MAX);
}

Test(hr_group, the_same_members_in_any_order_are_the_group_and_one_more_or_less_or_twice_is_not)
{
        const uint64_t same[] = { 102, 100, 101 }, foreign[] = { 100, 101, 102, 7 }, other[] = { 100, 101, 7 }, twice[] = { 100, 101, 101 };

        group_of(3);
        cr_assert(hr_group_is(&g, same, 3));
        cr_assert(!hr_group_is(&g, same, 2));
        cr_assert(!hr_group_is(&g, foreign, 4));
        cr_assert(!hr_group_is(&g, other, 3));
        cr_assert(!hr_group_is(&g, twice, 3));
}

Test(hr_group, silence_leaves_the_group_and_that_of_the_last_voids_what_was_attached)
{
        group_of(3);
        cr_assert(!hr_group_silenced(&g, 100));
        cr_assert_str_eq(members(), "102 101");
        cr_assert(!hr_group_silenced(&g, 100), "it has left already");
        cr_assert(!hr_group_silenced(&g, 101));
        cr_assert(hr_group_silenced(&g, 102));
        cr_assert_eq(g.n, 0);
}

Test(hr_group, what_would_send_a_connection_nowhere_or_past_the_end_does_not_fit)
{
        struct hr_steer s = { .first = 2, .count = 3 };

        cr_assert(hr_steer_fits(&s, 5));
        cr_assert(!hr_steer_fits(&s, 4), "past the end");
        hr_steer_leave_out(&s, 4);
        cr_assert(hr_steer_fits(&s, 4), "what is left out is not past the end");
        hr_steer_leave_out(&s, 2);
        hr_steer_leave_out(&s, 3);
        cr_assert(!hr_steer_fits(&s, 5), "nothing is left");
        s = (struct hr_steer){ .count = 4, .second_first = 4, .second_count = 4 };
        cr_assert(hr_steer_fits(&s, 4), "nothing goes to the second range");
        s.share = 1;
        cr_assert(!hr_steer_fits(&s, 7));
        cr_assert(hr_steer_fits(&s, 8));
        s.share = HR_SHARE_ALL;
        s.count = 0;
        cr_assert(hr_steer_fits(&s, 8), "nothing goes to the first range");
        s.share++;
        cr_assert(!hr_steer_fits(&s, 8));
        s = (struct hr_steer){ .first = HR_GROUP_MAX - 1, .count = UINT16_MAX };
        cr_assert(!hr_steer_fits(&s, HR_GROUP_MAX));
        s = (struct hr_steer){ 0 };
        cr_assert(!hr_steer_fits(&s, HR_GROUP_MAX));
}

static const char *selected(const struct hr_steer *s)
{
        static char text[2048];
        size_t at = 0;

        text[0] = '\0';
        for (size_t i = 0; i < HR_GROUP_MAX; i++)
                if (hr_steer_selects(s, i))
                        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%zu", at ? " " : "", i);
        return text;
}

/* One line a step: "places < leaver". */
static const char *plan(const char *who)
{
        static char text[4096];
        bool leaves[HR_GROUP_MAX];
        size_t n = 77, at = 0;
        int r;

        group_of(strlen(who));
        for (size_t i = 0; i < g.n; i++)
                leaves[i] = who[i] == 'L';
        r = hr_group_plan_removal(&g, leaves, steps, &n);
        if (r != 0) {
                cr_assert_eq(n, 77, "%s: written although there is no plan", who);
                return r == HR_GROUP_SHARE ? "share" : r == -EINVAL ? "nobody stays" : "?";
        }
        text[0] = '\0';
        for (size_t i = 0; i < n; i++)
                at += (size_t)snprintf(text + at, sizeof(text) - at, "%s < %zu\n", selected(&steps[i].steer), steps[i].index);
        return text;
}

Test(hr_group, of_n_old_and_n_new_step_k_spreads_over_one_less_from_n_minus_k_on_and_removes_the_highest_old)
{
        cr_assert_str_eq(plan("LLLLKKKK"), "4 5 6 < 3\n3 4 5 < 2\n2 3 4 < 1\n1 2 3 < 0\n");
        cr_assert_str_eq(plan("LLKK"), "2 < 1\n1 < 0\n");
}

Test(hr_group, leavers_at_the_end_go_without_a_keeper_that_moves)
{
        cr_assert_str_eq(plan("KKLL"), "0 1 < 3\n0 1 < 2\n");
        cr_assert_str_eq(plan("KLLL"), "0 < 3\n0 < 2\n0 < 1\n");
        cr_assert_str_eq(plan("KKKLLLLL"), "0 1 2 < 7\n0 1 2 < 6\n0 1 2 < 5\n0 1 2 < 4\n0 1 2 < 3\n");
}

Test(hr_group, a_leaver_in_the_middle_goes_while_the_last_gets_no_connection)
{
        cr_assert_str_eq(plan("KLKK"), "0 2 < 1\n");
        cr_assert_str_eq(plan("LKLKK"), "1 3 < 2\n1 2 < 0\n");
        cr_assert_str_eq(plan("KK"), "");
        cr_assert_str_eq(plan(""), "");
}

/* With one member left the kernel has no choice, even for an index past the end. */
Test(hr_group, one_leaver_before_the_only_keeper_goes_and_two_do_not)
{
        cr_assert_str_eq(plan("LK"), "1 < 0\n");
        cr_assert_str_eq(plan("LKL"), "1 < 2\n1 < 0\n");
        cr_assert_str_eq(plan("LLK"), "share");
        cr_assert_str_eq(plan("LLKL"), "share");
        cr_assert_str_eq(plan("LL"), "nobody stays");
}

static size_t code_of(const struct hr_steer *s, struct sock_filter *code)
{
        size_t n = hr_steer_compile(s, code);

        cr_assert_leq(n, HR_STEER_CODE_MAX);
        return n;
}

Test(hr_group, the_program_draws_the_side_first_and_the_place_next)
{
        const struct hr_steer s = { .count = 4, .second_first = 4, .second_count = 3, .share = 100 };
        struct sock_filter code[HR_STEER_CODE_MAX];
        const size_t n = code_of(&s, code);
        const struct { uint32_t side, place; long want; } rows[] = {
                { 0, 0, 4 }, { 99, 2, 6 }, { 99, 3, 4 }, { 10099, 1, 5 }, { 100, 0, 0 }, { 100, 3, 3 }, { 9999, 5, 1 }, { 10100, 2, 2 },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                cr_assert_eq(cbpf_run(code, n, (const uint32_t[]){ rows[i].side, rows[i].place }, 2), rows[i].want, "row %zu", i);
}

Test(hr_group, the_largest_program_is_within_its_limit_and_right_to_its_ends)
{
        struct hr_steer s = { .count = HR_GROUP_MAX, .second_count = HR_GROUP_MAX, .share = 5000 };
        struct sock_filter code[HR_STEER_CODE_MAX];
        size_t n;

        for (size_t i = 0; i < HR_GROUP_MAX; i += 2)
                hr_steer_leave_out(&s, i);
        n = code_of(&s, code);
        for (uint32_t i = 0; i < HR_GROUP_MAX / 2; i++) {
                cr_assert_eq(cbpf_run(code, n, (const uint32_t[]){ 0, i }, 2), 2 * (long)i + 1);
                cr_assert_eq(cbpf_run(code, n, (const uint32_t[]){ 9999, i }, 2), 2 * (long)i + 1);
        }
}

/* ---- answers of sock_diag, made by hand ---- */

static uint8_t answer[1024];
static size_t answer_bytes;

static void add(uint16_t type, uint16_t flags, const void *data, size_t bytes)
{
        struct nlmsghdr h = { .nlmsg_len = (uint32_t)(sizeof(h) + bytes), .nlmsg_type = type, .nlmsg_flags = flags };

        memcpy(answer + answer_bytes, &h, sizeof(h));
        memcpy(answer + answer_bytes + sizeof(h), data, bytes);
        answer_bytes += NLMSG_ALIGN(sizeof(h) + bytes);
}

static struct inet_diag_msg listener(uint32_t inode, uint16_t port)
{
        return (struct inet_diag_msg){ .idiag_family = AF_INET, .idiag_state = TCP_LISTEN, .idiag_inode = inode,
                                       .id = { .idiag_sport = htons(port), .idiag_src = { htonl(INADDR_LOOPBACK) } } };
}

static void add_status(uint16_t type, int status)
{
        add(type, 0, &status, sizeof(status));
}

static uint64_t inodes[2];
static size_t n_inodes;

/* From an exact copy on the heap, so that a read past the end is seen. */
static int read_answer(size_t bytes)
{
        struct hr_diag_place at = { .family = AF_INET, .port_be = htons(80), .addr = { 127, 0, 0, 1 } };
        uint8_t *copy = malloc(bytes ? bytes : 1);
        int r;

        memcpy(copy, answer, bytes);
        n_inodes = 0;
        r = hr_diag_read(copy, bytes, &at, inodes, 2, &n_inodes);
        free(copy);
        return r;
}

Test(hr_diag, listeners_of_the_place_are_taken_and_all_others_are_not)
{
        struct inet_diag_msg a = listener(11, 80), port = listener(12, 81), state = listener(13, 80), addr = listener(14, 80),
                             family = listener(15, 80), b = listener(16, 80);

        state.idiag_state = TCP_SYN_RECV;
        addr.id.idiag_src[0] = htonl(INADDR_ANY);
        family.idiag_family = AF_INET6;
        for (const struct inet_diag_msg *const *m = (const struct inet_diag_msg *[]){ &a, &port, &state, &addr, &family, &b, NULL }; *m; m++)
                add(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, *m, sizeof(**m));
        cr_assert_eq(read_answer(answer_bytes), 0);
        cr_assert_eq(n_inodes, 2);
        cr_assert_eq(inodes[0], 11);
        cr_assert_eq(inodes[1], 16);
        add_status(NLMSG_DONE, 0);
        cr_assert_eq(read_answer(answer_bytes), HR_DIAG_DONE);
        add(SOCK_DIAG_BY_FAMILY, 0, &a, sizeof(a));
        cr_assert_eq(read_answer(answer_bytes), HR_DIAG_DONE, "what follows the end is not read");
}

Test(hr_diag, one_listener_more_than_there_is_room_for_is_an_error_and_no_short_list)
{
        for (uint32_t i = 0; i < 3; i++) {
                struct inet_diag_msg m = listener(i, 80);

                add(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &m, sizeof(m));
        }
        cr_assert_eq(read_answer(answer_bytes), -ENOSPC);
}

Test(hr_diag, an_answer_cut_anywhere_is_never_a_whole_one)
{
        const struct inet_diag_msg m = listener(11, 80);
        const size_t one = NLMSG_ALIGN(sizeof(struct nlmsghdr) + sizeof(m));

        add(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &m, sizeof(m));
        add_status(NLMSG_DONE, 0);
        for (size_t cut = 1; cut < answer_bytes; cut++)
                cr_assert_eq(read_answer(cut), cut == one ? 0 : -EBADMSG, "cut to %zu", cut);
        cr_assert_eq(read_answer(0), 0);
}

Test(hr_diag, errors_of_the_kernel_come_up_and_odd_ones_are_garbage)
{
        const struct { uint16_t type; int status, want; } rows[] = {
                { NLMSG_ERROR, -ENOENT, -ENOENT }, { NLMSG_DONE, -ENOMEM, -ENOMEM }, { NLMSG_ERROR, 0, -EBADMSG },
                { NLMSG_ERROR, 5, -EBADMSG }, { NLMSG_DONE, INT32_MIN, -EBADMSG }, { NLMSG_NOOP, 0, 0 }, { NLMSG_OVERRUN, 0, -EBADMSG },
                { SOCK_DIAG_BY_FAMILY, 0, -EBADMSG },
        };
        struct inet_diag_msg m = listener(11, 80);

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                answer_bytes = 0;
                add_status(rows[i].type, rows[i].status);
                cr_assert_eq(read_answer(answer_bytes), rows[i].want, "row %zu", i);
        }
        answer_bytes = 0;
        add(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI | NLM_F_DUMP_INTR, &m, sizeof(m));
        cr_assert_eq(read_answer(answer_bytes), -EAGAIN);
        answer_bytes = 0;
        add(NLMSG_DONE, 0, &m, 2);
        cr_assert_eq(read_answer(answer_bytes), -EBADMSG, "an end without its status");
}

Test(hr_diag, an_address_with_a_scope_is_that_of_its_interface_alone)
{
        struct hr_diag_place at = { .family = AF_INET6, .port_be = htons(80), .addr = { 0xfe, 0x80, [15] = 1 }, .scope = 3 };
        struct inet_diag_msg m = listener(11, 80);
        size_t n = 0;

        m.idiag_family = AF_INET6;
        memcpy(m.id.idiag_src, at.addr, sizeof(at.addr));
        m.id.idiag_if = 3;
        add(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &m, sizeof(m));
        m.id.idiag_if = 4;
        add(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &m, sizeof(m));
        cr_assert_eq(hr_diag_read(answer, answer_bytes, &at, inodes, 2, &n), 0);
        cr_assert_eq(n, 1);
}
