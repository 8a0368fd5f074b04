# SPDX-License-Identifier: MIT
baton_fault_test(state agent_services WRAP pwrite pread fcntl calloc)
