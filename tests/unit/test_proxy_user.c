/* SPDX-License-Identifier: MIT */
/* Who the proxy runs as, asked of the real user database; what only root can try is left out for others. */
#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cleanup.h"
#include "agent/proxy_user.h"

static struct proxy_user user;
static struct proxy_user_error error;

static void need_root(void)
{
        if (geteuid() != 0)
                cr_skip_test("only root can become another user");
}

static void expect_refused(const char *text, const char *says)
{
        memset(&user, 0xff, sizeof(user));
        cr_expect_eq(proxy_user_resolve(text, &user, &error), PROXY_USER_E_REFUSED, "%s", text);
        cr_expect(strstr(error.text, says), "%s: %s", text, error.text);
}

Test(proxy_user, nobody_in_particular_is_who_we_are)
{
        cr_assert_eq(proxy_user_resolve("", &user, &error), 0);
        cr_expect(!user.other);
}

Test(proxy_user, names_and_numbers_find_the_same_one_and_a_number_needs_no_entry)
{
        const struct passwd *nobody = getpwnam("nobody");
        char number[32];

        need_root();
        cr_assert(nobody);
        cr_assert_eq(proxy_user_resolve("nobody", &user, &error), 0, "%s", error.text);
        cr_expect(user.other && user.uid == nobody->pw_uid && user.gid == nobody->pw_gid && user.n_groups >= 1);
        (void)snprintf(number, sizeof(number), "%u", (unsigned)nobody->pw_uid);
        cr_assert_eq(proxy_user_resolve(number, &user, &error), 0);
        cr_expect(user.uid == nobody->pw_uid && user.gid == nobody->pw_gid && user.n_groups >= 1);
        cr_assert_eq(proxy_user_resolve("4000000001", &user, &error), 0);
        cr_expect(user.uid == 4000000001 && user.gid == 4000000001 && user.n_groups == 0);
        cr_assert_eq(proxy_user_resolve("4000000001:7", &user, &error), 0);
        cr_expect(user.uid == 4000000001 && user.gid == 7 && user.n_groups == 0);
        cr_assert_eq(proxy_user_resolve("0", &user, &error), 0);
        cr_expect(!user.other, "root is no other");
}

Test(proxy_user, who_is_not_there_is_refused_with_the_reason)
{
        expect_refused("no-such-user", "cannot find user 'no-such-user'");
        expect_refused("0:no-such-group", "cannot find group 'no-such-group'");
        expect_refused("4294967295", "cannot find user"); /* to the kernel: leave it as it is */
        expect_refused("12x", "cannot find user");
        expect_refused("-1", "cannot find user");
        expect_refused(":0", "is not a USER");
        expect_refused("0:", "is not a USER");
        expect_refused(":", "is not a USER");
}

static int open_here(const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
                (void)close(fd);
        return fd < 0 ? -errno : 0;
}

Test(proxy_user, files_are_seen_and_sockets_made_as_by_the_other_one_until_it_is_left)
{
        struct proxy_user_view v;
        char path[] = "/tmp/proxy-user.XXXXXX";
        struct stat st;
        int fd = mkstemp(path), own, other;

        need_root();
        cr_assert(fd >= 0);
        cr_assert_eq(proxy_user_resolve("4000000001", &user, &error), 0);
        v = proxy_user_view(&user);
        cr_expect_eq(open_here(path), -EACCES);
        other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        errno = EBADMSG;
        proxy_user_leave(&v);
        cr_expect_eq(errno, EBADMSG);
        proxy_user_leave(&v); /* once more is no matter */
        cr_expect_eq(open_here(path), 0);
        own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_expect(fstat(other, &st) == 0 && st.st_uid == 4000000001);
        cr_expect(fstat(own, &st) == 0 && st.st_uid == 0);
        (void)close(own);
        (void)close(other);
        (void)close(fd);
        (void)unlink(path);
}

Test(proxy_user, a_folder_is_reached_only_if_all_above_it_let_pass)
{
        char above[] = "/tmp/proxy-user.XXXXXX", folder[64];

        need_root();
        cr_assert(mkdtemp(above)); /* 0700 */
        (void)snprintf(folder, sizeof(folder), "%s/in", above);
        cr_assert_eq(mkdir(folder, 0711), 0);
        cr_assert_eq(proxy_user_resolve("4000000001", &user, &error), 0);
        cr_expect_eq(proxy_user_reaches(&user, folder), -EACCES);
        cr_assert_eq(chmod(above, 0711), 0);
        cr_expect_eq(proxy_user_reaches(&user, folder), 0);
        cr_assert_eq(chmod(folder, 0700), 0);
        cr_expect_eq(proxy_user_reaches(&user, folder), -EACCES, "what is in it must be reached as well");
        (void)rmdir(folder);
        (void)rmdir(above);
}
