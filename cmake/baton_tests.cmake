# SPDX-License-Identifier: MIT
#
# One function for each kind of test. NAME is that of the source: tests/unit/test_NAME.c, tests/property/test_NAME.c,
# tests/fault/test_NAME.c, tests/fuzz/fuzz_NAME.c with tests/fuzz/corpus/NAME/. What follows NAME are targets to link.
# A target that is not in the tree (yet) leaves its tests out, with a word.

set(baton_run_test ${PROJECT_SOURCE_DIR}/tests/support/run_test)

function(baton_missing_libs out name)
        set(${out} OFF PARENT_SCOPE)
        foreach(lib IN LISTS ARGN)
                if(NOT TARGET ${lib})
                        message(STATUS "test ${name} left out: there is no target ${lib}")
                        set(${out} ON PARENT_SCOPE)
                endif()
        endforeach()
endfunction()

# A criterion program as one ctest. run_test fails it also for what criterion forgives: a sanitizer's report.
function(baton_criterion kind name)
        cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;WRAP" ${ARGN})
        set(libs ${arg_UNPARSED_ARGUMENTS})
        baton_missing_libs(missing ${kind}_${name} ${libs})
        if(missing)
                return()
        endif()
        if(NOT arg_TIMEOUT)
                set(arg_TIMEOUT 120)
        endif()
        set(target ${kind}_${name})
        add_executable(${target} test_${name}.c ${arg_SOURCES})
        target_link_libraries(${target} PRIVATE ${libs} baton_options PkgConfig::CRITERION)
        foreach(symbol IN LISTS arg_WRAP)
                target_compile_definitions(${target} PRIVATE FAULT_WRAP_${symbol})
                target_link_options(${target} PRIVATE -Wl,--wrap=${symbol})
        endforeach()
        add_test(NAME ${target} COMMAND ${baton_run_test} ${CMAKE_BINARY_DIR}/sanitizer ${target} $<TARGET_FILE:${target}>)
        set_tests_properties(${target} PROPERTIES LABELS ${kind} TIMEOUT ${arg_TIMEOUT} SKIP_RETURN_CODE 77)
endfunction()

# baton_unit_test(NAME LIBS... [SOURCES file...] [TIMEOUT seconds])
function(baton_unit_test name)
        baton_criterion(unit ${name} ${ARGN})
endfunction()

# baton_property_test(NAME LIBS...): random histories; how many is count_of(full, quick) of tests/support/counts.h
function(baton_property_test name)
        baton_criterion(property ${name} TIMEOUT 600 ${ARGN})
endfunction()

# baton_fault_test(NAME LIBS... WRAP bind listen ...): the n-th of the wrapped calls fails; see tests/support/fault.h
function(baton_fault_test name)
        baton_criterion(fault ${name} ${ARGN} SOURCES ${PROJECT_SOURCE_DIR}/tests/support/fault.c)
endfunction()

# baton_fuzz_target(NAME LIBS...): with BATON_FUZZ libFuzzer's main(), else a driver that runs the corpus as a ctest
function(baton_fuzz_target name)
        baton_missing_libs(missing fuzz_${name} ${ARGN})
        if(missing)
                return()
        endif()
        set(target fuzz_${name})
        add_executable(${target} fuzz_${name}.c)
        target_link_libraries(${target} PRIVATE ${ARGN} baton_options)
        # LLVMFuzzerTestOneInput() is declared nowhere: its caller is the fuzzer.
        target_compile_options(${target} PRIVATE -Wno-missing-prototypes)
        if(BATON_FUZZ)
                target_link_options(${target} PRIVATE -fsanitize=fuzzer)
                return()
        endif()
        target_sources(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/driver.c)
        add_test(NAME ${target} COMMAND ${baton_run_test} ${CMAKE_BINARY_DIR}/sanitizer ${target}
                $<TARGET_FILE:${target}> ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
        set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT 300)
endfunction()
