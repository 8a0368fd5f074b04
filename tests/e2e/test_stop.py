# SPDX-License-Identifier: MIT
"""The ways in which a stop comes, what it costs those who are served, and that nothing is left of it."""
import contextlib
import fcntl
import os
import pty
import shutil
import signal
import socket
import termios
import threading
import time

import pytest
from support.client import Client, admin_stat, ask, body_of, in_flight, refuses
from support.config import Config, Listener, TYPE, free_port
from support.envoys import NEWEST, envoy
from support.instance import QUIET, marked_processes, segments, wait_until
from support.wrapper import Wrapper

NEVER = "1h"


def ms_between(first, second):
    return (second["mono_ns"] - first["mono_ns"]) / 1e6


def stop_took(baton):
    """Milliseconds from the first wish to stop to the last event."""
    return ms_between(baton.events("stop.asked")[0], baton.events("baton.stopped")[-1])


def nothing_was_cut(baton):
    """No deadline had to end it."""
    return baton.events("epoch.drain-overrun") == [] and baton.events("epoch.killed") == []


@contextlib.contextmanager
def clients(listener, n):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Client(listener)) for _ in range(n)]


# ---- what is in flight ---------------------------------------------------------------------------------------


def test_requests_of_3_s_in_flight_complete_on_new_and_on_kept_connections(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener])
    with clients(listener, 4) as new, clients(listener, 4) as kept:
        assert [c.get() for c in kept] == ["hello"] * 4
        for c in new + kept:
            c.send(delay_ms=3000)
        in_flight(baton, 8)
        baton.process.send_signal(signal.SIGTERM)
        baton.wait_event("epoch.draining")
        bodies = [c.receive() for c in new + kept]
        asked_to_close = sum(c.closes for c in new + kept)
        assert baton.wait_exit() == 0
    print(f"requests=8 completed={bodies.count('hello')} asked_to_close={asked_to_close} stop_ms={stop_took(baton):.0f}")
    assert bodies == ["hello"] * 8
    assert asked_to_close == 8, "each next response closes its connection"
    assert nothing_was_cut(baton)


def test_idle_kept_connections_do_not_hold_up_the_stop(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], options=["--stop-timeout", "60s"])
    with clients(listener, 8) as idle:
        assert [c.get() for c in idle] == ["hello"] * 8
        assert baton.stop() == 0
        ends = [c.wait_end() for c in idle]
    print(f"idle=8 ends={ends.count('eof')} eof {ends.count('reset')} reset stop_ms={stop_took(baton):.0f}")
    assert nothing_was_cut(baton) and len(baton.events("epoch.drained")) == 1
    assert stop_took(baton) < 60000 / 4, "an idle connection was waited for"


def test_busy_kept_connections_are_asked_to_close_and_none_is_reset(baton, each_envoy, hammer):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener])
    with hammer(listener, clients=8, kept=8, pace_ms=1) as load:
        assert baton.stop() == 0
    print(f"requests={load.requests} failed={load.failed} refused={load.refused} in_flight={load.in_flight} "
          f"gap_ms={load.longest_gap_ms} stop_ms={stop_took(baton):.0f}")
    assert load.in_flight == 0 and load.failed == load.refused
    assert nothing_was_cut(baton)


def test_a_kept_connection_between_two_requests_is_asked_to_close_before_it_is_cut(new_baton, each_envoy, count):
    """One look that shows nothing in flight proves nothing: the connection is about to send."""
    asked = 0
    for _ in range(count(10, 2)):
        baton, listener = new_baton(), Listener()
        baton.run(each_envoy, listeners=[listener])
        answers = {}

        def go_on(c, n, answers=answers):
            answers[n] = []
            while c.ended is None and not c.closes:
                answers[n].append(c.get())
                time.sleep(0.03)  # between two requests

        with clients(listener, 4) as kept:
            threads = [threading.Thread(target=go_on, args=(c, n)) for n, c in enumerate(kept)]
            for t in threads:
                t.start()
            wait_until(lambda answers=answers: len(answers) == 4 and all(answers.values()), "all have been served")
            assert baton.stop() == 0
            for t in threads:
                t.join()
            assert all(set(got) == {"hello"} for got in answers.values()), "a request failed"
            asked += sum(c.closes for c in kept)
    print(f"stops={count(10, 2)} connections={count(10, 2) * 4} asked_to_close={asked}")
    assert asked == count(10, 2) * 4


