# SPDX-License-Identifier: MIT
#
# Two versions that never were, so that the way from one version to another can be tested. `next` differs in everything that
# has a version: wire, keeper's image, state, options. `beside` has the keeper's image of today, so it can be left again.
# Only what depends on a version is compiled anew. Never installed.
set(next_options -UBATON_VERSION -DBATON_VERSION=\"next\" -DWIRE_VERSION=2 -DSTATE_VERSION=2 -DOPTIONS_VERSION=2)

foreach(name IN ITEMS next beside)
        list(TRANSFORM keeper_versioned_sources PREPEND keeper/ OUTPUT_VARIABLE keeper_sources)
        add_executable(baton-${name} ${keeper_sources})
        target_link_libraries(baton-${name} PRIVATE baton_options keeper_core)
        target_compile_options(baton-${name} PRIVATE ${next_options})
        set_target_properties(baton-${name} PROPERTIES OUTPUT_NAME baton RUNTIME_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${name})
endforeach()
target_compile_options(baton-next PRIVATE -DKEEPER_IMAGE_VERSION=2)

set(agent_versioned start status self)
list(TRANSFORM agent_versioned APPEND .c OUTPUT_VARIABLE agent_versioned_sources)
list(JOIN agent_versioned | pattern)
add_executable(baton-agent-next ${agent_versioned_sources} state.c options.c keeper_link.c
        $<FILTER:$<TARGET_OBJECTS:baton-agent>,EXCLUDE,/\(${pattern}\)[.]c[.]o$>)
target_include_directories(baton-agent-next PRIVATE ${LIBEV_INCLUDE})
target_link_libraries(baton-agent-next PRIVATE baton_options ${agent_libraries})
target_compile_options(baton-agent-next PRIVATE ${next_options})
set_target_properties(baton-agent-next PROPERTIES OUTPUT_NAME baton-agent RUNTIME_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/next)
add_custom_command(TARGET baton-agent-next POST_BUILD COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/beside
        COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_FILE:baton-agent-next> ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/beside/baton-agent)
