/* SPDX-License-Identifier: MIT */
/*
 * Libraries that the first launch does not wait for: libcurl, libmicrohttpd and libsystemd bring thirty others along, and
 * loading those takes longer than all the rest between `baton run` and the proxy's exec. They are opened when they are
 * first needed, which is right after it, and never closed. A source that uses one includes this header in place of the
 * library's own and calls late_...() first; below that the functions have their usual names.
 */
#pragma once

#include <curl/curl.h>
#include <microhttpd.h>
#include <systemd/sd-journal.h>

#define LATE_CURL(X)                                                                                                      \
        X(curl_global_init) X(curl_easy_init) X(curl_easy_setopt) X(curl_easy_getinfo) X(curl_easy_cleanup)               \
        X(curl_multi_init) X(curl_multi_setopt) X(curl_multi_assign) X(curl_multi_add_handle)                             \
        X(curl_multi_remove_handle) X(curl_multi_info_read) X(curl_multi_socket_action) X(curl_slist_append)               \
        X(curl_slist_free_all)
#define LATE_MHD(X)                                                                                                       \
        X(MHD_start_daemon) X(MHD_stop_daemon) X(MHD_run) X(MHD_get_daemon_info) X(MHD_get_timeout)                       \
        X(MHD_get_connection_info) X(MHD_lookup_connection_value) X(MHD_suspend_connection) X(MHD_resume_connection)      \
        X(MHD_create_response_from_buffer) X(MHD_create_response_from_callback) X(MHD_add_response_header)                \
        X(MHD_queue_response) X(MHD_destroy_response) X(MHD_get_connection_values) X(MHD_quiesce_daemon) X(MHD_set_panic_func)
#define LATE_JOURNAL(X) X(sd_journal_send_with_location)

/* curl.h has macros of these names that check the types of arguments; they would stand in the way of ours. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

struct late {
#define LATE_POINTER(f) __typeof__(&f) f##_;
        LATE_CURL(LATE_POINTER)
        LATE_MHD(LATE_POINTER)
        LATE_JOURNAL(LATE_POINTER)
#undef LATE_POINTER
};

extern struct late late;

/** late_curl(), late_mhd(), late_journal() - Return: 0; -ELIBACC, said in the log once: the functions may not be called */
int late_curl(void);
int late_mhd(void);
int late_journal(void);

#ifndef LATE_DEFINES
#define curl_global_init late.curl_global_init_
#define curl_easy_init late.curl_easy_init_
#define curl_easy_setopt late.curl_easy_setopt_
#define curl_easy_getinfo late.curl_easy_getinfo_
#define curl_easy_cleanup late.curl_easy_cleanup_
#define curl_multi_init late.curl_multi_init_
#define curl_multi_setopt late.curl_multi_setopt_
#define curl_multi_assign late.curl_multi_assign_
#define curl_multi_add_handle late.curl_multi_add_handle_
#define curl_multi_remove_handle late.curl_multi_remove_handle_
#define curl_multi_info_read late.curl_multi_info_read_
#define curl_multi_socket_action late.curl_multi_socket_action_
#define curl_slist_append late.curl_slist_append_
#define curl_slist_free_all late.curl_slist_free_all_
#define MHD_start_daemon late.MHD_start_daemon_
#define MHD_stop_daemon late.MHD_stop_daemon_
#define MHD_run late.MHD_run_
#define MHD_set_panic_func late.MHD_set_panic_func_
#define MHD_get_daemon_info late.MHD_get_daemon_info_
#define MHD_get_timeout late.MHD_get_timeout_
#define MHD_get_connection_info late.MHD_get_connection_info_
#define MHD_lookup_connection_value late.MHD_lookup_connection_value_
#define MHD_suspend_connection late.MHD_suspend_connection_
#define MHD_resume_connection late.MHD_resume_connection_
#define MHD_create_response_from_buffer late.MHD_create_response_from_buffer_
#define MHD_create_response_from_callback late.MHD_create_response_from_callback_
#define MHD_add_response_header late.MHD_add_response_header_
#define MHD_queue_response late.MHD_queue_response_
#define MHD_destroy_response late.MHD_destroy_response_
#define MHD_get_connection_values late.MHD_get_connection_values_
#define MHD_quiesce_daemon late.MHD_quiesce_daemon_
#define sd_journal_send_with_location late.sd_journal_send_with_location_
#endif
