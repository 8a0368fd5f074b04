# SPDX-License-Identifier: MIT
baton_property_test(hr_group hotrestart)
