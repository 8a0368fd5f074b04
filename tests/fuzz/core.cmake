# SPDX-License-Identifier: MIT
baton_fuzz_target(state agent_core agent_services)
baton_fuzz_target(proxy_words agent_core)
