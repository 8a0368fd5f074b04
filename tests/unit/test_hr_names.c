/* SPDX-License-Identifier: MIT */
/* Names of sockets and of the page: what Envoy computes, to the byte. */
#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "hotrestart/hotrestart.h"

static const char default_path[] = "@envoy_domain_socket";

static void expect_name(const char *path, uint64_t base_id, uint64_t epoch, enum hr_role role, const char *want)
{
        struct sockaddr_un addr;

        cr_assert_eq(hr_name(path, base_id, hr_index(epoch), role, &addr), 0);
        cr_assert_eq(addr.sun_family, AF_UNIX);
        cr_expect_str_eq(addr.sun_path + (path[0] == '@'), want);
}

Test(hr_names, an_envoy_of_epoch_n_has_the_names_of_index_n_modulo_three)
{
        expect_name(default_path, 0, 0, HR_ROLE_CHILD, "envoy_domain_socket_child_0");
        expect_name(default_path, 0, 0, HR_ROLE_UDP_CHILD, "envoy_domain_socket_udp_child_0");
        expect_name(default_path, 0, 0, HR_ROLE_PARENT, "envoy_domain_socket_parent_0");
        expect_name(default_path, 0, 0, HR_ROLE_UDP_PARENT, "envoy_domain_socket_udp_parent_0");
        expect_name(default_path, 0, 1, HR_ROLE_PARENT, "envoy_domain_socket_parent_1");
        expect_name(default_path, 0, 2, HR_ROLE_PARENT, "envoy_domain_socket_parent_2");
        expect_name(default_path, 0, 3, HR_ROLE_PARENT, "envoy_domain_socket_parent_0");
        expect_name("/run/s", 7, UINT64_C(4000000000), HR_ROLE_CHILD, "/run/s_child_71");
}

Test(hr_names, a_base_id_counts_in_tens)
{
        expect_name("/s", 0, 2, HR_ROLE_PARENT, "/s_parent_2");
        expect_name("/s", 1, 2, HR_ROLE_PARENT, "/s_parent_12");
        expect_name("/s", HR_BASE_ID_MAX, 2, HR_ROLE_PARENT, "/s_parent_2147483642");
}

Test(hr_names, an_abstract_name_is_padded_with_zeros_to_the_whole_of_110_bytes)
{
        struct sockaddr_un addr;
        size_t used = 1 + strlen("envoy_domain_socket_parent_0");

        cr_assert_eq(sizeof(addr), 110);
        memset(&addr, 0xff, sizeof(addr));
        cr_assert_eq(hr_name(default_path, 0, 0, HR_ROLE_PARENT, &addr), 0);
        cr_assert_eq(addr.sun_path[0], '\0');
        for (size_t i = used; i < sizeof(addr.sun_path); i++)
                cr_assert_eq(addr.sun_path[i], '\0', "byte %zu", i);
}

Test(hr_names, a_path_of_85_characters_fits_with_every_base_id_and_one_of_86_does_not)
{
        char path[HR_PATH_MAX + 2];
        struct sockaddr_un addr;

        memset(path, 'p', sizeof(path));
        path[HR_PATH_MAX] = '\0';
        cr_assert_eq(hr_name(path, HR_BASE_ID_MAX, 2, HR_ROLE_UDP_PARENT, &addr), 0);
        cr_assert_eq(strlen(addr.sun_path), 107);
        path[HR_PATH_MAX] = 'p';
        path[HR_PATH_MAX + 1] = '\0';
        cr_assert_eq(hr_name(path, HR_BASE_ID_MAX, 2, HR_ROLE_UDP_PARENT, &addr), -ENAMETOOLONG);
}

Test(hr_names, a_text_of_107_characters_is_a_name_and_one_of_108_is_none)
{
        char path[108] = { 0 };
        struct sockaddr_un addr;

        memset(path, 'p', 107 - strlen("_child_0"));
        cr_assert_eq(hr_name(path, 0, 0, HR_ROLE_CHILD, &addr), 0);
        cr_assert_eq(hr_name(path, 1, 0, HR_ROLE_CHILD, &addr), -ENAMETOOLONG);
}

Test(hr_names, base_ids_beyond_the_arithmetic_of_32_bits_are_refused)
{
        struct sockaddr_un addr;
        char name[64];

        cr_assert_eq(hr_name(default_path, HR_BASE_ID_MAX + 1, 0, HR_ROLE_CHILD, &addr), -EINVAL);
        cr_assert_eq(hr_name(default_path, UINT64_MAX, 0, HR_ROLE_CHILD, &addr), -EINVAL);
        cr_assert_eq(hr_name(default_path, 0, 3, HR_ROLE_CHILD, &addr), -EINVAL);
        cr_assert_eq(hr_segment_name(HR_BASE_ID_MAX + 1, name, sizeof(name)), -EINVAL);
}

Test(hr_names, the_page_is_named_after_ten_times_the_base_id)
{
        char name[64];

        cr_assert_eq(hr_segment_name(0, name, sizeof(name)), 0);
        cr_assert_str_eq(name, "/envoy_shared_memory_0");
        cr_assert_eq(hr_segment_name(HR_BASE_ID_MAX, name, sizeof(name)), 0);
        cr_assert_str_eq(name, "/envoy_shared_memory_2147483640");
        cr_assert_eq(hr_segment_name(HR_BASE_ID_MAX, name, 31), -ENAMETOOLONG);
}
