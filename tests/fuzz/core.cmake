# SPDX-License-Identifier: MIT
baton_fuzz_target(state agent_core agent_services)
