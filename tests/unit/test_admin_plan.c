/* SPDX-License-Identifier: MIT */
/* Where the front of the proxy's admin shall listen: by what the user says, what the config says, and what is open. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/admin_plan.h"

static const char *const steps[] = { [ADMIN_STAY] = "stay", [ADMIN_OPEN] = "open", [ADMIN_CLOSE] = "close", [ADMIN_UNKNOWN] = "unknown" };

/* "stay", or "open admin/ADDRESS..." */
static void expect_plan(const char *option, const struct bootstrap *b, const char *open, const char *want)
{
        char name[ADMIN_NAME_BYTES], got[ADMIN_NAME_BYTES + 16];
        struct admin_plan p;

        admin_plan(option, b, open, &p);
        (void)snprintf(got, sizeof(got), "%s%s%s", steps[p.step], p.step == ADMIN_OPEN ? " " : "",
                       p.step == ADMIN_OPEN ? admin_name(&p.address, name) : "");
        cr_expect_str_eq(got, want);
        cr_expect_eq(p.why != NULL, p.step == ADMIN_UNKNOWN);
}

static struct bootstrap says(const char *host, const char *port)
{
        struct bootstrap b = { .readable = true };

        (void)snprintf(b.admin.host, sizeof(b.admin.host), "%s", host);
        (void)snprintf(b.admin.port, sizeof(b.admin.port), "%s", port);
        return b;
}

Test(admin_plan, the_front_is_where_the_config_says_and_moves_with_it)
{
        struct bootstrap b = says("127.0.0.1", "9901"), none = says("", ""), any = says("0.0.0.0", "0");

        expect_plan("bootstrap", &b, "", "open admin/127.0.0.1:9901");
        expect_plan("bootstrap", &b, "admin/127.0.0.1:9901", "stay");
        expect_plan("bootstrap", &b, "admin/127.0.0.1:9902", "open admin/127.0.0.1:9901");
        expect_plan("bootstrap", &none, "", "stay");
        expect_plan("bootstrap", &none, "admin/127.0.0.1:9901", "close");
        expect_plan("bootstrap", &any, "", "open admin/0.0.0.0:0");
        expect_plan("bootstrap", &any, "admin/0.0.0.0:0", "stay");
}

Test(admin_plan, how_it_is_bound_is_a_part_of_where)
{
        struct bootstrap six = says("::", "1"), pipe = says("", "");

        (void)snprintf(pipe.admin.path, sizeof(pipe.admin.path), "/a.sock");
        expect_plan("bootstrap", &six, "", "open admin/[::]:1 6");
        six.admin.v4_too = true;
        expect_plan("bootstrap", &six, "admin/[::]:1 6", "open admin/[::]:1");
        expect_plan("bootstrap", &pipe, "", "open admin/unix:/a.sock");
        pipe.admin.mode = 0660;
        expect_plan("bootstrap", &pipe, "admin/unix:/a.sock", "open admin/unix:/a.sock 0660");
        expect_plan("bootstrap", &pipe, "admin/unix:/a.sock 0660", "stay");
}

Test(admin_plan, what_cannot_be_known_changes_nothing)
{
        struct bootstrap unreadable = { 0 }, no_port = says("127.0.0.1", ""), no_host = says("", "9901"), elsewhere = says("127.0.0.1", "1");

        elsewhere.admin.elsewhere = true;
        expect_plan("bootstrap", &unreadable, "admin/127.0.0.1:9901", "unknown");
        expect_plan("bootstrap", &no_port, "admin/127.0.0.1:9901", "unknown");
        expect_plan("bootstrap", &no_host, "", "unknown"); /* not all addresses of the machine */
        expect_plan("bootstrap", &elsewhere, "", "unknown");
}

Test(admin_plan, an_address_of_the_users_counts_whatever_the_config_says_and_off_is_off)
{
        struct bootstrap b = says("127.0.0.1", "9901");

        expect_plan(":9000", &b, "", "open admin/:9000");
        expect_plan(":9000", NULL, "admin/:9000", "stay");
        expect_plan("unix:/a", &b, "", "open admin/unix:/a");
        expect_plan("off", &b, "", "stay");
        expect_plan("off", NULL, "admin/127.0.0.1:9901", "close");
        cr_expect(admin_fixed(":9000") && !admin_fixed("off") && !admin_fixed("bootstrap"));
}

Test(admin_plan, names_fit_the_keepers_table)
{
        struct admin_address a = { .mode = 07777, .v6only = true };
        char name[ADMIN_NAME_BYTES];

        memset(a.text, 'x', sizeof(a.text) - 1);
        cr_expect_eq(strlen(admin_name(&a, name)), strlen("admin/") + sizeof(a.text) - 1 + strlen(" 6 7777"));
}
