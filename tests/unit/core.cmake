# SPDX-License-Identifier: MIT
# The pure core, and the file that keeps it. What tells a story is played under a fake clock by tests/support/script.c.
set(script ${PROJECT_SOURCE_DIR}/tests/support/script.c)
foreach(part IN ITEMS admin_plan backoff epoch escrow held_name in_flight key_name proxy_words report upgrade)
        baton_unit_test(${part} agent_core)
endforeach()
baton_unit_test(image agent_core SOURCES ${script})
baton_unit_test(succession agent_core SOURCES ${script} test_succession_stop.c test_succession_resume.c test_succession_upgrade.c test_succession_plain.c test_succession_auto.c test_succession_open.c)
baton_unit_test(duration agent_options)
baton_unit_test(listen_spec agent_options)
baton_unit_test(state agent_services)
