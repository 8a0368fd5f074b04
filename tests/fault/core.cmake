# SPDX-License-Identifier: MIT
baton_fault_test(state agent_services WRAP pwrite pread fcntl calloc)
if(TARGET agent_options AND TARGET keeper_link)
        add_library(kit_under_test OBJECT ${PROJECT_SOURCE_DIR}/agent/kit.c ${PROJECT_SOURCE_DIR}/agent/kit_record.c ${PROJECT_SOURCE_DIR}/agent/kit_forget.c)
        target_link_libraries(kit_under_test PRIVATE baton_options agent_options hotrestart)
        baton_fault_test(kit kit_under_test agent_options keeper_link hotrestart
                WRAP malloc calloc realloc strdup open read write fstat fchmod link mkdir socket bind shm_open ftruncate mmap
                memfd_create fcntl)
        target_link_options(fault_kit PRIVATE -Wl,--wrap=hr_segment_create)
endif()
