# SPDX-License-Identifier: MIT
baton_fuzz_target(frame hotrestart)
baton_fuzz_target(message hotrestart)
baton_fuzz_target(diag hotrestart)
