# SPDX-License-Identifier: MIT
baton_fuzz_target(keeper_image keeper_core)
baton_fuzz_target(launch keeper_record)
baton_fuzz_target(wire keeper_core keeper_link)
if(TARGET fuzz_wire)
        target_link_options(fuzz_wire PRIVATE -Wl,--wrap=fork) # no processes from random bytes
endif()
