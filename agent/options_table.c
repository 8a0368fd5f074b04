/* SPDX-License-Identifier: MIT */
/*
 * The table of options. See options_table.h. What does not stand here is no option: the command line, the environment, the file, the
 * help and --print-options all walk over it.
 */
#include "agent/options_table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "agent/duration.h"
#include "agent/options.h"

static const struct choice handovers[] = { { "envoy", HANDOVER_ENVOY }, { "listen-fds", HANDOVER_LISTEN_FDS }, { "none", HANDOVER_NONE }, { 0 } };
static const struct choice exhausteds[] = { { "exit", ON_EXHAUSTED_EXIT }, { "wait", ON_EXHAUSTED_WAIT }, { 0 } };
static const struct choice clean_exits[] = { { "stop", ON_CLEAN_EXIT_STOP }, { "restart", ON_CLEAN_EXIT_RESTART }, { 0 } };
static const struct choice formats[] = { { "text", LOG_FORMAT_TEXT }, { "json", LOG_FORMAT_JSON }, { 0 } };
static const struct choice levels[] = { { "debug", LOG_DEBUG }, { "info", LOG_INFO }, { "notice", LOG_NOTICE },
                                        { "warning", LOG_WARNING }, { "error", LOG_ERR }, { 0 } };
static const struct choice cert_modes[] = { { "restart", CERTS_RESTART }, { "publish", CERTS_PUBLISH }, { 0 } };
static const struct choice cert_verifies[] = { { "strict", CERTS_STRICT }, { "pair", CERTS_PAIR }, { 0 } };

#define AT(f) offsetof(struct options, f)
#define DAY_MS (INT64_C(24) * 3600 * 1000)

