# SPDX-License-Identifier: MIT
baton_fuzz_target(certs certs)
