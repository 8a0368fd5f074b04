# SPDX-License-Identifier: MIT
# The keeper as a whole program, with agents that the tests play.
if(TARGET baton AND TARGET keeper_link AND TARGET baton-beside)
        set(keeper_rig ${PROJECT_SOURCE_DIR}/tests/support/keeper_rig.c)
        add_executable(fake_agent ${PROJECT_SOURCE_DIR}/tests/support/fake_agent.c)
        target_link_libraries(fake_agent PRIVATE baton_options)

        baton_unit_test(launch keeper_link)
        baton_unit_test(keeper_table keeper_core)
        baton_unit_test(keeper_image keeper_core)
        foreach(part IN ITEMS keeper keeper_life keeper_child keeper_self)
                baton_unit_test(${part} keeper_link SOURCES ${keeper_rig})
                target_compile_definitions(unit_${part} PRIVATE
                        BATON_PROGRAM="$<TARGET_FILE:baton>" FAKE_AGENT_PROGRAM="$<TARGET_FILE:fake_agent>" BATON_BESIDE_PROGRAM="$<TARGET_FILE:baton-beside>")
                add_dependencies(unit_${part} baton fake_agent baton-beside)
        endforeach()
endif()
