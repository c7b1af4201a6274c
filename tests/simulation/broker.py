"""A broker of FIFO queues that loses, delays and doubles messages, refuses some, and forgets everything."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from tests.simulation.driver import Clock

QUEUES = ("high", "normal")


class BrokerFault(Exception):
    """The broker did not say that it took the message."""


@dataclass(frozen=True, slots=True)
class Message:
    job: UUID
    task: str
    queue: str


@dataclass(slots=True)
class Broker:
    """``faults`` is the share of messages that something happens to."""

    random: Random
    clock: Clock
    faults: float
    queues: dict[str, deque[Message]] = field(default_factory=lambda: {queue: deque() for queue in QUEUES})
    late: list[tuple[float, Message]] = field(default_factory=list)

    def publish(self, message: Message) -> None:
        fate = self.random.choice(("lose", "double", "delay", "refuse", "take")) if self._faulty() else ""
        if fate == "refuse":
            raise BrokerFault
        if fate == "delay":
            self.late.append((self.clock.seconds + self.random.uniform(0.1, 30), message))
        elif fate != "lose":
            self.queues[message.queue].extend([message] * (2 if fate == "double" else 1))
        if fate == "take":  # and its answer is lost
            raise BrokerFault

    def pop(self, queue: str) -> Message:
        return self.queues[queue].popleft()

    def filled(self) -> Sequence[str]:
        return [queue for queue in QUEUES if self.queues[queue]]

    def empty(self, queue: str) -> bool:
        return not self.queues[queue]

    def flush(self) -> None:
        for messages in self.queues.values():
            messages.clear()

    def arrive(self) -> None:
        """Deliver what was delayed until now."""
        if not self.late:
            return
        now = self.clock.seconds
        for moment, message in self.late:
            if moment <= now:
                self.queues[message.queue].append(message)
        self.late = [held for held in self.late if held[0] > now]

    def _faulty(self) -> bool:
        return self.random.random() < self.faults
