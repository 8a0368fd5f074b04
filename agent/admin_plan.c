/* SPDX-License-Identifier: MIT */
/* PURE. See admin_plan.h. */
#include "agent/admin_plan.h"

#include <stdio.h>
#include <string.h>

bool admin_fixed(const char *option)
{
        return strcmp(option, "bootstrap") != 0 && strcmp(option, "off") != 0;
}

const char *admin_name(const struct admin_address *a, char buf[static ADMIN_NAME_BYTES])
{
        char mode[8] = "";

        if (a->mode)
                (void)snprintf(mode, sizeof(mode), " %04o", a->mode & 07777);
        (void)snprintf(buf, ADMIN_NAME_BYTES, "admin/%s%s%s", a->text, a->v6only ? " 6" : "", mode);
        return buf;
}

/* Return: NULL; why Envoy's address is none for us */
static const char *address_of(const struct bootstrap_admin *b, struct admin_address *ret)
{
        bool v6 = strchr(b->host, ':') != NULL;

        *ret = (struct admin_address){ .mode = b->mode, .v6only = v6 && !b->v4_too };
        if (*b->path) {
                (void)snprintf(ret->text, sizeof(ret->text), "unix:%s", b->path);
                return NULL;
        }
        if (!*b->host || !*b->port)
                return "the admin address in the config is not whole";
        if (b->elsewhere)
                return "the admin address in the config is in another network namespace";
        (void)snprintf(ret->text, sizeof(ret->text), v6 ? "[%s]:%s" : "%s:%s", b->host, b->port);
        return NULL;
}

static bool says_nothing(const struct bootstrap_admin *b)
{
        return !*b->host && !*b->port && !*b->path;
}

static void from_bootstrap(const struct bootstrap *b, const char *open, struct admin_plan *ret)
{
        if (!b->readable) {
                ret->step = ADMIN_UNKNOWN;
                ret->why = "the config cannot be read, or is neither YAML nor JSON";
                return;
        }
        if (says_nothing(&b->admin)) {
                ret->step = *open ? ADMIN_CLOSE : ADMIN_STAY;
                return;
        }
        ret->why = address_of(&b->admin, &ret->address);
        ret->step = ret->why ? ADMIN_UNKNOWN : ADMIN_OPEN;
}

void admin_plan(const char *option, const struct bootstrap *b, const char *open, struct admin_plan *ret)
{
        char name[ADMIN_NAME_BYTES];

        *ret = (struct admin_plan){ .step = ADMIN_OPEN };
        if (admin_fixed(option))
                (void)snprintf(ret->address.text, sizeof(ret->address.text), "%s", option);
        else if (strcmp(option, "off") == 0)
                ret->step = *open ? ADMIN_CLOSE : ADMIN_STAY;
        else
                from_bootstrap(b, open, ret);
        if (ret->step == ADMIN_OPEN && strcmp(admin_name(&ret->address, name), open) == 0)
                ret->step = ADMIN_STAY;
}
