"""Turn any exception into the failure that the ledger keeps."""

from __future__ import annotations

import re
import traceback
from typing import Any, NoReturn

from billiard import common
from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Reject
from celery.utils.serialization import UnpickleableExceptionWrapper, get_pickleable_exception

from celeriac.errors import UnreadableError
from celeriac.ledger.schema.lifecycle import AttemptKind
from celeriac.ledger.writes.outcomes import Failure
from celeriac.texts import TEXT_LIMIT, TRACEBACK_LIMIT, clean

_FRAME = re.compile(r'^  File "([^"]+)", line \d+, in (.+)$', re.MULTILINE)
_OURS = re.compile(r"[/\\](celery|billiard|celeriac|site-packages|lib[/\\]python[\d.]+)[/\\]")


def failure_of(error: BaseException, trace: str | None = None, *, kind: AttemptKind | None = None) -> Failure:
    """The failure to keep of ``error``; never raises, even if its ``__str__`` does."""
    error = unwrapped(error)
    text = _traceback(error) if trace is None else trace
    return Failure(
        kind or kind_of(error),
        clean(type_name(error), 255),
        clean(text_of(error), TEXT_LIMIT),
        frame_of(text),
        clean(text, TRACEBACK_LIMIT),
    )


def unwrapped(error: BaseException) -> BaseException:
    """The exception itself: a pool hands it over wrapped together with its traceback."""
    inner = getattr(error, "exc", None) if isinstance(error, ExceptionWithTraceback) else None
    return inner if isinstance(inner, BaseException) else error


def kind_of(error: BaseException) -> AttemptKind:
    if isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded):
        return AttemptKind.TIMEOUT
    if isinstance(error, WorkerLostError):
        return AttemptKind.LOST
    return AttemptKind.REJECTED if isinstance(error, Reject) else AttemptKind.ERROR


def presentable(error: Exception) -> Exception:
    """``error`` itself, or a stand-in where it cannot be shown, stored or pickled."""
    try:
        text = str(error)
        repr(error)
    except Exception:  # __str__ and __repr__ are an author's code
        return UnreadableError(type_name(error), clean(text_of(error), TEXT_LIMIT))
    if len(text) > TEXT_LIMIT or text != clean(text, TEXT_LIMIT):
        return UnreadableError(type_name(error), clean(text, TEXT_LIMIT))
    return error


def portable(error: BaseException | None) -> Any:
    """``error`` in a form that survives pickling."""
    return None if error is None else get_pickleable_exception(error)


def type_name(error: BaseException) -> str:
    if isinstance(error, UnpickleableExceptionWrapper):
        module, name = error.exc_module, error.exc_cls_name
    elif isinstance(error, UnreadableError):
        return str(error.args[0])
    else:
        module, name = type(error).__module__, type(error).__qualname__
    return name if module in ("builtins", "__main__") else f"{module}.{name}"


def text_of(error: BaseException) -> str:
    if isinstance(error, UnreadableError):
        return str(error.args[1])
    try:
        return str(error)
    except BaseException as broken:  # even sys.exit() in a __str__
        return f"(its text cannot be read: __str__ raised {type(broken).__name__})"


def frame_of(trace: str) -> str | None:
    """The innermost frame of the task's own code in a traceback's text, as ``file:function``."""
    frames = _FRAME.findall(trace)
    own = [frame for frame in frames if not _OURS.search(frame[0])] or frames
    if not own:
        return None
    file, function = own[-1]
    return clean(f"{file.rsplit('/', 1)[-1]}:{function}", 255)


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # the traceback module calls __str__ of every link of the chain
        return "".join(traceback.format_tb(error.__traceback__)) + type_name(error)


def is_termination(exc: BaseException) -> bool:
    """Whether ``exc`` is how a child is told to end, which a task must not survive."""
    # billiard 4.3 has a function that reads this; Celery 5.5 was released with 4.2, which has none.
    return isinstance(exc, SystemExit) and bool(common._should_have_exited[0])


def give_up(error: Exception, exc: BaseException) -> NoReturn:
    """End the attempt with ``error``, in a form that can be shown; ``exc`` is what was raised."""
    shown = presentable(error)
    if shown is exc:
        raise shown
    raise shown.with_traceback(exc.__traceback__) from None
