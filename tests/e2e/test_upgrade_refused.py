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

        case("broken YAML", lambda: scene.put("static_resources: ["), "rejects its config")
        case("unknown cluster", with_route_to_nowhere, "nowhere")
        case("missing", baton.config_path.unlink, path, "No such file")
        case("a loop of links", lambda: (baton.config_path.unlink(), os.symlink(path, path)), path, "symbolic links")
        case("a folder", lambda: (baton.config_path.unlink(), baton.config_path.mkdir()), path, "directory")
        case("a pipe", lambda: (baton.config_path.unlink(), os.mkfifo(path)), path)
        case("65 MB", lambda: os.truncate(path, 65 * 1024 * 1024), path, "too large")
        case("empty", lambda: scene.put(""), "config")
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
