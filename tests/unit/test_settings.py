"""The environment, read once and checked whole."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from celery.app.backends import by_url
from celery.backends.base import DisabledBackend

from celeriac.errors import SettingsError
from celeriac.settings.platform import EmbeddedAddress, Settings, free_port, read_settings


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment in which nothing is set but the data directory."""
    for name in os.environ:
        if name.startswith(("CELERY_", "CELERIAC_")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CELERIAC_DATA_DIR", str(tmp_path))


def given(monkeypatch: pytest.MonkeyPatch, **variables: Any) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    return read_settings()


def test_with_nothing_set_everything_is_private_and_below_the_data_directory(tmp_path: Path) -> None:
    settings = read_settings()
    assert settings.embedded_broker
    assert settings.database.database == str(tmp_path / "ledger.db")
    address = settings.embedded
    assert settings.broker == f"redis://:{address.password}@127.0.0.1:{address.port}/0"
    urls = (settings.broker, settings.results, settings.schedules_store)
    assert [url.rpartition("/")[2] for url in urls] == ["0", "1", "2"]


def test_each_url_takes_the_place_of_its_part_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = given(monkeypatch, DATABASE_URL="sqlite:////else/where.db")
    assert settings.embedded_broker
    assert settings.database.database == "/else/where.db"
    settings = given(monkeypatch, CELERY_RESULT_BACKEND="redis://results:6379/4")
    assert settings.embedded_broker
    assert settings.results == "redis://results:6379/4"


@pytest.mark.parametrize(
    "spelling",
    ["disabled", "disabled://", "disabled://host/0", "celery.backends.base:DisabledBackend"],
)
def test_there_may_be_no_result_store(monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    assert by_url(spelling)[0] is DisabledBackend  # as Celery reads it
    settings = given(monkeypatch, CELERY_BROKER_URL="redis://host", CELERY_RESULT_BACKEND=spelling)
    assert (settings.keeps_results, settings.results) == (False, "disabled://")


def test_results_and_schedules_follow_the_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = given(monkeypatch, CELERY_BROKER_URL="redis://host:6379/3")
    assert not settings.embedded_broker
    assert {settings.broker, settings.results, settings.schedules_store} == {"redis://host:6379/3"}
    assert not EmbeddedAddress.path(tmp_path).exists()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_is_psycopg_3(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    settings = given(monkeypatch, DATABASE_URL=f"{scheme}://me:secret@host/name")
    assert (
        settings.database.render_as_string(hide_password=False) == "postgresql+psycopg://me:secret@host/name"
    )


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(monkeypatch, CELERY_BROKER_URL="", CELERIAC_MAX_TRIES="")
    assert settings.embedded_broker
    assert settings.max_tries == 5


def test_task_modules_are_given_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(monkeypatch, CELERIAC_TASK_MODULES="tasks, mail.tasks,")
    assert settings.task_modules == ("tasks", "mail.tasks")


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("CELERY_BROKER_URL", "amqp://host", "'amqp'"),
        ("CELERY_RESULT_BACKEND", "db+sqlite:///x", "'db+sqlite'"),
        ("DATABASE_URL", "mysql://host/name", "'mysql'"),
        ("DATABASE_URL", "not a url", "wanted a database URL"),
        ("DATABASE_URL", "sqlite://", "memory"),
        ("DATABASE_URL", "sqlite:///:memory:", "memory"),
        ("CELERIAC_MAX_TRIES", "0", "greater than or equal to 1"),
        ("CELERIAC_RETRY_JITTER", "2", "less than or equal to 1"),
        ("CELERIAC_LOW_SHARE", "0.6", "less than or equal to 0.5"),
        ("CELERIAC_FLOWER_PORT", "70000", "65535"),
        ("CELERIAC_LOG_FORMAT", "xml", "'xml'"),
        ("CELERIAC_HEARTBEAT", "5", "CELERIAC_WORKER_TIMEOUT"),
        ("CELERIAC_SIGNING_KEY", "k", "missing: CELERIAC_SIGNING_CERTIFICATE, CELERIAC_SIGNING_CERT_STORE"),
        ("CELERIAC_SIGNING_CERT_STORE", "d", "missing: CELERIAC_SIGNING_KEY, CELERIAC_SIGNING_CERTIFICATE"),
    ],
)
def test_a_bad_value_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, part: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        given(monkeypatch, **{variable: value})
    (problem,) = caught.value.problems
    assert variable in problem
    assert part in problem


def test_all_problems_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        given(monkeypatch, CELERIAC_MAX_TRIES="none", DATABASE_URL="mysql://h/n", CELERIAC_PREFETCH="0")
    assert len(caught.value.problems) == 3
    assert str(caught.value).startswith("the settings have 3 problems:\n")


def test_contradictions_are_told_with_the_other_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        given(
            monkeypatch,
            CELERIAC_MAX_TRIES="none",
            CELERY_BROKER_URL="amqp://host",
            CELERIAC_HEARTBEAT="20",
            CELERIAC_SIGNING_KEY="k",
            CELERIAC_HAERTBEAT="3",
        )
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5, told
    for part in (
        "CELERIAC_HAERTBEAT",
        "MAX_TRIES",
        "BROKER_URL",
        "a third of",
        "missing: CELERIAC_SIGNING_C",
    ):
        assert part in told


def test_contradictions_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        given(monkeypatch, CELERIAC_HEARTBEAT="20", CELERIAC_SIGNING_KEY="k")
    assert len(caught.value.problems) == 2


def test_nothing_is_said_of_a_bad_value_and_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in its place is not what was asked for."""
    with pytest.raises(SettingsError) as caught:
        given(monkeypatch, CELERIAC_HEARTBEAT="x", CELERIAC_WORKER_TIMEOUT="4")
    assert len(caught.value.problems) == 1


def test_files_that_cannot_be_read_are_told_with_the_other_problems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {f"CELERIAC_SIGNING_{name}": tmp_path / "none" for name in ("KEY", "CERTIFICATE", "CERT_STORE")}
    with pytest.raises(SettingsError) as caught:
        given(monkeypatch, CELERIAC_MAX_TRIES="none", **files)
    told = [problem.partition(":")[0] for problem in caught.value.problems]
    assert told == ["CELERIAC_MAX_TRIES", *files]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CELERIAC_HAERTBEAT", "did you mean CELERIAC_HEARTBEAT?"),
        ("CELERIAC_BROKER_URL", "did you mean CELERY_BROKER_URL?"),
        ("celeriac_max_trys", "did you mean CELERIAC_MAX_TRIES?"),
        ("CELERIAC_XYZ", "there is no such setting"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        given(monkeypatch, **{name: "redis://host"})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{name}: there is no such setting")
    assert said in problem


def test_every_setting_of_ours_is_a_known_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {name for name, field in Settings.model_fields.items() if field.validation_alias is None}
    given(monkeypatch, **{f"CELERIAC_{name.upper()}": "" for name in names}, OTHER_HEARTBEAT="x")


def test_a_password_is_never_in_the_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        given(
            monkeypatch, CELERY_BROKER_URL="amqp://me:hunter2@host", DATABASE_URL="mysql://me:hunter2@host/n"
        )
    assert "hunter2" not in str(caught.value)


def test_a_password_is_not_in_what_settings_show(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = given(
        monkeypatch, CELERY_BROKER_URL="redis://:hunter2@host", DATABASE_URL="postgresql://me:hunter2@h/n"
    )
    assert "hunter2" not in repr(settings)


def test_settings_do_not_change() -> None:
    settings = read_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.max_tries = 7  # type: ignore[misc]


def test_the_address_is_chosen_once(tmp_path: Path) -> None:
    first, second = EmbeddedAddress.at(tmp_path), EmbeddedAddress.at(tmp_path)
    assert (first.port, first.password) == (second.port, second.password)


def test_only_its_owner_may_read_the_address(tmp_path: Path) -> None:
    EmbeddedAddress.at(tmp_path / "data")
    path = EmbeddedAddress.path(tmp_path / "data")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_first_to_write_an_address_wins(tmp_path: Path) -> None:
    path = EmbeddedAddress.path(tmp_path)
    EmbeddedAddress(16_001, "first").write(path)
    EmbeddedAddress(16_002, "second").write(path)
    assert EmbeddedAddress.read(path).password == "first"
    EmbeddedAddress(16_003, "third").write(path, replace=True)
    assert EmbeddedAddress.read(path).password == "third"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # no draft is left


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", json.dumps({"port": "x", "password": "y"})])
def test_a_damaged_address_is_refused_with_the_remedy(tmp_path: Path, text: str) -> None:
    path = EmbeddedAddress.path(tmp_path)
    path.write_text(text)
    with pytest.raises(SettingsError, match="delete it"):
        EmbeddedAddress.at(tmp_path)


def test_a_free_port_can_be_listened_on_and_is_not_for_outgoing_connections() -> None:
    for port in (free_port() for _ in range(20)):
        assert 1024 < port < 32_768
        with socket.create_server(("127.0.0.1", port)):
            pass
