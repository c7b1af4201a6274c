"""The queues of an app, as Celery asks for them: lanes by name, and the lists that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from celery.app.amqp import Queues as CeleryQueues
from kombu import Queue
from kombu.utils.functional import maybe_list

from celeriac.errors import BadArgument
from celeriac.ledger.schema.lanes import DEFAULT, Lanes, check, place_of
from celeriac.priorities import LEVELS


class Queues(CeleryQueues):
    """The lists of every lane that is known, by name. A lane's own name is understood, too.

    Attributes:
        lanes: what names mean here.
        named: names of queues that are declared elsewhere than in ``task_queues``: in routes, by tasks.
    """

    lanes: Lanes

    def __init__(self, queues: Any = None, *args: Any, **options: Any) -> None:
        self.named: Callable[[], Iterable[object]] = tuple
        self._of_lane: dict[str, Queue] = {}  # what Celery is given for a lane's own name
        self._declared: dict[str, None] = {}  # the lanes that are drawn from where -Q names none
        self._left_out: set[str] = set()
        self.lanes = Lanes.among(names_of(queues))
        super().__init__(queues, *args, **options)

    # ---- which there are

    def declare(self, name: str) -> str:
        """Declare the lane of ``name``: a worker without -Q draws from it. Return its name.

        Raises:
            BadArgument: it cannot be the name of a queue.
        """
        lane = self.lanes.place(check(name)).lane
        self._make(lane)
        self._declared.setdefault(lane)
        return lane

    def declare_named(self) -> None:
        """Declare what is named elsewhere by now: tasks are imported late."""
        for name in map(_name, self.named()):
            if name:
                self.declare(name)

    def declared_lanes(self) -> list[str]:
        """The lanes that this app declares, the default one first where it is among them."""
        self.declare_named()
        return sorted(self._declared, key=lambda lane: lane != DEFAULT)

    def require(self, name: str) -> str:
        """``name``, checked: it is known, or may be made.

        Raises:
            BadArgument: neither.
        """
        check(name)
        if name not in self and not self.create_missing:
            known = ", ".join(self.declared_lanes())
            raise BadArgument(
                "queue", f"wanted one of {known} (declare others in task_queues), found {name!r}"
            )
        return name

    def bound(self, exchange: Any, routing_key: Any) -> str:
        """The lane of the queue that is declared with this direct exchange and this routing key.

        Raises:
            BadArgument: there is none.
        """
        name = str(getattr(exchange, "name", exchange))
        for lane, queue in self._of_lane.items():
            if (
                queue.exchange is not None
                and queue.exchange.name == name
                and queue.routing_key == routing_key
            ):
                return lane
        wanted = f"no queue is declared with the exchange {name!r} and the routing key {routing_key!r}"
        raise BadArgument("exchange", f"{wanted}; give queue= or priority=")

    def lists(self, name: str) -> tuple[str, ...]:
        """The lists for which ``name`` stands; it may be an alias of a declared queue."""
        alias = self.aliases.get(name)
        return self.lanes.lists(name if alias is None else alias.name)

    def _add(self, queue: Any) -> Any:
        lane = self.declare(declared_name(queue))
        if place_of(queue.name).level is None:
            self._of_lane[lane] = queue
            self._of_lane[queue.name] = queue
        if queue.alias:
            self.aliases[queue.alias] = queue
        return queue

    def _make(self, lane: str) -> None:
        if lane in self._of_lane:
            return
        self._of_lane[lane] = Queue(lane, routing_key=lane)
        for each in self.lanes.lists(lane):
            super().__setitem__(each, Queue(each, routing_key=each))

    def __setitem__(self, name: str, queue: Any) -> None:
        self._add(queue)

    def __missing__(self, name: str) -> Any:
        if (known := self._of_lane.get(name)) is not None:
            return known
        place = self.lanes.place(check(name))
        if place.lane not in self._of_lane and not (self.create_missing or name in self):
            raise KeyError(name)
        self._make(place.lane)
        if place.level is not None:
            return super().__getitem__(self.lanes.list_for(name))
        return self._of_lane.setdefault(name, self._of_lane[place.lane])

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name) or name in self._of_lane or name in self.aliases:
            return True
        if not isinstance(name, str) or not name:
            return False
        lane = self.lanes.place(name).lane
        if lane not in self._of_lane:
            self.declare_named()
        return lane in self._of_lane or lane == DEFAULT

    def keys(self) -> Any:
        """The lists of all lanes; for ``celery purge``."""
        self.declare_named()
        return super().keys()

    # ---- which are consumed

    @property
    def consume_from(self) -> dict[str, Any]:
        """The lists that a worker draws from, by name: those of -Q, or of every lane that is declared."""
        if self._consume_from is not None:
            chosen: dict[str, Any] = self._consume_from
            return chosen
        lists = [each for lane in self.declared_lanes() for each in self.lanes.lists(lane)]
        return {each: self[each] for each in lists if each not in self._left_out}

    def settle(self) -> None:
        """From now on only ``select_add`` and ``deselect`` change what is consumed: the worker has begun."""
        self._consume_from = self.consume_from

    def select(self, include: Any) -> None:
        if include:
            names = maybe_list(include)
            for name in names:
                _ = self[name]  # a KeyError, where it is neither known nor made
            self._consume_from = {each: self[each] for name in names for each in self.lists(name)}

    def select_add(self, queue: Any, **options: Any) -> Any:
        name = _name(queue)
        if place_of(name).level is None and name not in self:
            self.add(queue, **options)
        for each in self.lists(name):
            self._left_out.discard(each)
            if self._consume_from is not None:
                self._consume_from[each] = self[each]
            else:
                self._declared.setdefault(self.lanes.place(each).lane)
        return self[name]

    def deselect(self, exclude: Any) -> None:
        for each in (each for name in maybe_list(exclude) or () for each in self.lists(name)):
            self._left_out.add(each)
            if self._consume_from is not None:
                self._consume_from.pop(each, None)


def names_of(queues: Any) -> list[str]:
    """The names in ``task_queues``, whatever form it has."""
    return [str(name) for name in map(_name, queues or ()) if name]


def declared_name(queue: Any) -> str:
    """The name of a queue in ``task_queues``, checked.

    Raises:
        BadArgument: it can be no lane: by its name, or because its exchange is not direct.
    """
    name = check(_name(queue), option="task_queues")
    lane, level = place_of(name)
    if level is not None and name not in LEVELS:
        sentence = (
            f"{name!r} is the level {level} of the lane {lane!r}: a lane's name must not end in a level"
        )
        raise BadArgument("task_queues", f"{sentence}; declare {lane!r}")
    kind = getattr(getattr(queue, "exchange", None), "type", None) or "direct"
    if kind != "direct":
        raise BadArgument(
            "task_queues", f"a queue is addressed by its name, through a direct exchange; {name!r} has {kind}"
        )
    return name


def problems(queues: Any) -> Iterator[str]:
    """What of ``task_queues`` cannot be obeyed, a sentence for each queue."""
    entries = (
        queues.items() if isinstance(queues, Mapping) else ((_name(each), each) for each in queues or ())
    )
    for name, each in entries:
        try:
            if isinstance(each, Mapping):
                options = {key: value for key, value in each.items() if key != "name"}
                each = Queue.from_dict(name, **options)
            declared_name(each)
        except (BadArgument, TypeError, AttributeError) as exc:
            yield str(exc) if isinstance(exc, BadArgument) else f"task_queues: {name!r} is no queue: {exc}"


def named_in_routes(routes: Any) -> Iterator[object]:
    """The queues in ``task_routes`` that are written there; what a function returns is known when it does."""
    if isinstance(routes, Mapping):
        yield from _named_in_map(routes.values())
    elif isinstance(routes, list | tuple):
        for each in routes:
            if isinstance(each, Mapping):
                yield from _named_in_map(each.values())
            elif isinstance(each, list | tuple):
                yield from _named_in_map(pair[1] for pair in each if len(pair) == 2)


def _named_in_map(targets: Iterable[Any]) -> Iterator[object]:
    for target in targets:
        if isinstance(target, str):
            yield target
        elif isinstance(target, Mapping) or (isinstance(target, list | tuple) and target):
            yield dict(target).get("queue")


def _name(queue: Any) -> Any:
    return getattr(queue, "name", queue)
