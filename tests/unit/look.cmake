# SPDX-License-Identifier: MIT
# look.c alone: the test plays what it calls, and the proxy.
if(TARGET agent_services)
        baton_unit_test(look agent_core agent_options agent_services hotrestart SOURCES ${PROJECT_SOURCE_DIR}/agent/look.c
                ${PROJECT_SOURCE_DIR}/tests/support/hr_pair.c)
        target_include_directories(unit_look PRIVATE ${LIBEV_INCLUDE})
        target_link_options(unit_look PRIVATE -Wl,--wrap=hr_send)
endif()