def test_connections_that_came_before_the_stop_are_answered_and_later_ones_refused(new_baton, each_envoy, hammer, count):
    resets = answered = 0
    for _ in range(count(8, 2)):
        baton = new_baton()
        baton.run(each_envoy, listeners=[listener := Listener()])
        with hammer(listener, clients=16, pace_ms=0) as load:
            assert baton.stop() == 0
        resets += load.in_flight
        answered += load.ok
        assert load.refused > 0
    print(f"figures: {answered} answered, {resets} reset")
    assert resets == 0


def test_ports_refuse_once_a_stop_has_begun_to_drain(baton):
    listener = Listener()
    baton.run(listeners=[listener])
    with Client(listener) as c:
        c.send(delay_ms=3000)
        in_flight(baton, 1)
        baton.process.send_signal(signal.SIGTERM)
        baton.wait_event("epoch.draining")
        wait_until(lambda: refuses(listener), "the port refuses")
        assert baton.process.poll() is None, "the request is still under way"
        assert c.receive() == "hello"
    assert baton.wait_exit() == 0 and refuses(listener)


def test_what_a_tcp_proxy_still_carries_is_in_flight(baton, upstream):
    listener = Listener(tcp=True)
    baton.run(listeners=[listener], upstream_port=upstream.port)
    with Client(listener) as c:
        c.send(path="/up/stream?n=20&ms=100", extra="connection: close\r\n")
        assert c.receive_head() is not None
        baton.process.send_signal(signal.SIGTERM)
        assert c.wait_end() == "eof"
        assert c.rest().endswith(b"19\n\r\n0\r\n\r\n"), "the last piece came through"
    assert baton.wait_exit() == 0 and nothing_was_cut(baton)


