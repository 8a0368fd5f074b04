# SPDX-License-Identifier: MIT
"""What cannot be taken is refused, and costs nothing: no request, no process, no socket, no file; `why` says what it was.

After each, the serving one is killed and comes back with its own content, and a good upgrade is taken.
"""
import os
import socket

from support.config import Listener, free_port
from support.envoys import NEWEST, envoy
from support.scene import LIVE, Scene


def old(**more):
    return Listener(body="old", **more)


# ---- its config ------------------------------------------------------------------------------------------------------


def test_a_config_that_cannot_be_taken_is_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=LIVE)
    path = str(baton.config_path)
    with Scene(baton, hammer, listener) as scene:
        def case(what, arrange, *says):
            arrange()
            scene.refused(what, says=says)
            scene.heals(what)

        def with_route_to_nowhere():
            config = baton.config.to_dict()
            routes = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]
            routes["virtual_hosts"][0]["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": "nowhere"}}]
            baton.config.extra = {"static_resources": config["static_resources"]}
            baton.config.write(path)
            baton.config.extra = {}

        case("broken YAML", lambda: scene.put("static_resources: ["), path)
        case("unknown cluster", with_route_to_nowhere, path, "nowhere")
        case("missing", baton.config_path.unlink, path, "No such file")
        case("a loop of links", lambda: (baton.config_path.unlink(), os.symlink(path, path)), path, "symbolic links")
        case("a folder", lambda: (baton.config_path.unlink(), baton.config_path.mkdir()), path, "directory")
        case("a pipe", lambda: (baton.config_path.unlink(), os.mkfifo(path)), path, "not a regular file")
        case("65 MB", lambda: os.truncate(path, 65 * 1024 * 1024), path, "too large")
        case("empty", lambda: scene.put(""), path)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]

            def with_a_taken_port():
                config = baton.config.to_dict()
                config["static_resources"]["listeners"].append(Listener("second", port=port).to_dict())
                baton.config.extra = {"static_resources": config["static_resources"]}
                baton.config.write(path)
                baton.config.extra = {}

            case("a taken port", with_a_taken_port, f"tcp://127.0.0.1:{port}", "in use")


# ---- its command -----------------------------------------------------------------------------------------------------

SCRIPT = """#!/bin/sh
case " $* " in
*" --hot-restart-version "*) {version} ;;
*" --mode validate "*) {validate} ;;
esac
exec {envoy} "$@"
"""


def script(baton, version=":", validate=":", name="script"):
    """An Envoy that behaves so when it is asked; each script is a file of its own, since answers are remembered by file."""
    path = baton.dir / f"{name}-{len(list(baton.dir.glob(name + '-*')))}"
    path.write_text(SCRIPT.format(version=version, validate=validate, envoy=envoy(NEWEST)))
    path.chmod(0o755)
    return path


def program(baton, name, content, mode=0o755):
    path = baton.dir / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_binary_that_cannot_be_taken_is_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=LIVE)
    with open(envoy(NEWEST), "rb") as f:
        head = f.read(65536)
    with Scene(baton, hammer, listener) as scene:
        def case(what, path, *says, result="refused"):
            scene.refused(what, "--", path, "-c", baton.config_path, "--concurrency", "2", says=[str(path), *says], result=result)
            scene.heals(what)

        case("missing", baton.dir / "nothing", "No such file")
        case("unrunnable", program(baton, "plain", b"#!/bin/sh\n", 0o644), "Permission denied")
        case("a folder", baton.run_dir, "")
        case("truncated", program(baton, "truncated", head))
        case("no program at all", program(baton, "text", b"\x00\x01 nothing\n"), "Exec format error")
        case("interpreter missing", program(baton, "astray", b"#!/nowhere/sh\n"), "No such file")
        case("another version", script(baton, "echo 12.104; exit 0"), "12.104", "11.104")
        case("an older layout", script(baton, "echo 11.99; exit 0"), "11.99", "11.104")
        case("no version", script(baton, "exit 0"), "tells no version")
        case("a failing version", script(baton, "echo no such option >&2; exit 1"), "tells no version", "no such option")
        case("a version that floods", script(baton, "exec yes 11.104x"), "tells no version")
        case("a crash when asked for the version", script(baton, "kill -SEGV $$"), "signal 11")
        case("a crash when it validates", script(baton, validate="kill -SEGV $$"), "--mode validate", "signal 11")
        case("an unexplained no when it validates", script(baton, validate="exit 9"), "--mode validate", "exit status 9")


def test_a_binary_that_hangs_when_it_is_asked_is_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=(*LIVE, "--ready-timeout", "8s"))
    with Scene(baton, hammer, listener) as scene:
        for what, path in (("version", script(baton, "exec sleep 1000")), ("validate", script(baton, validate="exec sleep 1000"))):
            words = "--hot-restart-version" if what == "version" else "--mode validate"
            scene.refused(what, "--", path, "-c", baton.config_path, says=[str(path), words, "has not ended"])
        scene.heals(what)
        path = script(baton, "sleep 1000; :")  # its child must not be left either
        scene.refused("a child of it hangs", "--", path, "-c", baton.config_path, says=[str(path), "has not ended"])
        scene.heals("a child of it hangs")


def test_arguments_that_cannot_be_taken_are_refused(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=LIVE)
    with Scene(baton, hammer, listener) as scene:
        def case(what, *args, says=(), at_once=False):
            scene.refused(what, "--", envoy(NEWEST), "-c", baton.config_path, *args, says=says, at_once=at_once)

        for flag in ("--base-id", "--restart-epoch"):
            case(flag, flag, "7", says=[flag], at_once=True)
        case("an unknown one", "--no-such-option", says=["--no-such-option"])
        case("no command at all", "--mode", "validate", says=["serves nobody"], at_once=True)
        for text in ("[1]", "text", "{", "{}}", "&a [*a]"):
            case(f"--config-yaml {text}", "--config-yaml", text)
        case("--config-yaml of an unknown field", "--config-yaml", "{no_such_field: 1}", says=["no_such_field"])
        scene.heals("arguments")


def test_a_config_with_a_variable_that_is_not_set_is_refused_and_its_line_is_told(baton, hammer):
    listener = old()
    baton.run(listeners=[listener], options=(*LIVE, "--expand-env"))
    with Scene(baton, hammer, listener) as scene:
        scene.put("# one\n# two\nnode: {id: ${BATON_TEST_NOT_SET}}\n")
        scene.refused("a missing variable", says=[f"{baton.config_path}:3", "BATON_TEST_NOT_SET"])
        scene.heals("a missing variable")
        scene.put("# one\nnode: {id: ${BATON_TEST")
        scene.refused("a variable without an end", says=[f"{baton.config_path}:2"])
        scene.heals("a variable without an end")
