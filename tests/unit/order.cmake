# SPDX-License-Identifier: MIT
if(TARGET agent_options)
        baton_unit_test(order agent_options)
endif()
