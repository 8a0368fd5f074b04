/* SPDX-License-Identifier: MIT */
/* PURE. The names of what is reported: event names are an interface, listed in docs/operations.md. */
#include "agent/succession.h"

static const char *const report_names[] = {
        [REPORT_LAUNCHED] = "epoch.launched",
        [REPORT_ACCEPTED] = "epoch.accepted",
        [REPORT_EXITED] = "epoch.exited",
        [REPORT_READY_LATE] = "epoch.ready-late",
        [REPORT_WAITING] = "relaunch.waiting",
        [REPORT_EXHAUSTED] = "relaunch.exhausted",
        [REPORT_REJECTED] = "config.rejected",
        [REPORT_CLEAN_EXIT] = "epoch.clean-exit",
        [REPORT_SILENCED] = "sockets.silenced",
        [REPORT_REVIVED] = "sockets.revived",
        [REPORT_STOPPING] = "stop.asked",
        [REPORT_DRAINING] = "epoch.draining",
        [REPORT_DRAINED] = "epoch.drained",
        [REPORT_DRAIN_OVERRUN] = "epoch.drain-overrun",
        [REPORT_KILLED] = "epoch.killed",
        [REPORT_HUNG] = "epoch.hung",
        [REPORT_CREATE_FAILURES] = "epoch.create-failures",
        [REPORT_NOT_ACCEPTING] = "epoch.not-accepting",
        [REPORT_CONTENT_CHANGED] = "content.changed",
        [REPORT_KEPT] = "content.kept",
        [REPORT_UNREADY] = "drain.asked",
        [REPORT_READY_AGAIN] = "drain.undone",
        [REPORT_REMOVED] = "socket.removed",
        [REPORT_AMBIGUOUS] = "socket.ambiguous",
        [REPORT_TOO_MANY_KEYS] = "sockets.too-many",
        [REPORT_UPGRADE_STARTED] = "upgrade.started",
        [REPORT_UPGRADE_WARMING] = "upgrade.warming",
        [REPORT_UPGRADE_COMMITTED] = "upgrade.committed",
        [REPORT_UPGRADE_REFUSED] = "upgrade.refused",
        [REPORT_UPGRADE_ROLLED_BACK] = "upgrade.rolled-back",
        [REPORT_PAUSED] = "upgrades.paused",
        [REPORT_RESUMED] = "upgrades.resumed",
        [REPORT_STOPPED] = "baton.stopped",
};

const char *report_name(enum report_kind r)
{
        return (size_t)r < sizeof(report_names) / sizeof(report_names[0]) ? report_names[r] : "unknown";
}

const char *look_lack_text(enum look_lack l)
{
        static const char *const texts[] = {
                [LACK_NOTHING] = "",
                [LACK_DRAIN_LISTENERS] = "the proxy has not said that it is up",
                [LACK_HARVEST] = "the proxy does not hand out its listen sockets",
                [LACK_ADMIN] = "the proxy's admin socket does not answer",
                [LACK_STATIC_KEY] = "a listener of the config is not accepting yet",
                [LACK_LDS] = "a listener of the control plane is not back yet, and the control plane has not said that it is gone",
                [LACK_CREATE_FAILURES] = "the proxy could not create one of its listeners, see its log",
                [LACK_QUEUE] = "connections wait in an accept queue that does not get shorter",
                [LACK_READY] = "it has neither said READY=1 nor answered the probe",
                [LACK_AMBIGUOUS] = "two of its listeners have one address, in network namespaces that it does not name",
        };

        return (size_t)l < sizeof(texts) / sizeof(texts[0]) ? texts[l] : "unknown";
}
