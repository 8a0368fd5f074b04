# SPDX-License-Identifier: MIT
if(TARGET agent_services)
        baton_unit_test(late agent_services)
        # late.c once more, with a library that is nowhere and one that has not what is wanted.
        baton_unit_test(late_missing agent_services SOURCES ${PROJECT_SOURCE_DIR}/agent/late.c)
        target_compile_definitions(unit_late_missing PRIVATE BATON_CURL_SONAME="libnowhere.so.0"
                BATON_MICROHTTPD_SONAME="libc.so.6" BATON_SYSTEMD_SONAME="libnowhere.so.0")
endif()
