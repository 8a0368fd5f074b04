/* SPDX-License-Identifier: MIT */
/* The command line: Envoy's options as far as a supervisor uses them, and a few of our own. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hotrestart/example/server.h"

enum own_option {
        CONFIG_PATH = 'c',
        LOG_LEVEL = 'l',
        HELP = 'h',
        CONFIG_YAML = 256,
        RESTART_EPOCH,
        BASE_ID,
        SOCKET_PATH,
        SOCKET_MODE,
        DRAIN_TIME,
        PARENT_SHUTDOWN,
        CONCURRENCY,
        MODE,
        SKIP_PARENT_STATS,
        SKIP_NO_PARENT,
        IGNORED,
        VERSION,
        HOT_RESTART_VERSION,
        LISTEN,
        BODY,
        FAULT,
        FAULT_FILE,
};

static const struct option table[] = {
        { "config-path", required_argument, NULL, CONFIG_PATH },
        { "config-yaml", required_argument, NULL, CONFIG_YAML },
        { "restart-epoch", required_argument, NULL, RESTART_EPOCH },
        { "base-id", required_argument, NULL, BASE_ID },
        { "socket-path", required_argument, NULL, SOCKET_PATH },
        { "socket-mode", required_argument, NULL, SOCKET_MODE },
        { "drain-time-s", required_argument, NULL, DRAIN_TIME },
        { "drain-strategy", required_argument, NULL, IGNORED },
        { "parent-shutdown-time-s", required_argument, NULL, PARENT_SHUTDOWN },
        { "concurrency", required_argument, NULL, CONCURRENCY },
        { "mode", required_argument, NULL, MODE },
        { "skip-hot-restart-parent-stats", no_argument, NULL, SKIP_PARENT_STATS },
        { "skip-hot-restart-on-no-parent", no_argument, NULL, SKIP_NO_PARENT },
        { "log-level", required_argument, NULL, LOG_LEVEL },
        { "log-path", required_argument, NULL, IGNORED },
        { "service-cluster", required_argument, NULL, IGNORED },
        { "service-node", required_argument, NULL, IGNORED },
        { "version", no_argument, NULL, VERSION },
        { "hot-restart-version", no_argument, NULL, HOT_RESTART_VERSION },
        { "help", no_argument, NULL, HELP },
        { "listen", required_argument, NULL, LISTEN },
        { "body", required_argument, NULL, BODY },
        { "fault", required_argument, NULL, FAULT },
        { "fault-file", required_argument, NULL, FAULT_FILE },
        { NULL, 0, NULL, 0 },
};

static const char help[] =
        "baton-example-server --listen ADDR [--listen ADDR...] [--body TEXT] [--fault STEP:WHAT[:MS]...]\n"
        "        [--fault-file FILE] [Envoy's options: -c, --config-yaml, --restart-epoch, --base-id, --socket-path,\n"
        "        --parent-shutdown-time-s, --concurrency, --mode validate, ...]\n"
        "ADDR   IP:PORT, [IPv6]:PORT or unix:PATH\n"
        "STEP   before-shutdown-admin, after-shutdown-admin, before-pass[-N], after-sockets, before-drain-listeners,\n"
        "       after-drain-listeners, on-harvest[-N], on-drain, on-term\n"
        "WHAT   crash, hang, garbage, late:MS\n"
        "A fault file holds such orders, one a line; it is removed by the start that takes them.\n";

/* Admin is looked for in what a supervisor merged in: "admin", below it "pipe", below it "path", in YAML or JSON. */
static int find_admin(const char *yaml, struct options *o)
{
        const char *at = strstr(yaml, "admin");
        size_t n = 0;
        char quote;

        at = at ? strstr(at, "pipe") : NULL;
        at = at ? strstr(at, "path") : NULL;
        if (!at)
                return 0;
        at += strlen("path");
        at += strspn(at, "\"' :");
        quote = at[-1] == '"' || at[-1] == '\'' ? at[-1] : '\0';
        n = quote ? strcspn(at, quote == '"' ? "\"" : "'") : strcspn(at, " ,}\n");
        if (n == 0 || n >= sizeof(o->admin_path))
                return -EINVAL;
        memcpy(o->admin_path, at, n);
        o->admin_path[n] = '\0';
        return 0;
}

