"""What a task's class declares, and what is put around what it declares of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from kombu.utils.imports import symbol_by_name

from celeriac.errors import BadArgument

#: What ``declared`` says of a name that nobody declares.
ABSENT = object()

#: Marks a ``__call__`` around which the attempt is recorded already.
_RECORDS = "celeriac_records"


def declared(kind: type, name: str, *, below: type, kept_as: str = "") -> Any:
    """What ``kind``, or the nearest of its bases below ``below``, declares as ``name``; or else ABSENT.

    Args:
        kept_as: where a class keeps a declaration that was seen before; it ends the search.
    """
    for base in kind.__mro__[: kind.__mro__.index(below)]:
        if kept_as in base.__dict__:
            return ABSENT
        if name in base.__dict__:
            return base.__dict__[name]
    return ABSENT


def refuses_late_acknowledgement(kind: type, *, below: type) -> bool:
    """Whether ``kind`` says so; a class that another app bound may have it from that app's settings."""
    for base in kind.__mro__[: kind.__mro__.index(below)]:
        if base.__dict__.get("acks_late") is not None:
            return base.__dict__["acks_late"] is False and not base.__dict__.get("__bound__")
    return False


def records(call: Any) -> bool:
    """Whether the attempt is recorded around this ``__call__``."""
    return hasattr(call, _RECORDS)


def recording(call: Callable[..., Any]) -> Callable[..., Any]:
    """A ``__call__`` of the author's own, with the attempt around it: it may end in ``self.run()``."""

    @wraps(call)
    def attempt(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = self.request_stack.top
        if request is None or request.called_directly or request.is_eager or inside(request):
            return call(self, *args, **kwargs)
        request.celeriac_inside = True
        return self._attempt(request, partial(call, self), args, kwargs)

    setattr(attempt, _RECORDS, True)
    return attempt


def inside(request: Any) -> bool:
    """Whether the attempt of ``request`` is being recorded further out."""
    return bool(request.get("celeriac_inside"))


def request_class(own: Any, ours: Any) -> Any:
    """The class of a task's requests: the author's own, with ours behind it.

    Args:
        own, ours: classes, or their names.

    Raises:
        BadArgument: it is no class of requests.
    """
    own, ours = symbol_by_name(own), symbol_by_name(ours)
    if isinstance(own, type) and issubclass(own, ours):
        return own
    try:
        return type(own.__name__, (own, ours), {"__module__": own.__module__})
    except (TypeError, AttributeError) as exc:
        raise BadArgument("Request", f"wanted a subclass of Celery's Request, found {own!r}: {exc}") from None


def declared_names(kind: type, *, below: type) -> set[str]:
    """The attributes that a task class and its bases below ours declare."""
    return {name for base in kind.__mro__[: kind.__mro__.index(below)] for name in base.__dict__}


def check_option(name: str, value: object, *, least: float) -> None:
    """Raise BadArgument for an option of a task that is no number, or below ``least``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise BadArgument(name, f"wanted a number of at least {least:g}, found {value!r}")