class Echo:
    """An upstream that agrees to any upgrade and then echoes."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer = self._server.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._echo, args=(peer,), daemon=True).start()

    @staticmethod
    def _echo(peer):
        with peer, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                data += peer.recv(65536)
            peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            while piece := peer.recv(65536):
                peer.sendall(piece)

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def websocket_config(listener, port):
    config = Config([listener], upstream_port=port)
    d = config.to_dict()
    manager = d["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    config.to_dict = lambda: d
    return config


@pytest.mark.parametrize("who_ends", ["client", "deadline"])
def test_a_websocket_lives_until_its_client_or_the_deadline_ends_it(baton, who_ends):
    echo, listener = Echo(), Listener()
    try:
        baton.run(config=websocket_config(listener, echo.port), options=["--stop-timeout", "60s" if who_ends == "client" else "3s"])
        with Client(listener) as c:
            c.send(path="/up/ws", extra="connection: upgrade\r\nupgrade: websocket\r\n")
            assert " 101 " in c.receive_head()
            assert c.exchange(b"before") == b"before"
            baton.process.send_signal(signal.SIGTERM)
            baton.wait_event("epoch.draining")
            assert c.exchange(b"after") == b"after", "the stop has begun and the tunnel still works"
            if who_ends == "client":
                c.close()
            else:
                c.wait_end()
        assert baton.wait_exit() == 0
    finally:
        echo.close()
    assert nothing_was_cut(baton) == (who_ends == "client")
    print(f"ended_by={who_ends} stop_ms={stop_took(baton):.0f}")


# ---- now -----------------------------------------------------------------------------------------------------


def test_a_second_sigterm_ends_it_now(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], options=["--stop-timeout", "60s"])
    with Client(listener) as c:
        c.send(delay_ms=50000)
        in_flight(baton, 1)
        baton.process.send_signal(signal.SIGTERM)
        baton.wait_event("epoch.draining")
        baton.process.send_signal(signal.SIGTERM)
        assert baton.wait_exit() == 0
        assert c.wait_end() in ("eof", "reset")
    first, second = baton.events("stop.asked")
    took = ms_between(second, baton.events("baton.stopped")[0])
    print(f"after_the_second_ms={took:.0f} of 60000")
    assert took < 60000 / 4


def test_two_sigterms_at_once_end_it_now(baton):
    listener = Listener()
    baton.run(listeners=[listener], options=["--stop-timeout", "60s"])
    with Client(listener) as c:
        c.send(delay_ms=50000)
        in_flight(baton, 1)
        for sig in (signal.SIGTERM, signal.SIGINT):
            baton.process.send_signal(sig)
        assert baton.wait_exit() == 0
    assert stop_took(baton) < 60000 / 4


def test_a_second_sigterm_ends_a_proxy_that_does_not_react(baton):
    baton.run(options=["--stop-timeout", "60s"])
    os.kill(baton.proxy_pid(), signal.SIGSTOP)
    baton.process.send_signal(signal.SIGTERM)
    baton.wait_event("epoch.draining")
    baton.process.send_signal(signal.SIGTERM)
    assert baton.wait_exit() == 0
    assert stop_took(baton) < 60000 / 4


# ---- deadlines -----------------------------------------------------------------------------------------------


def test_a_request_longer_than_the_stop_timeout_is_cut_shortly_before_it(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], options=["--stop-timeout", "3s"])
    with Client(listener) as c:
        c.send(delay_ms=30000)
        in_flight(baton, 1)
        assert baton.stop() == 0
        assert c.wait_end() in ("eof", "reset")
    asked, overrun = baton.events("stop.asked")[0], baton.events("epoch.drain-overrun")[0]
    print(f"sigterm_after_ms={ms_between(asked, overrun):.0f} stop_ms={stop_took(baton):.0f}")
    assert overrun["in_flight"] == 1
    assert ms_between(asked, overrun) >= 3000 * 0.9 - 1, "a tenth before the timeout, not earlier"


def test_a_proxy_that_does_not_react_is_killed_at_the_stop_timeout(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], options=["--stop-timeout", "3s"])
    os.kill(baton.proxy_pid(), signal.SIGSTOP)
    assert baton.stop() == 0
    asked, killed = baton.events("stop.asked")[0], baton.events("epoch.killed")[0]
    exited = baton.events("epoch.exited")[0]
    print(f"sigkill_after_ms={ms_between(asked, killed):.0f} stop_ms={stop_took(baton):.0f}")
    assert ms_between(asked, killed) >= 3000 - 1 and exited["reason"] == "signal:KILL"
    assert refuses(listener)


# ---- the delay -----------------------------------------------------------------------------------------------


def test_during_the_stop_delay_readiness_is_gone_and_everybody_is_still_served(baton, hammer):
    listener, status = Listener(), f"127.0.0.1:{free_port()}"
    baton.run(listeners=[listener], options=["--stop-delay", NEVER, "--stop-timeout", "2h", "--status", status])
    assert ask(status, "/healthz/ready")[0] == 200
    with hammer(listener) as load:
        baton.process.send_signal(signal.SIGTERM)
        baton.wait_event("stop.asked")
        load.mark("during")
        code, reason = ask(status, "/healthz/ready")
        assert code == 503 and "stopping" in reason
        assert ask(status, "/healthz/live")[0] == 200
        assert baton.status()["ready"] is False
        assert body_of(listener) == "hello"
        during = load.mark("enough")
        assert during.ok > 0 and during.failed == 0
        assert baton.events("epoch.draining") == []
        baton.process.send_signal(signal.SIGTERM)
        assert baton.wait_exit() == 0
    print(f"during: requests={during.requests} failed={during.failed}")
    assert refuses(listener)


def test_the_stop_delay_ends_by_itself_and_the_drain_follows(baton):
    baton.run(options=["--stop-delay", "1s", "--stop-timeout", "60s"])
    assert baton.stop() == 0
    asked, draining = baton.events("stop.asked")[0], baton.events("epoch.draining")[0]
    assert ms_between(asked, draining) >= 1000 - 1
    assert nothing_was_cut(baton)


def test_the_stop_timeout_includes_the_delay(baton):
    listener = Listener()
    baton.run(listeners=[listener], options=["--stop-delay", "2s", "--stop-timeout", "3s"])
    with Client(listener) as c:
        c.send(delay_ms=30000)
        in_flight(baton, 1)
        assert baton.stop() == 0
    asked, overrun = baton.events("stop.asked")[0], baton.events("epoch.drain-overrun")[0]
    delay = ms_between(asked, baton.events("epoch.draining")[0])
    whole = ms_between(asked, overrun)
    print(f"delay_ms={delay:.0f} overrun_ms={whole:.0f}")
    assert whole - delay < delay, "the timeout was counted from the end of the delay"


# ---- while it does not serve ---------------------------------------------------------------------------------


def test_a_stop_during_a_slow_start_ends_with_0_and_nothing_ever_accepted(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], clusters=1000, wait=False)
    baton.wait_event("epoch.launched")
    assert baton.stop() == 0
    assert baton.events("epoch.accepted") == [] and refuses(listener)
    print(f"stop_ms={stop_took(baton):.0f}")


def admin_ready(baton):
    """The status of /ready, or None while nobody answers."""
    try:
        return ask(baton.run_dir / "e0" / "admin", "/ready")[0]
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def test_a_stop_while_the_control_plane_is_down_does_not_wait_for_it(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], ads_port=free_port(), wait=False, options=["--stop-timeout", "60s"])
    baton.wait_event("epoch.launched")
    wait_until(lambda: admin_ready(baton), "the proxy initializes")  # its socket is there before it listens
    assert admin_ready(baton) == 503
    assert baton.stop() == 0
    print(f"stop_ms={stop_took(baton):.0f} of 60000")
    assert stop_took(baton) < 60000 / 4


def test_a_stop_during_the_wait_for_the_next_launch_ends_with_0_and_launches_nothing(baton):
    wrapper, listener = Wrapper(baton.dir), Listener()
    baton.run(wrapper.path, listeners=[listener], options=["--retry-initial", NEVER, "--stable", NEVER])
    moment = baton.kill_proxy()
    baton.wait_event("relaunch.waiting", since=moment)
    assert baton.stop() == 0
    assert refuses(listener) and wrapper.starts() == 1


def test_a_stop_of_an_exhausted_instance_that_waits_for_its_file_ends_with_0(baton):
    wrapper = Wrapper(baton.dir)
    wrapper.mode("exit 1")
    baton.run(wrapper.path, wait=False, options=["--retry-tokens", 1, "--retry-initial", "1ms", "--on-exhausted", "wait"])
    baton.wait_event("relaunch.exhausted")
    assert baton.stop() == 0


def run_dir_is_claimed(baton, listener):
    return (baton.run_dir / "events").exists()


def first_event_is_written(baton, listener):
    return baton.events("baton.started")


def proxy_is_executed(baton, listener):
    return baton.events("epoch.launched")


def admin_socket_is_there(baton, listener):
    return (baton.run_dir / "e0" / "admin").exists()


def port_is_bound(baton, listener):
    return not refuses(listener)


STEPS = [run_dir_is_claimed, first_event_is_written, proxy_is_executed, admin_socket_is_there, port_is_bound]


@pytest.mark.parametrize("step", STEPS)
def test_a_sigterm_at_each_step_of_the_first_start_ends_it_with_0(baton, step):
    listener = Listener()
    baton.run(listeners=[listener], wait=False)
    wait_until(lambda: step(baton, listener), step.__name__)
    assert baton.stop() == 0
    assert refuses(listener)


def test_a_sigterm_in_the_very_first_moment_leaves_nothing(baton):
    """What has not taken its signals yet dies by them, as any program would."""
    baton.run(wait=False)
    assert baton.stop() in (0, -signal.SIGTERM)


# ---- other roads to the same end -----------------------------------------------------------------------------


def test_baton_stop_waits_until_nothing_is_left(baton):
    listener = Listener()
    baton.run(listeners=[listener])
    with Client(listener) as c:
        c.send(delay_ms=2000)
        in_flight(baton, 1)
        done = baton.cli("stop")
        assert done.returncode == 0, done.stderr
        assert c.receive() == "hello" and refuses(listener)
    assert baton.wait_exit() == 0
    assert baton.cli("stop").returncode == 3, "there is nothing to stop any more"


def test_baton_stop_with_a_timeout_gives_up_with_4_and_the_stop_goes_on(baton):
    listener = Listener()
    baton.run(listeners=[listener])
    with Client(listener) as c:
        c.send(delay_ms=4000)
        in_flight(baton, 1)
        done = baton.cli("stop", "--timeout", "500ms")
        assert done.returncode == 4 and "timed out" in done.stderr
        assert baton.process.poll() is None
        assert c.receive() == "hello"
    assert baton.wait_exit() == 0 and nothing_was_cut(baton)


def test_baton_stop_without_waiting_returns_while_requests_are_under_way(baton):
    listener = Listener()
    baton.run(listeners=[listener])
    with Client(listener) as c:
        c.send(delay_ms=3000)
        in_flight(baton, 1)
        assert baton.cli("stop", "--no-wait").returncode == 0
        assert baton.process.poll() is None
        assert c.receive() == "hello"
    assert baton.wait_exit() == 0


@pytest.mark.parametrize("road", ["/v1/stop", "/quitquitquit"])
def test_a_post_stops_it_gracefully(baton, road):
    listener, status = Listener(), f"127.0.0.1:{free_port()}"
    baton.run(listeners=[listener], options=["--status", status])
    where = baton.run_dir / "control.sock" if road == "/v1/stop" else status
    assert ask(where, road)[0] in (404, 405), "looking is no order"
    with Client(listener) as c:
        c.send(delay_ms=2000)
        in_flight(baton, 1)
        assert ask(where, road, "POST")[0] // 100 == 2
        assert c.receive() == "hello"
    assert baton.wait_exit() == 0 and nothing_was_cut(baton)


def test_two_wishes_by_different_roads_end_it_now(baton):
    listener = Listener()
    baton.run(listeners=[listener], options=["--stop-timeout", "60s"])
    with Client(listener) as c:
        c.send(delay_ms=50000)
        in_flight(baton, 1)
        assert baton.cli("stop", "--no-wait").returncode == 0
        baton.wait_event("epoch.draining")
        baton.process.send_signal(signal.SIGTERM)
        assert baton.wait_exit() == 0
    assert stop_took(baton) < 60000 / 4


# ---- without an agent, without a keeper ----------------------------------------------------------------------


def test_a_stop_in_the_moment_in_which_the_agent_dies_is_graceful_all_the_same(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener])
    agent = baton.agent_pid()
    with Client(listener) as c:
        c.send(delay_ms=3000)
        in_flight(baton, 1)
        os.kill(agent, signal.SIGKILL)
        baton.process.send_signal(signal.SIGTERM)
        assert c.receive() == "hello"
        assert baton.wait_exit() == 0
    assert nothing_was_cut(baton) and refuses(listener)
    assert len(baton.events("agent.restarted")) == 1


def test_the_agent_dies_in_the_middle_of_a_stop_and_the_next_one_goes_on(baton):
    listener = Listener()
    baton.run(listeners=[listener])
    with Client(listener) as c:
        c.send(delay_ms=4000)
        in_flight(baton, 1)
        baton.process.send_signal(signal.SIGTERM)
        for _ in range(2):
            moment = baton.moment()
            os.kill(baton.agent_pid(), signal.SIGKILL)
            baton.wait_event("agent.restarted", since=moment)
        assert c.receive() == "hello"
        assert baton.wait_exit() == 0
    assert nothing_was_cut(baton)


def test_a_stop_ends_with_0_though_the_agent_hangs_and_the_keeper_says_so(baton):
    listener = Listener()
    baton.run(listeners=[listener], options=["--stop-timeout", "60s"])
    os.kill(baton.agent_pid(), signal.SIGSTOP)
    assert baton.stop(timeout=60) == 0
    assert "keeper.agent-hung" in baton.log() and refuses(listener)


@pytest.fixture
def own_programs(new_baton):
    """An instance whose programs can be spoiled."""
    baton = new_baton()
    place = baton.dir / "bin"
    place.mkdir()
    for name in ("baton", "baton-agent", "baton-ctl", "baton-watch"):
        shutil.copy2(baton.build / name, place / name)
    baton.build = place
    return baton


def test_without_any_agent_the_keeper_stops_the_proxies_itself(own_programs):
    baton, listener = own_programs, Listener()
    baton.run(listeners=[listener])
    agent = baton.agent_pid()
    (baton.build / "baton-agent").chmod(0)  # no next one can be executed
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: "keeper.agent-not-started" in baton.log(), "the keeper cannot start an agent")
    assert body_of(listener) == "hello", "the proxy does not care"
    assert baton.stop() == 0
    assert "keeper.stops-alone" in baton.log() and refuses(listener)
    assert "caught ENVOY_SIGTERM" in baton.log(), "it was asked before it was killed"
    assert list(marked_processes(baton.mark)) == []
    (baton.build / "baton-agent").chmod(0o755)
    runs_again_and_leaves_nothing(baton, listener)


def runs_again_and_leaves_nothing(baton, listener, of_the_dead=frozenset()):
    moment = baton.moment()
    baton.start("--", envoy(NEWEST), "-c", baton.config_path, *QUIET)
    baton.wait_event("epoch.accepted", since=moment)
    assert body_of(listener) == "hello"
    assert not of_the_dead & segments(), "what the killed instance left is swept before the start"
    assert baton.stop() == 0


def test_when_the_keeper_is_killed_every_proxy_and_the_agent_go_and_the_next_run_starts_cleanly(baton, each_envoy):
    listener = Listener()
    baton.run(each_envoy, listeners=[listener], options=["--stable", "0"])
    for _ in range(2):
        baton.wait_event("epoch.accepted", since=baton.kill_proxy())
    proxy, agent = baton.proxy_pid(), baton.agent_pid()
    baton.process.kill()
    baton.wait_exit()
    wait_until(lambda: list(marked_processes(baton.mark)) == [], f"proxy {proxy} and agent {agent} end")
    wait_until(lambda: refuses(listener), "the last thread of the proxy ends")  # a zombie may have threads that still run
    assert (baton.run_dir / "e2").exists(), "nobody was there to clean up: the next one has something to do"
    own = {f"envoy_shared_memory_{10 * int(p.read_text().split()[0])}" for p in baton.run_dir.glob("e*.id")}
    assert own and own <= segments()
    runs_again_and_leaves_nothing(baton, listener, own)


def test_when_the_keeper_is_killed_a_proxy_that_hangs_goes_too(baton):
    listener = Listener()
    baton.run(listeners=[listener])
    os.kill(baton.proxy_pid(), signal.SIGSTOP)
    baton.process.kill()
    baton.wait_exit()
    wait_until(lambda: list(marked_processes(baton.mark)) == [], "all processes end")
    runs_again_and_leaves_nothing(baton, listener)


# ---- a terminal ----------------------------------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal that is the controlling one of what is started on it."""

    def __init__(self):
        self.master, self._slave = pty.openpty()

    def take(self):
        """In the child."""
        os.setsid()
        fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)

    def started(self):
        os.close(self._slave)

    def ctrl_c(self):
        os.write(self.master, b"\x03")

    def hang_up(self):
        os.close(self.master)
        self.master = -1

    def close(self):
        if self.master >= 0:
            os.close(self.master)


