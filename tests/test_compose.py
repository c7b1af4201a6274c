"""docker-compose.yml and the Dockerfile: what they say holds together, and hides what is secret."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.bin.celery import celery

from celeriac.settings.platform import Settings

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "worker", "beat", "flower", "console")
#: Variables without which the platform runs; all others are secrets that it needs.
NOT_NEEDED = {
    "EXTRAS",
    "CONSOLE_URL",
    "ALERT_WEBHOOK",
    "ALERT_WEBHOOK_SECRET",
    "ALERT_SLACK",
    "ALERT_EMAIL",
    "SMTP_URL",
}
DOCKERFILE = (ROOT / "Dockerfile").read_text()

every_service = pytest.mark.parametrize("name", SERVICES)


def seconds(span: str) -> int:
    return int(span.removesuffix("s"))


def test_every_part_is_there() -> None:
    assert set(SERVICES) == {"valkey", "postgres", *OURS}
    assert SERVICES["beat"]["deploy"]["replicas"] == 2


def test_the_file_is_what_the_compose_specification_allows() -> None:
    """Its JSON schema comes with check-jsonschema: nothing is fetched."""
    argv = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    told = subprocess.run([*argv, ROOT / "docker-compose.yml"], capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stdout


@every_service
def test_a_service_is_its_own_process_below_an_init(name: str) -> None:
    service = SERVICES[name]
    assert service["init"] is True
    assert isinstance(service.get("command", []), list), "a shell would keep the signals to itself"
    assert service.get("healthcheck", {"test": ["CMD"]})["test"][0] == "CMD"


@every_service
def test_a_service_waits_for_what_is_healthy(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other == "migrate" else "service_healthy"
        assert how == {"condition": wanted}
        assert other == "migrate" or "healthcheck" in SERVICES[other]
    if name in ("worker", "beat", "flower", "console"):
        assert "migrate" in SERVICES[name]["depends_on"]
        assert "healthcheck" in SERVICES[name]


def test_a_worker_has_longer_to_end_than_anything_else() -> None:
    """SIGTERM lets running jobs end; Docker's own ten seconds would cut most of them short."""
    spans = {name: seconds(service.get("stop_grace_period", "10s")) for name, service in SERVICES.items()}
    assert "stop_signal" not in SERVICES["worker"]
    assert spans["worker"] >= 120
    assert spans["worker"] == max(spans.values())


def test_the_broker_keeps_what_it_has() -> None:
    words = SERVICES["valkey"]["command"]
    told = dict(zip(words[1::2], words[2::2], strict=True))
    assert (told["--appendonly"], told["--maxmemory-policy"]) == ("yes", "noeviction")
    assert told["--requirepass"].startswith("${VALKEY_PASSWORD:?")


def test_secrets_come_from_the_environment_and_must_be_set() -> None:
    asked = set(re.findall(r"\$\{(\w+)", TEXT)) - NOT_NEEDED
    assert asked == set(re.findall(r"\$\{(\w+):\?", TEXT)), "one has a default"
    example = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text().splitlines()
        if line and line[0] != "#"
    )
    assert example.keys() == asked | NOT_NEEDED
    assert set(example.values()) == {""}


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_what_exists_with_what_is_known(name: str) -> None:
    service = SERVICES[name]
    assert service["command"][0] in celery.commands
    known = {f"CELERIAC_{field.upper()}" for field in Settings.model_fields}
    known |= {"CELERY_BROKER_URL", "DATABASE_URL", "FLOWER_BASIC_AUTH"}
    assert service["environment"].keys() <= known
    assert service["read_only"] is True


def test_only_front_ends_are_reachable_and_only_from_this_machine() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"flower": ["127.0.0.1:5555:5555"], "console": ["127.0.0.1:5556:5556"]}


def test_the_image_is_built_in_stages_and_run_by_nobody_special() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(stages) == 2
    assert all(stage.endswith("-slim") for stage in stages)
    last = DOCKERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    for instruction in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(re.findall(rf"^{instruction} (.*)$", last, re.MULTILINE)[0]), list)


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    copied = [word for line in re.findall(r"^COPY ([^-].*)$", DOCKERFILE, re.M) for word in line.split()[:-1]]
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_has_the_extras_that_it_is_asked_for() -> None:
    known = configparser.ConfigParser()
    known.read(ROOT / "setup.cfg")
    (given,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert set(given.split(",")) <= set(known["options.extras_require"])
    built = DOCKERFILE.partition("ARG EXTRAS")[2].partition("FROM ")[0]
    assert '".[${EXTRAS}]"' in built  # an ARG is known behind its line, and in its own stage only
    for name in OURS:
        assert SERVICES[name]["build"]["args"] == {"EXTRAS": f"${{EXTRAS:-{given}}}"}
