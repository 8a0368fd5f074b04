# SPDX-License-Identifier: MIT
baton_unit_test(certs certs SOURCES ${PROJECT_SOURCE_DIR}/tests/support/pki.c)
