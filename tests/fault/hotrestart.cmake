# SPDX-License-Identifier: MIT
baton_fault_test(hr_listener hotrestart WRAP socket bind listen setsockopt getsockopt shutdown fstat)
baton_fault_test(hr_segment hotrestart WRAP shm_open fchmod write fstat mmap)
baton_fault_test(hr_steer hotrestart WRAP socket getsockname sendmsg recvmsg getsockopt setsockopt)
baton_fault_test(hr_socket hotrestart SOURCES ${PROJECT_SOURCE_DIR}/tests/support/hr_pair.c
        WRAP socket bind fchmod sendmsg recvmsg malloc realloc)
