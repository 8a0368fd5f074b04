# SPDX-License-Identifier: MIT
# The pure core. What tells a story is played under a fake clock by tests/support/script.c.
set(script ${PROJECT_SOURCE_DIR}/tests/support/script.c)
baton_unit_test(backoff agent_core)
baton_unit_test(epoch agent_core)
baton_unit_test(succession agent_core SOURCES ${script} test_succession_stop.c test_succession_resume.c)
