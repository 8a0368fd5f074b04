# SPDX-License-Identifier: MIT
if(TARGET agent_options)
        baton_unit_test(json_pass agent_options)
endif()