static const struct option_key keys[] = {
        { "name", "NAME", K_STRING, AT(name), 0, 0, 0, NULL, false, "which instance this is (default)" },
        { "run-dir", "DIR", K_STRING, AT(run_dir), 0, 0, 0, NULL, false, "where sockets, state and snapshots lie" },
        { "config", "FILE", K_STRING, AT(config), 0, 0, 0, NULL, false, "options as JSON; see baton.json(5)" },
        { "status", "ADDR", K_LIST, AT(statuses), 0, 0, 0, NULL, false, "serve readiness and metrics at IP:PORT, :PORT, [::]:PORT or unix:PATH" },
        { "admin", "bootstrap|off|ADDR", K_STRING, AT(admin), 0, 0, 0, NULL, false, "where the proxy's admin interface answers, whoever serves; bootstrap: at the address in its config [bootstrap]" },
        { "watch", "PATH", K_LIST, AT(watch), 0, 0, 0, NULL, false, "upgrade when it changes, too, as when the config of the proxy does; may be repeated" },
        { "no-auto-upgrade", NULL, K_FLAG, AT(no_auto_upgrade), 0, 0, 0, NULL, false, "only report changed files; an upgrade has to be asked for" },
        { "debounce", "D", K_DURATION, AT(debounce_ms), 0, 3600000, 100, NULL, false, "how long files must be still before they are looked at" },
        { "splay", "D", K_DURATION, AT(splay_ms), 0, DAY_MS, 0, NULL, false, "random delay before an upgrade that nobody asked for" },
        { "certs", "DIR[:cert=F,key=F,ca=F]", K_LIST, AT(certs), 0, 0, 0, NULL, false, "certificates that are checked before the proxy gets them; may be repeated" },
        { "certs-mode", "restart|publish", K_CHOICE, AT(certs_mode), 0, 0, CERTS_RESTART, cert_modes, false, "how changed certificates are put to work" },
        { "certs-verify", "strict|pair", K_CHOICE, AT(certs_verify), 0, 0, CERTS_STRICT, cert_verifies, false, "with the root file, or only key and certificate" },
        { "certs-rsa-bits", "N", K_INT, AT(certs_rsa_bits), 0, 65536, 2048, NULL, false, "a shorter RSA key is refused" },
        { "certs-ec-bits", "N", K_INT, AT(certs_ec_bits), 0, 65536, 256, NULL, false, "a shorter elliptic key is refused" },
        { "certs-warn", "DAYS[,DAYS...]", K_STRING, AT(certs_warn), 0, 0, 0, NULL, false, "days before the end at which a warning is said (30,7,1)" },
        { "retry-tokens", "N", K_INT, AT(retry_tokens), 0, 1000000, 10, NULL, false, "relaunches before giving up" },
        { "retry-initial", "D", K_DURATION, AT(retry_initial_ms), 1, 3600000, 200, NULL, false, "first wait; each further one doubles" },
        { "retry-max", "D", K_DURATION, AT(retry_max_ms), 1, DAY_MS, -1, NULL, false, "longest wait" },
        { "stable", "D", K_DURATION, AT(stable_ms), 0, DAY_MS, 10000, NULL, false, "after so long a crash is answered at once" },
        { "token-refill", "D", K_DURATION, AT(token_refill_ms), 1, DAY_MS, 60000, NULL, false, "serving time that earns a token back" },
        { "on-exhausted", "exit|wait", K_CHOICE, AT(on_exhausted), 0, 0, ON_EXHAUSTED_EXIT, exhausteds, false, "what to do without tokens" },
        { "on-clean-exit", "stop|restart", K_CHOICE, AT(on_clean_exit), 0, 0, ON_CLEAN_EXIT_STOP, clean_exits, false, "what exit 0 of the proxy means" },
        { "ready-timeout", "D", K_DURATION, AT(ready_timeout_ms), 1, DAY_MS, 60000, NULL, false, "a start that takes longer is reported, an upgrade rolled back" },
        { "drain-time", "D", K_DURATION, AT(drain_time_ms), 0, DAY_MS, 45000, NULL, false, "how long an old generation may finish requests" },
        { "stop-delay", "D", K_DURATION, AT(stop_delay_ms), 0, 3600000, 0, NULL, false, "go on accepting so long after a stop was asked for" },
        { "stop-timeout", "D", K_DURATION, AT(stop_timeout_ms), 0, DAY_MS, 25000, NULL, false, "the whole stop" },
        { "hold-time", "D", K_DURATION, AT(hold_time_ms), 0, DAY_MS, 30000, NULL, false, "how long clients may wait while nothing serves" },
        { "standby", NULL, K_FLAG, AT(standby), 0, 0, 0, NULL, true, "keep a parked successor" },
        { "max-draining", "N", K_INT, AT(max_draining), 0, 64, -1, NULL, true, "generations that may drain at once" },
        { "hang-timeout", "D", K_DURATION, AT(hang_timeout_ms), 1, DAY_MS, -1, NULL, true, "replace a proxy that hangs for so long" },
        { "observe", "D", K_DURATION, AT(observe_ms), 0, DAY_MS, 0, NULL, false, "watch an upgrade so long before it is final" },
        { "handover", "envoy|listen-fds|none", K_CHOICE, AT(handover), 0, 0, HANDOVER_DETECT, handovers, false, "how the proxy gets its sockets (detected)" },
        { "listen", "[NAME=]ADDR", K_LIST, AT(listen), 0, 0, 0, NULL, false, "socket that baton opens for a proxy that is no Envoy; may be repeated" },
        { "probe", "tcp|URL", K_STRING, AT(probe), 0, 0, 0, NULL, false, "how readiness of a proxy that is no Envoy is found out" },
        { "state-dir", "DIR", K_STRING, AT(state_dir), 0, 0, 0, NULL, false, "what served last, kept over a reboot" },
        { "proxy-user", "USER[:GROUP]", K_STRING, AT(proxy_user), 0, 0, 0, NULL, false, "who the proxy runs as: a name or number, or USER:GROUP" },
        { "expand-env", NULL, K_FLAG, AT(expand_env), 0, 0, 0, NULL, false, "replace ${VAR} and ${VAR:-default} in the proxy's config" },
        { "allow-listener-loss", NULL, K_FLAG, AT(allow_listener_loss), 0, 0, 0, NULL, false, "do not wait for listeners of the control plane" },
        { "stats-interval", "D", K_DURATION, AT(stats_interval_ms), 0, DAY_MS, 10000, NULL, true, "between two samples of the statistics" },
        { "log-format", "text|json", K_CHOICE, AT(log_format), 0, 0, LOG_FORMAT_TEXT, formats, false, "one line an event either way" },
        { "log-level", "L", K_CHOICE, AT(log_level), 0, 0, LOG_NOTICE, levels, false, "debug, info, notice, warning or error" },
};

static_assert(sizeof(keys) / sizeof(keys[0]) == N_KEYS, "N_KEYS says how many there are");

const struct option_key *const option_keys = keys;

int option_index(const char *name)
{
        for (int i = 0; i < N_KEYS; i++)
                if (strcmp(keys[i].name, name) == 0)
                        return i;
        return -1;
}

const char *option_number_text(const struct option_key *key, int64_t v, char *buf, size_t size)
{
        if (key->kind == K_DURATION)
                return duration_text(v, buf, size);
        (void)snprintf(buf, size, "%" PRId64, v);
        return buf;
}

const char *options_handover(const struct options *o)
{
        const struct choice *c = handovers;

        while (c->name && c->value != o->handover)
                c++;
        return c->name ? c->name : "";
}

const char *options_names(size_t n)
{
        return n < N_KEYS ? keys[n].name : NULL;
}

bool options_want_value(const char *word)
{
        for (int k = 0; k < N_KEYS; k++)
                if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, keys[k].name) == 0)
                        return keys[k].kind != K_FLAG;
        return false;
}
