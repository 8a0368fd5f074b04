# SPDX-License-Identifier: MIT
#
# baton_options: what every target of ours links: language, warnings, sanitizers or hardening, include root.
# A caller's CFLAGS come first and are kept; nothing here depends on the machine that builds.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
        set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release" FORCE)
endif()
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# No -DNDEBUG: assert() states our own mistakes only; it is cheap and stays in a release.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")

include(CheckPIESupported)
check_pie_supported(OUTPUT_VARIABLE baton_no_pie LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(baton_options INTERFACE)
target_include_directories(baton_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(baton_options INTERFACE _GNU_SOURCE BATON_VERSION="${PROJECT_VERSION}")
target_compile_options(baton_options INTERFACE
        -Wall -Wextra -Wshadow -Wswitch-enum -Wmissing-prototypes -Wvla
        $<$<BOOL:${BATON_WERROR}>:-Werror>)
# assert() and the journal name the file, not where it was built; generated code included.
add_compile_options(-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/= -fmacro-prefix-map=${PROJECT_BINARY_DIR}/=)
# An unused library costs every start a few hundred microseconds.
target_link_options(baton_options INTERFACE -Wl,--as-needed)

# How code is made, generated code included.
add_library(baton_code INTERFACE)
target_link_libraries(baton_options INTERFACE baton_code)
if(BATON_SANITIZE)
        target_compile_options(baton_code INTERFACE
                -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
        target_link_options(baton_code INTERFACE -fsanitize=address,undefined)
elseif(BATON_HARDEN)
        # Where gcc does not know the third level yet it warns of it.
        set(baton_fortify 3)
        if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_C_COMPILER_VERSION VERSION_LESS 12)
                set(baton_fortify 2)
        endif()
        target_compile_options(baton_code INTERFACE
                -fstack-protector-strong -fstack-clash-protection
                $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
                $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=${baton_fortify}>
                $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-fcf-protection>)
        target_link_options(baton_code INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()

if(BATON_FUZZ)
        target_compile_options(baton_code INTERFACE -fsanitize=fuzzer-no-link)
endif()
