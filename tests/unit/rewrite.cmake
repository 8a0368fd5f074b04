# SPDX-License-Identifier: MIT
baton_unit_test(rewrite agent_options)
