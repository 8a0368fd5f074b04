/* SPDX-License-Identifier: MIT */
/* Libraries that are loaded when they are first needed. */
#include <criterion/criterion.h>

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "agent/late.h"

/* Finds a library only if something has loaded it already. */
static bool loaded(const char *soname)
{
        void *handle = dlopen(soname, RTLD_LAZY | RTLD_NOLOAD);

        if (handle)
                (void)dlclose(handle);
        return handle != NULL;
}

Test(late, a_library_comes_with_its_first_use_and_not_before)
{
        cr_assert(!loaded("libcurl.so.4") && !loaded("libmicrohttpd.so.12"));
        cr_assert_eq(late_curl(), 0);
        cr_assert(loaded("libcurl.so.4") && !loaded("libmicrohttpd.so.12"));
}

Test(late, every_function_is_there_after_the_load)
{
        cr_assert_eq(late_curl(), 0);
        cr_assert_eq(late_mhd(), 0);
        cr_assert_eq(late_journal(), 0);
        for (size_t i = 0; i < sizeof(late) / sizeof(void (*)(void)); i++)
                cr_assert(((void (**)(void))&late)[i] != NULL, "function %zu", i);
}

Test(late, a_second_load_changes_nothing)
{
        struct late first;

        cr_assert_eq(late_curl(), 0);
        first = late;
        cr_assert_eq(late_curl(), 0);
        cr_assert_eq(memcmp(&first, &late, sizeof(late)), 0);
}
