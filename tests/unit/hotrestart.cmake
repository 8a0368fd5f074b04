# SPDX-License-Identifier: MIT
# libhotrestart: pure parts against golden bytes, the rest against the kernel.
foreach(part IN ITEMS names key frame message parent group)
        baton_unit_test(hr_${part} hotrestart)
endforeach()
foreach(part IN ITEMS fdpass child segment listener)
        baton_unit_test(hr_${part} hotrestart SOURCES ${PROJECT_SOURCE_DIR}/tests/support/fault.c
                ${PROJECT_SOURCE_DIR}/tests/support/hr_pair.c)
endforeach()
find_package(Threads REQUIRED)
baton_unit_test(hr_steer hotrestart Threads::Threads SOURCES ${PROJECT_SOURCE_DIR}/tests/support/listen_group.c TIMEOUT 900)
target_link_libraries(unit_hr_steer PRIVATE m)
target_link_options(unit_hr_steer PRIVATE -Wl,--wrap=recvmsg)
