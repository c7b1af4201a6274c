"""Somebody who may use the console, and why somebody else may not now."""

from __future__ import annotations

from dataclasses import dataclass

from celeriac.console.access.roles import Role


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may use the console.

    Attributes:
        key: to which tokens of forms are bound; empty: the request did not come from a browser.
    """

    name: str
    role: Role
    key: str


class TooManyTries(Exception):
    """Passwords are being tried."""

    def __init__(self, wait: float) -> None:
        super().__init__(wait)
        self.wait = max(1, round(wait))

    @property
    def sentence(self) -> str:
        return f"too many wrong passwords: try again in {self.wait} s"


class TooOften(TooManyTries):
    """One token sends more requests than it may."""

    def __init__(self, wait: float, rate: float) -> None:
        super().__init__(wait)
        self._rate = rate

    @property
    def sentence(self) -> str:
        return (
            f"more than {self._rate:g} requests a second of this token (CELERIAC_CONSOLE_API_RATE): "
            f"try again in {self.wait} s"
        )


class BadToken(Exception):
    """A token of the API cannot be used."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
