# SPDX-License-Identifier: MIT
# What a user writes, and what baton says back.
foreach(part IN ITEMS expand json options instance proxy_user proxy_args bootstrap listeners_page)
        baton_unit_test(${part} agent_options)
endforeach()
baton_unit_test(bind_probe agent_probe)
baton_unit_test(accepted agent_probe)
foreach(part IN ITEMS events why log listen_address admin_front)
        baton_unit_test(${part} agent_services)
endforeach()
target_link_options(unit_log PRIVATE -Wl,--wrap=connect)
