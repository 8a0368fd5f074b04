# SPDX-License-Identifier: MIT
baton_unit_test(stderr_line)
target_link_options(unit_stderr_line PRIVATE -Wl,--wrap=poll)
