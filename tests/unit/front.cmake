# SPDX-License-Identifier: MIT
# What a user writes, and what baton says back.
foreach(part IN ITEMS json options instance proxy_args bootstrap listeners_page)
        baton_unit_test(${part} agent_options)
endforeach()
foreach(part IN ITEMS events why log listen_address)
        baton_unit_test(${part} agent_services)
endforeach()
target_link_options(unit_log PRIVATE -Wl,--wrap=connect)
