/* SPDX-License-Identifier: MIT */
/*
 * What every callback of an ev_io does first. libev gives up a watcher when the kernel does not take its descriptor (no memory, or
 * no further watch allowed) and says so once: left at that, nobody would hear from it again, and a proxy waits for our answer.
 */
#pragma once

#include <ev.h>

#define IO_AGAIN_S 0.002

static inline void io_again(struct ev_loop *loop, ev_io *w, int revents)
{
        if (!(revents & EV_ERROR))
                return;
        ev_sleep(IO_AGAIN_S); /* the kernel is asked again at once, so not as fast as we can */
        ev_io_stop(loop, w);  /* somebody may have started it since */
        ev_io_set(w, w->fd, w->events & (EV_READ | EV_WRITE)); /* else libev believes that nothing has changed */
        ev_io_start(loop, w);
}
