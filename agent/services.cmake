# SPDX-License-Identifier: MIT
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)

add_library(agent_services STATIC clock.c log.c events.c why.c state.c metrics/metrics.c admin.c control.c listen_address.c)
target_include_directories(agent_services PRIVATE ${LIBEV_INCLUDE})
target_link_libraries(agent_services PUBLIC baton_options agent_options ${LIBEV} PkgConfig::CURL PkgConfig::MICROHTTPD
        PkgConfig::SYSTEMD PkgConfig::ZLIB)
