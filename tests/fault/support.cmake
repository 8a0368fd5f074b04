# SPDX-License-Identifier: MIT
# Wraps all that can be wrapped, so that each wrapper is known to link.
baton_fault_test(fault WRAP malloc calloc realloc strdup socket socketpair bind listen connect accept4 shutdown setsockopt
        getsockopt getsockname sendmsg recvmsg sendto read write pread pwrite fsync fdatasync ftruncate fstat fchmod mkdir
        mmap shm_open memfd_create dup fork open openat fcntl)