@pytest.fixture
def terminal():
    t = Terminal()
    yield t
    t.close()


def test_ctrl_c_is_a_graceful_stop_and_the_proxy_does_not_see_it(baton, terminal):
    listener = Listener()
    baton.run(listeners=[listener], preexec_fn=terminal.take)
    terminal.started()
    with Client(listener) as c:
        c.send(delay_ms=3000)
        in_flight(baton, 1)
        terminal.ctrl_c()
        baton.wait_event("stop.asked")
        assert c.receive() == "hello"
        assert baton.wait_exit() == 0
    assert nothing_was_cut(baton)


def test_a_second_ctrl_c_ends_it_now(baton, terminal):
    listener = Listener()
    baton.run(listeners=[listener], preexec_fn=terminal.take, options=["--stop-timeout", "60s"])
    terminal.started()
    with Client(listener) as c:
        c.send(delay_ms=50000)
        in_flight(baton, 1)
        terminal.ctrl_c()
        baton.wait_event("epoch.draining")
        terminal.ctrl_c()
        assert baton.wait_exit() == 0
    assert stop_took(baton) < 60000 / 4


def test_a_closed_terminal_is_a_graceful_stop(baton, terminal):
    listener = Listener()
    baton.run(listeners=[listener], preexec_fn=terminal.take)
    terminal.started()
    with Client(listener) as c:
        c.send(delay_ms=2000)
        in_flight(baton, 1)
        terminal.hang_up()
        assert c.receive() == "hello"
        assert baton.wait_exit() == 0
    assert nothing_was_cut(baton)


