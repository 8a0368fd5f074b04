# SPDX-License-Identifier: MIT
set(world ${PROJECT_SOURCE_DIR}/tests/support/world.c)
baton_property_test(backoff agent_core)
baton_property_test(escrow agent_core)
baton_property_test(image agent_core SOURCES ${world})
baton_property_test(succession agent_core SOURCES ${world})
baton_property_test(succession_plain agent_core SOURCES ${PROJECT_SOURCE_DIR}/tests/support/script.c)
