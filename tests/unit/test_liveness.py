"""The liveness file: what it says of a process, and what readers conclude from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from celeriac.observe import liveness, probes
from celeriac.observe.liveness import Health, LivenessReport, LivenessReporter, judge
from celeriac.settings.platform import Settings
from tests.servers import free_port
from tests.support import wait_until

WELL = LivenessReport(role="worker", host="h", pid=1, written=1000, loop=1, ledger=2, connected=True)


def test_a_process_that_is_well_is_live_and_ready() -> None:
    assert judge(WELL, now=1002, silence=12) == Health(live=True, ready=True)


@pytest.mark.parametrize(
    ("change", "live", "reason"),
    [
        ({"written": 980}, False, "said nothing for 22 s"),
        ({"loop": 61}, False, "its loop has not turned for 61 s"),
        ({"ledger": None}, True, "the ledger does not answer"),
        ({"ledger": 13}, True, "the ledger does not answer"),
        ({"connected": False}, True, "no connection to the broker"),
        ({"trouble": "outcomes cannot be written for 9 s"}, True, "cannot be written"),
    ],
)
def test_a_process_that_is_ill_is_told_why(change: dict[str, Any], live: bool, reason: str) -> None:
    found = judge(replace(WELL, **change), now=1002, silence=12)
    assert (found.live, found.ready) == (live, False)
    assert reason in str(found.reason)


def settings(tmp_path: Path, **more: object) -> Settings:
    return Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0", **more)


def test_it_is_written_while_the_process_runs_and_gone_afterwards(tmp_path: Path) -> None:
    beating = LivenessReporter("beat", settings(tmp_path))
    beating.start()
    beating.ledger_answered()
    wait_until(lambda: list(liveness.known(tmp_path)), within=5, saying="it is written")
    (found,) = liveness.known(tmp_path, role="beat")
    assert (found.role, found.pid, found.loop < 5) == ("beat", os.getpid(), True)
    assert list(liveness.known(tmp_path, role="worker")) == []
    beating.stop()
    assert list((tmp_path / "health").iterdir()) == []


def test_a_loop_that_waits_for_the_broker_is_not_stuck(tmp_path: Path) -> None:
    connected = False
    beating = LivenessReporter("worker", settings(tmp_path), connected=lambda: connected)
    beating._last_turn -= 100
    assert beating.report().loop == 0
    connected = True
    beating._last_turn -= 100
    assert beating.report().loop > 99
    beating.loop_turned()
    assert beating.report().loop < 5


def test_those_that_are_gone_or_elsewhere_are_not_seen(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = LivenessReporter("worker", settings(tmp_path)).report()
    (tmp_path / "health").mkdir()
    for number, each in enumerate([replace(mine, pid=gone.pid), replace(mine, host="elsewhere"), mine]):
        text = json.dumps({name: getattr(each, name) for name in LivenessReport.__slots__})
        (tmp_path / "health" / f"worker-x-{number}.json").write_text(text)
    (tmp_path / "health" / "worker-x-9.json").write_text("{")
    assert [each.pid for each in liveness.known(tmp_path)] == [os.getpid()]


def ask(port: int, path: str) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_probes_answer_over_http(tmp_path: Path) -> None:
    beating, port = LivenessReporter("worker", settings(tmp_path)), free_port()
    server = probes.serve(settings(tmp_path, health_port=port), beating)
    assert server is not None
    try:
        assert ask(port, "/live")[0] == 200
        status, body = ask(port, "/ready")
        assert (status, json.loads(body)["reason"]) == (503, "the ledger does not answer it")
        beating.ledger_answered()
        assert ask(port, "/ready")[0] == 200
        assert ask(port, "/secrets")[0] == 404
        assert probes.serve(settings(tmp_path, health_port=port), beating) is None, "the port is taken"
    finally:
        server.stop()


def test_no_port_is_opened_unasked(tmp_path: Path) -> None:
    assert probes.serve(settings(tmp_path), LivenessReporter("worker", settings(tmp_path))) is None
