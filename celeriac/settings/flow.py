"""The settings of flow control; part of ``celeriac.settings.platform.Settings``."""

from __future__ import annotations

from pydantic import field_validator

from celeriac.errors import BadArgument
from celeriac.limits.ageing import Ageing
from celeriac.limits.fairness import Fairness
from celeriac.settings.environment import EnvironmentSettings


class FlowSettings(EnvironmentSettings):
    # whose jobs take turns in a queue, by commas: user_id, or an argument; imports=customer of one lane alone
    fair_by: tuple[str, ...] = ()
    fair_weights: tuple[str, ...] = ()  # turns of some of them, by commas: acme=3

    # seconds after which a waiting job moves up a level, by commas: of all lanes, or imports=600 of one
    ageing: tuple[str, ...] = ()

    @field_validator("fair_by", "fair_weights", "ageing", mode="before")
    @classmethod
    def _split_flow(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("fair_by")
    @classmethod
    def _fair_by(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            Fairness.parse(value, ())
        except BadArgument as exc:
            raise ValueError(str(exc.args[1])) from None
        return value

    @field_validator("fair_weights")
    @classmethod
    def _fair_weights(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            Fairness.parse((), value)
        except BadArgument as exc:
            raise ValueError(str(exc.args[1])) from None
        return value

    @field_validator("ageing")
    @classmethod
    def _ageing(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            Ageing.parse(value)
        except BadArgument as exc:
            raise ValueError(str(exc.args[1])) from None
        return value

    @property
    def fairness(self) -> Fairness:
        """Whose jobs take turns, and how many."""
        return Fairness.parse(self.fair_by, self.fair_weights)
