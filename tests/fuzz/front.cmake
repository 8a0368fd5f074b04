# SPDX-License-Identifier: MIT
baton_fuzz_target(json agent_options)
baton_fuzz_target(options agent_options)
baton_fuzz_target(config agent_options)
baton_fuzz_target(expand agent_options)
baton_fuzz_target(listeners_page agent_options)
