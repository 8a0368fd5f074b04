# SPDX-License-Identifier: MIT
#
# Install rules, for any prefix: the programs find each other relative to their own place, so the folder may be moved
# as a whole.
install(TARGETS baton RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS baton-agent baton-ctl baton-watch RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/baton)

install(TARGETS hotrestart ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES hotrestart/hotrestart.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hotrestart)
install(FILES docs/protocol.md docs/steering.md DESTINATION ${CMAKE_INSTALL_DOCDIR}) # the header refers to them
# Relative to where the pc file lies: it stays right with another --prefix, and when the folder is moved.
file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH pc_libdir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH pc_includedir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(packaging/libhotrestart.pc.in libhotrestart.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/libhotrestart.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

foreach(page IN ITEMS baton.1 baton.json.5 baton-events.7)
        string(REGEX MATCH "[0-9]$" section ${page})
        install(FILES packaging/man/${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# Under the name that bash looks for.
install(FILES packaging/completions/baton.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME baton)

# A unit has to name its program by a full path: the prefix is known for sure only when it is installed.
install(CODE "
        set(unit_bindir \"${CMAKE_INSTALL_BINDIR}\")
        if(NOT IS_ABSOLUTE \"\${unit_bindir}\")
                get_filename_component(unit_bindir \"\${CMAKE_INSTALL_PREFIX}/\${unit_bindir}\" ABSOLUTE)
        endif()
        configure_file(\"${CMAKE_CURRENT_SOURCE_DIR}/packaging/systemd/baton@.service.in\"
                \"${CMAKE_CURRENT_BINARY_DIR}/baton@.service\" @ONLY)")
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/baton@.service DESTINATION lib/systemd/system)
install(FILES docs/operations.md docs/privileges.md docs/protocol.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES packaging/envoy-sds.yaml packaging/systemd/baton.json DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
