# SPDX-License-Identifier: MIT
"""A proxy that does as told: a script around a real Envoy, whose mode is read at each start.

    wrapper = Wrapper(baton.dir)           serves
    wrapper.mode("exit 1")                 from now on a start ends so; any shell text will do
    wrapper.mode("serve")
    wrapper.starts()                       how often it was started, version and validate runs left out
"""
import pathlib

from .envoys import NEWEST, envoy

SCRIPT = """#!/bin/sh
case " $* " in
*" --hot-restart-version "*) exec {envoy} "$@" ;;
*" --mode validate "*)
        . {validate}
        exec {envoy} "$@"
        ;;
*" --hot-restart-version "*)
        exec {envoy} "$@"
        ;;
esac
echo start >>{starts}
. {mode}
exec {envoy} "$@"
"""


class Wrapper:
    def __init__(self, folder, proxy=None):
        folder = pathlib.Path(folder)
        self.path = folder / "envoy-wrapper"
        self._mode, self._validate, self._starts = folder / "mode", folder / "validate", folder / "starts"
        self.mode("serve")
        self.validate("")
        self._starts.write_text("")
        self._starts.chmod(0o666)
        self.path.write_text(SCRIPT.format(
            envoy=proxy or envoy(NEWEST), mode=self._mode, validate=self._validate, starts=self._starts))
        self.path.chmod(0o755)

    def mode(self, text):
        self._put(self._mode, "" if text == "serve" else text)

    def validate(self, text):
        """What a validate run does first."""
        self._put(self._validate, text)

    @staticmethod
    def _put(path, text):
        new = path.with_name(path.name + ".new")
        new.write_text(text + "\n")
        new.chmod(0o644)
        new.rename(path)

    def starts(self):
        return len(self._starts.read_text().splitlines())
