# SPDX-License-Identifier: MIT
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(SYSTEMD REQUIRED IMPORTED_TARGET libsystemd)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)

# The file name under which the loader finds a library that is not linked but opened when it is needed: see late.h.
function(baton_soname variable package)
        find_library(${variable}_FILE ${package} REQUIRED)
        execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${${variable}_FILE} OUTPUT_VARIABLE headers COMMAND_ERROR_IS_FATAL ANY)
        if(NOT headers MATCHES "SONAME +([^ \n]+)")
                message(FATAL_ERROR "${${variable}_FILE} has no soname")
        endif()
        set_property(SOURCE late.c APPEND PROPERTY COMPILE_DEFINITIONS "${variable}=\"${CMAKE_MATCH_1}\"")
endfunction()
baton_soname(BATON_CURL_SONAME curl)
baton_soname(BATON_MICROHTTPD_SONAME microhttpd)
baton_soname(BATON_SYSTEMD_SONAME systemd)

add_library(agent_services STATIC clock.c late.c log.c events.c why.c state.c metrics/metrics.c admin.c admin_front.c control.c control_admin.c control_server.c listen_address.c)
target_include_directories(agent_services PRIVATE ${LIBEV_INCLUDE} ${CURL_INCLUDE_DIRS} ${MICROHTTPD_INCLUDE_DIRS}
        ${SYSTEMD_INCLUDE_DIRS})
target_link_libraries(agent_services PUBLIC baton_options agent_options ${LIBEV} PkgConfig::ZLIB ${CMAKE_DL_LIBS})
