# SPDX-License-Identifier: MIT
baton_unit_test(hammer_http SOURCES ${PROJECT_SOURCE_DIR}/tests/support/hammer_http.c)
baton_unit_test(hammer_report SOURCES ${PROJECT_SOURCE_DIR}/tests/support/hammer_report.c)
