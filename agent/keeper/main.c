/* SPDX-License-Identifier: MIT */
/*
 * `baton run` becomes the keeper. Every other verb, and none, is the business of the client program. No option
 * is looked at here: the agent does that. But as the first one there may be a word that only another version of this
 * program says.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/keeper/program.h"
#include "agent/keeper/self.h"

static char path[PATH_MAX], own_path[PATH_MAX];

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

static int run_keeper(int argc, char **argv)
{
        static char agent_name[] = "baton-agent";
        const char *word = argc > 2 ? argv[2] : "";
        const size_t n = sizeof(TAKE_OVER_WORD) - 1;
        struct keeper_words words = { .path = own_path, .agent_path = path, .argv0 = argv[0], .agent_argv = argv + 1 };
        int r = program_path(agent_name, path, sizeof(path));

        if (r < 0)
                return fail(agent_name, NULL, -r);
        r = program_self(own_path, sizeof(own_path));
        if (r < 0)
                return fail(argv[0], NULL, -r);
        argv[1] = agent_name;
        if (strcmp(word, TRIAL_WORD) == 0)
                return try_run(path, argv + 1);
        if (strncmp(word, TAKE_OVER_WORD, n) == 0) {
                argv[2] = agent_name;
                words.agent_argv = argv + 2;
                return keeper_take_over(&words, atoi(word + n));
        }
        return keeper_run(&words);
}

int main(int argc, char **argv)
{
        if (argc < 2 || strcmp(argv[1], "run") != 0)
                return run_client(argv);
        return run_keeper(argc, argv);
}
