/* SPDX-License-Identifier: MIT */
/*
 * `baton run` becomes the keeper. Every other verb, and none, is the business of the client program. No option
 * is looked at here: the agent does that.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/keeper/keeper.h"
#include "agent/keeper/program.h"

static char path[PATH_MAX];

static int fail(const char *program, const char *where, int error)
{
        (void)fprintf(stderr, "baton: cannot execute %s: %s\n", where ? where : program, strerror(error));
        return 1;
}

static int run_client(char **argv)
{
        int r = program_path("baton-ctl", path, sizeof(path));

        if (r < 0)
                return fail("baton-ctl", NULL, -r);
        (void)execv(path, argv);
        return fail("baton-ctl", path, errno);
}

int main(int argc, char **argv)
{
        static char agent_name[] = "baton-agent";
        int r;

        if (argc < 2 || strcmp(argv[1], "run") != 0)
                return run_client(argv);
        r = program_path(agent_name, path, sizeof(path));
        if (r < 0)
                return fail(agent_name, NULL, -r);
        argv[1] = agent_name;
        return keeper_run(path, argv + 1);
}
