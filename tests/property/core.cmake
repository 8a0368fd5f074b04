# SPDX-License-Identifier: MIT
baton_property_test(succession agent_core SOURCES ${PROJECT_SOURCE_DIR}/tests/support/world.c)
