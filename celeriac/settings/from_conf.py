"""The platform's settings in a Celery configuration: ``celeriac_x``, and what Celery has a name for."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from celeriac import addresses
from celeriac.errors import BadAddress, SettingsError
from celeriac.settings.platform import Settings, variable

_PREFIX = "celeriac_"

#: All of them in one mapping, as applications of Django are configured.
_MAPPING = "CELERIAC"

#: Fields that are set by Celery's own names, where the environment goes first, as in Celery.
_OF_CELERY = {"broker_url": "broker_url", "result_backend": "result_backend"}

#: Options of Celery's that hold a prefix of keys, ``global_keyprefix``. There is one prefix for everything.
_PREFIXED = ("broker_transport_options", "result_backend_transport_options")

#: Settings of Celery that say the same as one of ours.
_ALIKE = {
    "worker_prefetch_multiplier": "prefetch",
    "task_time_limit": "hard_limit",
    "security_key": "signing_key",
    "security_certificate": "signing_certificate",
    "security_cert_store": "signing_cert_store",
}


def given(theirs: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``Settings`` that are not left to the environment.

    Args:
        theirs: what the team has set.
        defaults: of this app, for where the environment says nothing.

    Raises:
        SettingsError: a name that there is not, or the same thing said twice.
    """
    mapping = _mapping(theirs)
    problems = [*_unknown(theirs), *_unknown_in(mapping)]
    problems += [*_said_twice(theirs, mapping), *_bad_prefixes(theirs)]
    if problems:
        raise SettingsError(problems)
    return {field: each.value for field, each in _stated(theirs, defaults).items()}


def origins(theirs: Any, defaults: Mapping[str, Any]) -> dict[str, str]:
    """Where each field is set that is not left to the environment: ``the app``, or the name of a setting."""
    return {field: each.where for field, each in _stated(theirs, defaults).items()}


class _Stated(NamedTuple):
    where: str
    value: Any


def _stated(theirs: Any, defaults: Mapping[str, Any]) -> dict[str, _Stated]:
    """The fields that are set here; of two that say the same, the one that holds."""
    mapping = _mapping(theirs)
    found = {
        name: _Stated("the app", defaults[name]) for name in defaults if not os.environ.get(variable(name))
    }
    for name, field in _ALIKE.items():
        if theirs.get(name) is not None:
            found[field] = _Stated(name, theirs[name])
    for field in _own_fields():
        if (value := theirs.get(_own_name(field))) is not None:
            found[field] = _Stated(_own_name(field), value)
        elif (value := mapping.get(_short(field))) is not None:
            found[field] = _Stated(f"{_MAPPING}[{_short(field).upper()!r}]", value)
    if "prefix" not in found and not os.environ.get(variable("prefix")):
        found.update(("prefix", _Stated(name, value)) for name, value in _prefixes(theirs).items())
    for field, name in _OF_CELERY.items():
        if not os.environ.get(variable(field)) and (value := _address(theirs, name)):
            found[field] = _Stated(name, value)
    return found


def other_prefixes(theirs: Any, prefix: str) -> Iterator[str]:
    """What Celery's own options say of the prefix, where it is not ``prefix``, one sentence each."""
    for name, value in _prefixes(theirs).items():
        if value != prefix:
            found = f"found {value!r}, and elsewhere {prefix!r}" if prefix else f"found {value!r}"
            yield f"{name}: global_keyprefix: {found}; there is one prefix for all: set celeriac_prefix alone"


def _bad_prefixes(theirs: Any) -> Iterator[str]:
    for name, value in _prefixes(theirs).items():
        try:
            addresses.check_prefix(str(value))
        except BadAddress as exc:
            yield f"{name}: global_keyprefix: {exc}"


def _prefixes(theirs: Any) -> dict[str, Any]:
    options = {name: theirs.get(name) for name in _PREFIXED}
    return {
        name: each["global_keyprefix"]
        for name, each in options.items()
        if isinstance(each, Mapping) and each.get("global_keyprefix")
    }


def _address(theirs: Any, name: str) -> Any:
    value = theirs.get(name)
    if value is None and name == "broker_url":
        value = theirs.get("broker_host")
    return ";".join(value) if isinstance(value, list | tuple) else value


def _own_name(field: str) -> str:
    """A field's name in a Celery configuration.

    >>> _own_name("max_tries"), _own_name("database_schema")
    ('celeriac_max_tries', 'celeriac_schema')
    """
    return variable(field).lower()


def _short(field: str) -> str:
    """A field's name in a mapping of the platform's settings."""
    return _own_name(field).removeprefix(_PREFIX)


def _own_fields() -> list[str]:
    return [field for field in Settings.model_fields if field not in _OF_CELERY]


def _mapping(theirs: Any) -> dict[str, Any]:
    """What a mapping named CELERIAC says, by its names in lower case."""
    found: Any = next((value for layer in theirs.maps if (value := layer.get(_MAPPING)) is not None), {})
    if not isinstance(found, Mapping):
        raise SettingsError([f"{_MAPPING}: wanted a mapping of settings, found {type(found).__name__}"])
    return {str(name).lower(): value for name, value in found.items()}


def _unknown_in(mapping: Mapping[str, Any]) -> Iterator[str]:
    known = [_short(field) for field in _own_fields()]
    for name in mapping.keys() - {*known}:
        instead = f"CELERY_{name.upper()}" if name in _OF_CELERY else None
        yield f"{_MAPPING}[{name.upper()!r}]: there is no such setting{_hint(name, known, instead)}"


def _hint(name: str, known: Sequence[str], instead: str | None) -> str:
    if instead is not None:
        return f"; it is Celery's: {instead}"
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0].upper()}?" if nearest else ""


def _unknown(theirs: Any) -> Iterator[str]:
    prefix = (theirs.prefix or "").lower()
    known = [_own_name(field) for field in _own_fields()]
    for key in sorted({str(key) for layer in theirs.maps for key in layer}):
        name = key.lower().removeprefix(prefix)
        if name.startswith(_PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            yield f"{key}: there is no such setting{f'; did you mean {nearest[0]}?' if nearest else ''}"


def _said_twice(theirs: Any, mapping: Mapping[str, Any]) -> Iterator[str]:
    for field, value in mapping.items():
        other = theirs.get(_PREFIX + field)
        if other is not None and value is not None and str(other) != str(value):
            yield f"{_PREFIX}{field} and {_MAPPING}[{field.upper()!r}] are the same setting, and differ"
    for name, field in {**_ALIKE, "result_expires": "result_ttl"}.items():
        ours = theirs.get(_own_name(field))
        if theirs.get(name) is not None and ours is not None and str(ours) != str(theirs[name]):
            yield f"{name} and {_PREFIX}{field} are the same setting, and differ: keep one of them"


def named(field: str, given: Mapping[str, Any]) -> Any:
    """What the project says of a field, in its configuration or in the variable that is ours."""
    return given.get(field) or os.environ.get(variable(field))
