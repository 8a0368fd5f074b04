# SPDX-License-Identifier: MIT
#
# Install rules, for any prefix: the programs find each other relative to their own place, so the folder may be moved
# as a whole. A part that is not in the tree yet is left out.
foreach(program IN ITEMS baton)
        if(TARGET ${program})
                install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
        endif()
endforeach()
foreach(program IN ITEMS baton-agent baton-watch baton-ctl)
        if(TARGET ${program})
                install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/baton)
        endif()
endforeach()

if(TARGET hotrestart)
        install(TARGETS hotrestart ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
        install(FILES hotrestart/hotrestart.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hotrestart)
        # Relative to where the pc file lies: it stays right with another --prefix, and when the folder is moved.
        file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
        file(RELATIVE_PATH pc_libdir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
        file(RELATIVE_PATH pc_includedir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
        configure_file(packaging/libhotrestart.pc.in libhotrestart.pc @ONLY)
        install(FILES ${CMAKE_CURRENT_BINARY_DIR}/libhotrestart.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
foreach(header IN ITEMS shm/stats.h shm/layout.h)
        if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${header})
                install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/baton/shm)
        endif()
endforeach()

file(GLOB man1 CONFIGURE_DEPENDS packaging/man/*.1)
file(GLOB man5 CONFIGURE_DEPENDS packaging/man/*.5)
file(GLOB man7 CONFIGURE_DEPENDS packaging/man/*.7)
foreach(section IN ITEMS 1 5 7)
        if(man${section})
                install(FILES ${man${section}} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
        endif()
endforeach()

# name in the tree, folder and name where a shell looks for it
if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/packaging/completions/baton.bash)
        install(FILES packaging/completions/baton.bash
                DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME baton)
endif()
if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/packaging/completions/_baton)
        install(FILES packaging/completions/_baton DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()
if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/packaging/completions/baton.fish)
        install(FILES packaging/completions/baton.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

# A unit has to name its program by a full path: the prefix is known for sure only when it is installed.
install(CODE "
        set(unit_bindir \"${CMAKE_INSTALL_BINDIR}\")
        if(NOT IS_ABSOLUTE \"\${unit_bindir}\")
                get_filename_component(unit_bindir \"\${CMAKE_INSTALL_PREFIX}/\${unit_bindir}\" ABSOLUTE)
        endif()
        configure_file(\"${CMAKE_CURRENT_SOURCE_DIR}/packaging/systemd/baton@.service.in\"
                \"${CMAKE_CURRENT_BINARY_DIR}/baton@.service\" @ONLY)")
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/baton@.service DESTINATION lib/systemd/system)
install(FILES docs/operations.md docs/protocol.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES packaging/systemd/baton.json DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
