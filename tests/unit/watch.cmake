# SPDX-License-Identifier: MIT
baton_unit_test(interests SOURCES ${PROJECT_SOURCE_DIR}/agent/watch/interests.c)
