# SPDX-License-Identifier: MIT
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
find_path(JSMN_INCLUDE jsmn.h REQUIRED)

add_library(agent_options STATIC json.c json_check.c order.c duration.c expand.c listen_spec.c rewrite.c options.c options_table.c options_file.c options_show.c instance.c proxy_user.c proxy_args.c bootstrap.c listeners_page.c)
target_include_directories(agent_options SYSTEM PRIVATE ${JSMN_INCLUDE})
target_link_libraries(agent_options PUBLIC baton_options hotrestart PkgConfig::YAML m)

# What asks the kernel instead of the user.
add_library(agent_probe STATIC bind_probe.c accepted.c)
target_link_libraries(agent_probe PUBLIC agent_options hotrestart)
