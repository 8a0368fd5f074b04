# SPDX-License-Identifier: MIT
"""Readiness over a start, a crash, an upgrade, a drain, the death of the agent and a stop, sampled every 5 ms: 200 while a generation
serves and no stop or drain was asked for, else 503 with the reason; never anything between."""
import dataclasses
import http.client
import itertools
import signal

from support.background import Background
from support.config import Listener, free_port
from support.envoys import OLDEST, envoy
from support.instance import QUIET, wait_until

EVERY_S = 0.005


@dataclasses.dataclass(frozen=True)
class Sample:
    phase: str
    code: int  # 0: nobody answered
    text: str


class Sampler(Background):
    """Asks one status listener again and again. A sample belongs to a phase if it began and ended in it."""

    pause_s = EVERY_S

    def __init__(self, port):
        super().__init__()
        self.port, self.samples, self.phase, self._connection = port, [], "start", None

    def once(self):
        phase, code, text = self.phase, 0, ""
        try:
            self._connection = self._connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            self._connection.request("GET", "/healthz/ready")
            answer = self._connection.getresponse()
            code, text = answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            self._connection = None
        self.samples.append(Sample(phase if phase == self.phase else "between", code, text))

    def of(self, phase):
        return [s for s in self.samples if s.phase == phase]

    def blocks(self, phase):
        """The codes of a phase, each run of equal ones once."""
        return [code for code, _ in itertools.groupby(s.code for s in self.of(phase))]

    def wait_some(self, phase, n=20):
        """Begins the phase and returns when it has so many samples."""
        self.phase = phase
        wait_until(lambda: len(self.of(phase)) >= n, f"{n} samples of {phase}")


def test_readiness_is_exactly_as_written_over_everything_that_happens(baton):
    listener, port = Listener(), free_port()
    with Sampler(port) as sampler:
        baton.run(envoy(OLDEST), listeners=[listener], options=["--status", f"127.0.0.1:{port}", "--stop-delay", "1h", "--stop-timeout", "2h", "--stable", "0s"])
        wait_until(lambda: any(s.code == 200 for s in sampler.samples), "the first 200")
        sampler.wait_some("serving")

        sampler.phase = "crash"
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", moment)
        sampler.wait_some("recovered")

        sampler.phase = "upgrade"
        listener.body = "new"
        baton.config.write(baton.config_path)
        baton.cli("upgrade", check=0)
        baton.cli("upgrade", "--", envoy(), "-c", baton.config_path, *QUIET, check=0)
        baton.config_path.write_text("broken: [")
        baton.cli("upgrade", check=5)
        sampler.wait_some("upgraded")

        sampler.phase = "between"
        baton.cli("drain", check=0)
        sampler.wait_some("drained")
        moment = baton.kill_proxy()
        baton.wait_event("epoch.accepted", moment)
        sampler.wait_some("drained")
        sampler.phase = "between"
        baton.cli("drain", "--undo", check=0)
        sampler.wait_some("undone")

        sampler.phase = "agent"
        moment = baton.kill_agent()
        baton.wait_event("agent.restarted", moment)
        sampler.wait_some("agent")

        sampler.phase = "between"
        baton.process.send_signal(signal.SIGTERM)
        baton.wait_event("stop.asked")
        sampler.wait_some("stopping")
        sampler.phase = "between"
        baton.process.send_signal(signal.SIGTERM)
        assert baton.wait_exit() == 0
        sampler.wait_some("gone")

    print({phase: sampler.blocks(phase) for phase in dict.fromkeys(s.phase for s in sampler.samples)})
    start = [code for code in sampler.blocks("start") if code]
    assert start in ([503], [503, 200]), "not ready before it serves, then for good"
    for phase in ("serving", "recovered", "upgrade", "upgraded", "undone"):
        assert sampler.blocks(phase) == [200], phase
    assert sampler.blocks("crash") in ([200, 503, 200], [503, 200], [200, 503], [503]), "once away, once back"
    for phase, reasons in (("drained", {"drain asked for", "recovering"}), ("stopping", {"stopping"}), ("crash", {"recovering"})):
        bad = {s for s in sampler.of(phase) if s.code != 200}
        assert bad and {(s.code, s.text.strip()) for s in bad} <= {(503, reason) for reason in reasons}, (phase, bad)
    assert sampler.blocks("drained") == [503] and sampler.blocks("stopping") == [503]
    assert set(sampler.blocks("agent")) <= {200, 0}, "a request may be cut with its agent, but the next one waits for the new one"
    assert sum(s.code == 0 for s in sampler.of("agent")) <= 1
    assert set(sampler.blocks("gone")) == {0}