# ---- the other signals ---------------------------------------------------------------------------------------


def test_sighup_without_a_terminal_is_an_upgrade_and_no_stop(baton, hammer):
    listener = Listener()
    baton.run(listeners=[listener], preexec_fn=os.setsid)
    proxy = baton.proxy_pid()
    with hammer(listener) as load:
        baton.process.send_signal(signal.SIGHUP)
        baton.wait_event("upgrade.committed")
    assert load.failed == 0
    assert baton.proxy_pid() != proxy and baton.status()["state"] == "serving"
    print(f"requests={load.requests} failed={load.failed} refused={load.refused} gap_ms={load.longest_gap_ms}")


def test_sigusr1_makes_the_proxy_open_its_access_log_anew(baton, each_envoy):
    log = baton.dir / "access.log"
    listener = Listener()
    config = Config([listener])
    d = config.to_dict()
    manager = d["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"] = [{"name": "file", "typed_config": {
        "@type": TYPE + "access_loggers.file.v3.FileAccessLog", "path": str(log)}}]
    config.to_dict = lambda: d
    baton.run(each_envoy, config, proxy_args=(*QUIET, "--file-flush-interval-msec", "50"))
    assert body_of(listener) == "hello"
    wait_until(lambda: log.exists() and log.stat().st_size > 0, "the access log is written")
    pid, old = baton.proxy_pid(), log.with_suffix(".1")
    log.rename(old)
    baton.process.send_signal(signal.SIGUSR1)

    def served_into_the_new():
        assert body_of(listener) == "hello"
        return log.exists() and log.stat().st_size > 0

    wait_until(served_into_the_new, "the access log is there anew")
    assert baton.proxy_pid() == pid


@pytest.mark.parametrize("state", ["starting", "waiting"])
def test_sigusr1_while_nothing_serves_kills_nobody(baton, state):
    """Envoy dies of a SIGUSR1 that comes before it has a handler for it."""
    baton.run(clusters=300, wait=False, options=["--retry-initial", "2s", "--stable", NEVER])
    if state == "starting":
        baton.wait_event("epoch.launched")
    else:
        baton.wait_event("epoch.accepted")
        baton.wait_event("relaunch.waiting", since=baton.kill_proxy())
    moment = baton.moment()
    baton.process.send_signal(signal.SIGUSR1)
    baton.wait_event("epoch.accepted", since=moment)
    assert baton.events("epoch.exited")[1 if state == "waiting" else 0:] == []
    assert admin_stat(baton, "server.live", baton.epoch()) == 1
