/* SPDX-License-Identifier: MIT */
/* See admin_listen.h. */
#include "agent/admin_listen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/admin_plan.h"
#include "agent/cleanup.h"
#include "agent/log.h"

static const char *option(const struct agent *a)
{
        return options_str(a->options, a->options->admin);
}

static int hold(struct agent *a, const char *name, int fd)
{
        return keeper_link_hold(a->link, &name, &fd, 1);
}

static void drop(struct agent *a, const char *name)
{
        (void)keeper_link_drop(a->link, &name, 1);
}

/* ---- places ----------------------------------------------------------------------------------------- */

/* What is served is a copy: the server closes it, and the keeper has its own. The new place is the first one. */
static int serve(struct agent *a, const char *name, int fd)
{
        struct admin_listener *l = &a->admin_listener;
        int r = l->n == ADMIN_PLACES_MAX ? -ENOSPC : control_serve(a->control, fd, CONTROL_ADMIN);

        if (r < 0)
                return r;
        memmove(l->places + 1, l->places, l->n++ * sizeof(l->places[0]));
        l->places[0].fd = fd;
        (void)snprintf(l->places[0].name, sizeof(l->places[0].name), "%s", name);
        (void)control_address(fd, l->places[0].address, sizeof(l->places[0].address));
        return 0;
}

/* The keeper first: a new agent must not find what we have given up. A file that the place before it has by now stays. */
static void leave_last(struct agent *a, const char *reason)
{
        struct admin_listener *l = &a->admin_listener;
        const struct admin_place p = l->places[--l->n];
        const char *file = control_file(p.address);

        drop(a, p.name);
        control_leave(a->control, p.fd);
        if (file && (l->n == 0 || strcmp(p.address, l->places[0].address) != 0))
                (void)unlink(file);
        log_event(LOG_NOTICE, "admin.closed", F_STR("address", p.address), F_STR("reason", reason));
}

static void not_open(const struct agent *a, const char *address, const char *error, const char *then)
{
        const struct admin_listener *l = &a->admin_listener;

        log_event(LOG_WARNING, "admin.not-open", F_STR("address", address), F_STR("error", error),
                  F_STR("stays", l->n > 0 ? l->places[0].address : ""), F_STR("then", then));
}

/* Return: false, and why is said */
static bool open_first(struct agent *a, const struct admin_address *to)
{
        struct admin_listener *l = &a->admin_listener;
        struct listen_how how = { .mode = to->mode, .v6only = to->v6only, .beside = l->n > 0 ? l->places[0].fd : -1 };
        CLEANUP(close_fd) int fd = -1;
        char error[512], name[ADMIN_NAME_BYTES];
        int r = control_open("admin", to->text, &how, &fd, error, sizeof(error));

        if (r == 0) {
                r = hold(a, admin_name(to, name), fd);
                if (r == 0)
                        r = serve(a, name, fd);
                if (r < 0) {
                        (void)snprintf(error, sizeof(error), "it cannot be held or served: %s", strerror(-r));
                        drop(a, name);
                }
        }
        if (r < 0) {
                not_open(a, to->text, error, "the proxy is not touched; tried again when the next one serves");
                return false;
        }
        (void)TAKE_FD(fd);
        log_event(LOG_NOTICE, "admin.open", F_STR("address", l->places[0].address));
        return true;
}

/* Found among what the keeper had: an agent died before it left the other one. */
static bool make_first(struct admin_listener *l, const struct admin_address *to)
{
        char name[ADMIN_NAME_BYTES];

        (void)admin_name(to, name);
        for (size_t i = 0; i < l->n; i++) {
                struct admin_place p = l->places[i];

                if (strcmp(p.name, name) != 0)
                        continue;
                l->places[i] = l->places[0];
                l->places[0] = p;
                return true;
        }
        return false;
}

/* ---- following --------------------------------------------------------------------------------------- */

/* The new one first, then the old one: there is no moment without, and where the new one cannot be had the old one stays. */
static bool follow(struct agent *a, const struct epoch *e)
{
        struct admin_listener *l = &a->admin_listener;
        bool fixed = strcmp(option(a), "bootstrap") != 0;
        struct admin_plan plan;

        admin_plan(option(a), fixed ? NULL : look_content(a, e), l->n > 0 ? l->places[0].name : "", &plan);
        if (plan.step == ADMIN_UNKNOWN) {
                not_open(a, "", plan.why, "nothing changes; --admin ADDR says where");
                return true;
        }
        if (plan.step == ADMIN_OPEN && !make_first(l, &plan.address) && !open_first(a, &plan.address))
                return false;
        while (l->n > 1)
                leave_last(a, "another address serves");
        if (plan.step == ADMIN_CLOSE)
                leave_last(a, "the config that serves has no admin address");
        return true;
}

/* Outside of everything else: a server is not stopped in the midst of its own work. */
static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents)
{
        struct agent *a = w->data;
        struct admin_listener *l = &a->admin_listener;
        const struct epoch *e = succession_content(&a->s);

        (void)loop;
        (void)revents;
        if (!e || a->s.end != END_NOT || (l->followed && l->epoch == e->number))
                return;
        if (!l->followed || l->failed || l->origin != e->origin)
                l->failed = !follow(a, e);
        l->followed = true;
        l->epoch = e->number;
        l->origin = e->origin;
}

void admin_listen_start(struct agent *a)
{
        struct admin_listener *l = &a->admin_listener;

        ev_prepare_init(&l->prepare, on_prepare);
        l->prepare.data = a;
        for (size_t i = 0; i < l->n_waiting; i++) {
                if (serve(a, l->waiting[i].name, l->waiting[i].fd) == 0)
                        continue;
                drop(a, l->waiting[i].name);
                close_fd(&l->waiting[i].fd);
        }
        l->n_waiting = 0;
        if (l->opened && l->n > 0)
                log_event(LOG_NOTICE, "admin.open", F_STR("address", l->places[0].address));
        if (a->limits.epoch.protocol)
                ev_prepare_start(a->loop, &l->prepare);
}

int admin_listen_first(struct agent *a, struct inventory *inv, char *reterr, size_t size)
{
        struct admin_address to = { 0 };
        char name[ADMIN_NAME_BYTES];
        int fd, r;

        if (!admin_fixed(option(a)) || inv->n_admin > 0)
                return 0;
        (void)snprintf(to.text, sizeof(to.text), "%s", option(a));
        r = control_open("--admin", to.text, &(struct listen_how){ .beside = -1 }, &fd, reterr, size);
        if (r < 0)
                return r;
        (void)hold(a, admin_name(&to, name), fd);
        (void)snprintf(inv->admins[0].name, sizeof(inv->admins[0].name), "%s", name);
        inv->admins[inv->n_admin++].fd = fd;
        a->admin_listener.opened = true;
        return 0;
}

void admin_listen_clean(const struct agent *a)
{
        const struct admin_listener *l = &a->admin_listener;

        for (size_t i = 0; i < l->n; i++) {
                const char *file = control_file(l->places[i].address);

                if (file)
                        (void)unlink(file);
        }
}
