"""Schemathesis over the HTTP API: whatever its description allows, and what it does not, is never a 500.

Each operation is asked over a socket, by an admin, against a ledger that has a job in every state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.console import create
from celeriac.operate import dead_letters, tokens
from celeriac.operate.actions import Actor, Via
from celeriac.operate.dead_letters import Cause
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import users_file
from tests.serving import Serving

#: Requests of each operation; `make chaos` sends more.
EXAMPLES = int(os.environ.get("API_EXAMPLES", "8"))


#: Bodies that are accepted, to which fields by chance are added.
SOUND: dict[str, dict[str, Any]] = {
    "POST /jobs": {"task": "mail.send", "args": ["a"]},
    "PUT /schedules/{name}": {"task": "mail.send", "args": ["a"], "every": 60},
}


class Served:
    """A console with its API, and what is known of its ledger."""

    def __init__(self, app: Celeriac) -> None:
        self.full = stock.filled(app)
        schedules.register("poll/a b", "mail.send", args=["a"], every=60, app=app)
        actor = Actor("ann", Via.CLI)
        lasts = timedelta(days=1)
        self.token = tokens.create("fuzz", role="admin", lasts=lasts, actor=actor, app=app)
        self.group = Cause.of(dead_letters.groups(app=app)[0]).key
        self.serving = Serving(create(app))
        self.url = f"{self.serving.url}/api/v1"
        self.http = requests.Session()
        self.http.headers["authorization"] = f"Bearer {self.token}"
        self.description = self.http.get(f"{self.url}/openapi.json").json()

    def known(self, data: st.DataObject, path: str) -> dict[str, str]:
        """A value for each part of the path that the ledger knows."""
        ids = [str(row["id"]) for row in self.full.jobs]
        values = {"id": data.draw(st.sampled_from(ids)), "key": self.group, "name": "poll/a b"}
        return {name: value for name, value in values.items() if f"{{{name}" in path}

    def close(self) -> None:
        self.http.close()
        self.serving.stop()


@pytest.fixture
def served(redis_url: str, postgres_url: str, tmp_path: Path) -> Iterator[Served]:
    known: dict[str, Any] = {"broker_url": redis_url, "database_url": postgres_url}
    app = mail_app(
        Settings(**known, console_users=users_file(tmp_path), console_api_rate=10_000), name="fuzz"
    )
    made = Served(app)
    yield made
    made.close()
    app.close()


def test_no_request_is_a_fault_of_the_console(served: Served) -> None:
    schema = schemathesis.openapi.from_dict(served.description)
    asked: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        asked[operation.label] = fuzz(served, operation)
    assert len(asked) > 20
    assert [label for label, seen in asked.items() if not seen] == []
    done = {label for label, seen in asked.items() if min(seen) < 300}
    assert {"GET /jobs", "POST /jobs", "GET /jobs/{id}", "GET /stats", "PUT /schedules/{name}"} <= done


def fuzz(served: Served, operation: Any) -> set[int]:
    """Ask one operation; return the statuses that were answered."""
    seen: set[int] = set()
    ways = st.sampled_from(list(schemathesis.GenerationMode)).flatmap(
        lambda mode: operation.as_strategy(generation_mode=mode)
    )

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="API_EXAMPLES" not in os.environ,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=ways, data=st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            case.path_parameters = {**(case.path_parameters or {}), **served.known(data, operation.path)}
        if operation.label in SOUND and isinstance(case.body, dict) and data.draw(st.booleans()):
            others = sorted(case.body.keys() - SOUND[operation.label].keys())
            kept = data.draw(st.lists(st.sampled_from(others), max_size=2)) if others else []
            case.body = {**{name: case.body[name] for name in kept}, **SOUND[operation.label]}
        answer = case.call(base_url=served.url, session=served.http, timeout=60)
        seen.add(answer.status_code)
        check(case, answer)

    ask()
    return seen


def check(case: Any, answer: Any) -> None:
    told = f"{case.as_curl_command()}\n{answer.status_code} {answer.text[:2_000]}"
    assert answer.status_code < 500, told
    kind = answer.headers.get("content-type", [""])[0].partition(";")[0]
    if answer.status_code >= 400:
        assert kind == "application/problem+json", told
        assert answer.json()["detail"], told
    elif answer.status_code != 204:
        assert kind == "application/json", told


def test_the_description_names_every_operation_and_how_one_is_let_in(served: Served) -> None:
    described = served.description
    assert len(described["paths"]) > 20
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["security"] == [{"token": []}, {"password": []}], (method, path)
            for status in ("401", "403", "422", "429", "503"):
                content = operation["responses"][status]["content"]
                assert [*content] == ["application/problem+json"], (method, path, status)