static int number(const char *text, int base, uint64_t max, uint64_t *ret)
{
        char *end;
        unsigned long long v;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        errno = 0;
        v = strtoull(text, &end, base);
        if (*end || errno || v > max)
                return -EINVAL;
        *ret = v;
        return 0;
}

static int take_protocol(int option, const char *value, struct options *o)
{
        uint64_t v = 0;
        int r = 0;

        switch (option) {
        case RESTART_EPOCH:
                return number(value, 10, UINT32_MAX - 1, &o->restart_epoch);
        case BASE_ID:
                return number(value, 10, HR_BASE_ID_MAX, &o->base_id);
        case SOCKET_PATH:
                o->socket_path = value;
                return strlen(value) <= HR_PATH_MAX ? 0 : -EINVAL;
        case SOCKET_MODE:
                r = number(value, 8, 0777, &v);
                o->socket_mode = (unsigned)v;
                return r;
        case PARENT_SHUTDOWN:
                r = number(value, 10, INT32_MAX, &v);
                o->parent_shutdown_s = (int64_t)v;
                return r;
        case CONCURRENCY:
                r = number(value, 10, 64, &v);
                o->concurrency = v ? (unsigned)v : 1;
                return r;
        case DRAIN_TIME: /* an idle connection is never closed by it, as with Envoy before 1.40 */
                return number(value, 10, INT32_MAX, &v);
        default:
                return -EINVAL;
        }
}

static int take(int option, const char *value, struct options *o)
{
        switch (option) {
        case CONFIG_PATH:
                o->config_path = value;
                return 0;
        case CONFIG_YAML:
                return find_admin(value, o);
        case MODE:
                o->validate = strcmp(value, "validate") == 0;
                return o->validate || strcmp(value, "serve") == 0 ? 0 : -EINVAL;
        case SKIP_NO_PARENT:
                o->skip_no_parent = true;
                return 0;
        case SKIP_PARENT_STATS: /* we ask for none anyway */
        case LOG_LEVEL:
        case IGNORED:
                return 0;
        case LISTEN:
                if (o->n_listen == ADDRESSES_MAX)
                        return -EINVAL;
                o->listen[o->n_listen++] = value;
                return 0;
        case BODY:
                o->body = value;
                return 0;
        case FAULT:
                return o->n_faults == FAULTS_MAX ? -EINVAL : fault_parse(value, &o->faults[o->n_faults++]);
        case FAULT_FILE:
                return fault_file(value, o->faults, &o->n_faults);
        default:
                return take_protocol(option, value, o);
        }
}

static int print(int option)
{
        struct hr_segment_layout layout = HR_SEGMENT_DEFAULT;

        if (option == HELP)
                (void)fputs(help, stdout);
        else if (option == VERSION)
                (void)printf("baton-example-server  version: 0/%s/Clean/RELEASE/none\n", BATON_VERSION);
        else
                (void)fprintf(stderr, "%llu.%llu", (unsigned long long)layout.version, (unsigned long long)layout.bytes);
        return 1;
}

int options_read(int argc, char **argv, struct options *ret)
{
        struct options o = { .admin_mode = 0600, .socket_path = "@envoy_domain_socket", .socket_mode = 0600,
                             .concurrency = 1, .parent_shutdown_s = 900, .body = "hello" };
        int option, index;

        while ((option = getopt_long(argc, argv, "c:l:h", table, &index)) != -1) {
                if (option == '?')
                        return -EINVAL; /* getopt has said it */
                if (option == HELP || option == VERSION || option == HOT_RESTART_VERSION)
                        return print(option);
                if (take(option, optarg, &o) < 0) {
                        say("%s: not understood", argv[optind - 1]);
                        return -EINVAL;
                }
        }
        if (optind < argc) {
                say("%s: not an option", argv[optind]);
                return -EINVAL;
        }
        if (o.n_listen * o.concurrency > LISTENERS_MAX) {
                say("more than %d sockets", LISTENERS_MAX);
                return -EINVAL;
        }
        *ret = o;
        return 0;
}
