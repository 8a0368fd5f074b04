/* SPDX-License-Identifier: MIT */
/* What a parent owes. */
#include <criterion/criterion.h>

#include "hotrestart/hotrestart.h"

Test(hr_parent, a_question_is_owed_its_answer)
{
        cr_assert_eq(hr_parent_owes(HR_PASS_LISTEN_SOCKET), HR_OWES_PASS);
        cr_assert_eq(hr_parent_owes(HR_SHUTDOWN_ADMIN), HR_OWES_SHUTDOWN_ADMIN);
        cr_assert_eq(hr_parent_owes(HR_STATS), HR_OWES_STATS);
}

Test(hr_parent, an_order_and_a_test_of_the_connection_are_owed_nothing)
{
        cr_assert_eq(hr_parent_owes(HR_DRAIN_LISTENERS), HR_OWES_NOTHING);
        cr_assert_eq(hr_parent_owes(HR_TERMINATE), HR_OWES_NOTHING);
        cr_assert_eq(hr_parent_owes(HR_TEST_CONNECTION), HR_OWES_NOTHING);
}

Test(hr_parent, all_else_is_told_that_it_was_not_recognized)
{
        const enum hr_type others[] = { HR_FORWARDED_UDP, HR_UNKNOWN_REQUEST, HR_REPLY_PASS, HR_REPLY_SHUTDOWN_ADMIN,
                                        HR_REPLY_STATS, HR_REPLY_UNRECOGNIZED, HR_UNKNOWN_REPLY, HR_EMPTY, (enum hr_type)99 };

        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
                cr_assert_eq(hr_parent_owes(others[i]), HR_OWES_UNRECOGNIZED, "%s", hr_type_name(others[i]));
}

/* Agents of different age read each other's state. */
Test(hr_parent, the_numbers_stay)
{
        cr_assert_eq(HR_OWES_NOTHING, 0);
        cr_assert_eq(HR_OWES_SHUTDOWN_ADMIN, 1);
        cr_assert_eq(HR_OWES_PASS, 2);
        cr_assert_eq(HR_OWES_STATS, 3);
        cr_assert_eq(HR_OWES_UNRECOGNIZED, 4);
}
