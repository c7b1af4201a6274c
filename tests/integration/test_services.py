"""A service of the stack: its process, whatever that does."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from celeriac.errors import ServiceFailed
from celeriac.settings.platform import free_port
from celeriac.stack import service as module
from celeriac.stack import services
from celeriac.stack.service import Service, ServiceSpec, StopStep
from celeriac.stack.service_logs import LogFiles
from celeriac.stack.stop_signals import StopSignals
from tests.processes import living, processes
from tests.support import wait_until

_FOREVER = "import time; time.sleep(600)"
_DEAF = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("no"))
print("deaf")
while True:
    time.sleep(600)
"""
_WITH_A_CHILD = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "{_FOREVER}"])
time.sleep(600)
"""


class Heard(list[tuple[str, str]]):
    """Keeps the lines that it is given."""

    def __call__(self, name: str, line: str) -> None:
        self.append((name, line))


@pytest.fixture
def make() -> Iterator[Callable[..., Service]]:
    with ExitStack() as stack:

        def make(code: str, *, write_line=None, env=None, **spec) -> Service:
            argv = (sys.executable, "-u", "-c", code)
            spec = {"healthy": lambda: True, "within": 10.0, **spec}
            service = Service(
                ServiceSpec("beat", argv, **spec),
                write_line=Heard() if write_line is None else write_line,
                env=env,
            )
            stack.callback(_put_down, service)
            return service

        yield make


def _put_down(service: Service) -> None:
    stop_signals = StopSignals()
    service.spec = ServiceSpec("beat", (), healthy=lambda: True, stop_steps=(StopStep(signal.SIGKILL),))
    service.stop(stop_signals)


def ended(service: Service) -> int | None:
    wait_until(lambda: service.status is not None, within=10, saying="the process ended")
    return service.status


def test_its_lines_are_written_under_its_name(make: Callable[..., Service]) -> None:
    heard = Heard()
    service = make("import sys; print('one'); print('two', file=sys.stderr)", write_line=heard)
    service.start()
    ended(service)
    wait_until(lambda: len(heard) == 2, within=5, saying="both lines were heard")
    assert sorted(heard) == [("beat", "one"), ("beat", "two")]


def test_bytes_that_are_no_text_do_not_silence_it(make: Callable[..., Service]) -> None:
    heard = Heard()
    make("import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\nafter\\n')", write_line=heard).start()
    wait_until(lambda: ("beat", "after") in heard, within=10, saying="the line after was heard")


def test_a_writer_that_fails_does_not_block_it(make: Callable[..., Service]) -> None:
    def hung_up(name: str, line: str) -> None:
        raise BrokenPipeError

    service = make("print('x' * 200_000)\nprint('y' * 200_000)", write_line=hung_up)
    service.start()
    assert ended(service) == 0


def test_one_that_ends_instead_of_starting_is_quoted(make: Callable[..., Service]) -> None:
    service = make("print('no such table'); raise SystemExit(3)", healthy=lambda: False)
    service.start()
    with pytest.raises(ServiceFailed) as caught:
        service.await_health(StopSignals())
    assert "ended with status 3" in str(caught.value)
    assert "no such table" in str(caught.value)


def test_one_that_is_not_healthy_in_time_is_ended(make: Callable[..., Service]) -> None:
    service = make(_FOREVER, healthy=lambda: False, within=0.3)
    service.start()
    pid = service.pid
    with pytest.raises(ServiceFailed, match=r"within 0\.3 s"):
        service.await_health(StopSignals())
    assert not living([pid or 0])


def test_waiting_for_health_ends_when_somebody_asks_to_stop(make: Callable[..., Service]) -> None:
    service = make(_FOREVER, healthy=lambda: False)
    service.start()
    stop_signals = StopSignals()
    stop_signals.count = 1
    assert not service.await_health(stop_signals)


def test_one_that_ends_is_started_again_later_each_time(
    make: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(module, "pause_after", lambda ends: asked.append(ends) or 0.05)
    heard = Heard()
    service = make("raise SystemExit(1)", write_line=heard)
    service.start()

    def three_times() -> bool:
        service.restart_if_ended()
        return len(asked) >= 3

    wait_until(three_times, within=20, saying="it was started again twice")
    assert asked[:3] == [1, 2, 3]
    assert ("up", "beat ended with status 1; it is started again in 0.05 s") in heard


def test_one_that_runs_is_left_alone(make: Callable[..., Service]) -> None:
    service = make(_FOREVER)
    service.start()
    pid = service.pid
    service.restart_if_ended()
    service.restart_if_ended()
    assert service.pid == pid


def test_one_that_was_stopped_is_not_started_again(make: Callable[..., Service]) -> None:
    service = make(_FOREVER)
    service.start()
    service.stop(StopSignals())
    service.restart_if_ended()
    assert service.pid is None


def test_stop_ends_what_it_forked_too(make: Callable[..., Service]) -> None:
    service = make(_WITH_A_CHILD)
    service.start()
    group = service.pid

    def members() -> list[int]:
        return [pid for pid, seen in processes().items() if seen.group == group]

    wait_until(lambda: len(members()) == 2, within=10, saying="it has a child")
    service.stop(StopSignals())
    wait_until(lambda: not members(), within=5, saying="the group is empty")


def test_one_that_does_not_hear_is_killed_after_its_time(make: Callable[..., Service]) -> None:
    heard = Heard()
    stop_steps = (StopStep(signal.SIGTERM, 0.2), StopStep(signal.SIGKILL))
    service = make(_DEAF, write_line=heard, stop_steps=stop_steps)
    service.start()
    wait_until(lambda: heard, within=10, saying="it does not hear any more")
    pid = service.pid
    service.stop(StopSignals())
    assert not living([pid or 0])


def test_asking_once_more_hurries_the_stop(make: Callable[..., Service]) -> None:
    heard, stop_signals = Heard(), StopSignals()

    def write_line(name: str, line: str) -> None:
        heard(name, line)
        stop_signals.count += line == "no"  # whoever reads that asks again

    stop_steps = (StopStep(signal.SIGTERM, None), StopStep(signal.SIGKILL))
    service = make(_DEAF, write_line=write_line, stop_steps=stop_steps)
    service.start()
    wait_until(lambda: heard, within=10, saying="it does not hear any more")
    pid = service.pid
    service.stop(stop_signals)
    assert not living([pid or 0])
    assert stop_signals.count == 1


def test_its_environment_is_the_one_given(make: Callable[..., Service]) -> None:
    heard = Heard()
    make("import os; print(os.environ['WORD'])", write_line=heard, env={"WORD": "roots"}).start()
    wait_until(lambda: ("beat", "roots") in heard, within=10, saying="the variable was heard")


def test_ctrl_c_in_the_terminal_does_not_reach_it(make: Callable[..., Service]) -> None:
    service = make(_FOREVER)
    service.start()
    assert service.pid is not None
    assert os.getpgid(service.pid) == service.pid


def test_a_front_end_takes_another_port_when_its_own_is_taken() -> None:
    wanted = free_port()
    assert services.front_port(wanted) == wanted
    with socket.create_server(("127.0.0.1", wanted)):
        assert services.front_port(wanted) != wanted
    assert services.front_port(0) > 0


def test_flower_that_is_not_installed_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    assert services.without_what_is_missing(services.Options(), heard).flower
    monkeypatch.setitem(sys.modules, "flower", None)
    assert not services.without_what_is_missing(services.Options(), heard).flower
    said = "Flower is not installed: run `pip install 'celeriac[flower]'`; going on without it"
    assert heard == [("up", said)]


def test_files_keep_each_service_apart(tmp_path: Path) -> None:
    (tmp_path / "beat.log").write_text("from the run before\n")
    with LogFiles(tmp_path) as files:
        files("beat", "tick")
        files("worker", "ready")
        files("beat", "tock")
        assert (tmp_path / "beat.log").read_text() == "tick\ntock\n"  # already, for who looks on
    assert (tmp_path / "worker.log").read_text() == "ready\n"
