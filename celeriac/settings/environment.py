"""Read the fields of a model from the environment.

pydantic-settings can do this, and much else. To import it takes a fifth of a command's imports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from functools import cache
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict

PREFIX = "CELERIAC_"


class EnvironmentSettings(BaseModel):
    """Settings: each field is read from its variable, unless it is given. An empty variable is an unset one.

    A list is one text here; the field's own validator splits it.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, validate_default=True, defer_build=True
    )

    def __init__(self, **given: Any) -> None:
        super().__init__(**dict(self._found(os.environ, besides=given.keys())), **given)

    @classmethod
    @cache  # it is asked of each field several times
    def variables(cls, field: str) -> tuple[str, ...]:
        """The variables that a field is read from; the first that is set wins."""
        alias = cls.model_fields[field].validation_alias
        if isinstance(alias, AliasChoices):
            return tuple(map(str, alias.choices))
        return (str(alias or f"{PREFIX}{field.upper()}"),)

    @classmethod
    def _found(cls, environment: Mapping[str, str], *, besides: Set[str]) -> Iterator[tuple[str, str]]:
        known = {name.upper(): value for name, value in environment.items() if value}
        for field in cls.model_fields:
            names = cls.variables(field)
            if field in besides or not besides.isdisjoint(names):
                continue
            if (value := next((known[name] for name in names if name in known), None)) is not None:
                yield field, value
