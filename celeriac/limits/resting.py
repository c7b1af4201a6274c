"""What a task raises to be left alone for a while: it costs no try."""

from __future__ import annotations

from datetime import timedelta

from celeriac.errors import BadArgument, CeleriacError


class Snooze(CeleriacError):
    """Raised by a task that cannot do its work now: the job waits, and the attempt costs no try.

    Args:
        wait: a time, or seconds.
        reason: for whoever looks at the job.

    >>> @shared_task(name="shop.fetch")
    ... def fetch(): raise Snooze(60, "the archive is closed")
    >>> id = fetch.delay().id
    >>> kit.drain(), job(id).state
    ([], <JobState.ERROR: 'error'>)
    """

    def __init__(self, wait: timedelta | float, reason: str = "") -> None:
        super().__init__(wait, reason)

    @property
    def seconds(self) -> float:
        """How long it waits.

        Raises:
            BadArgument: it is no time.

        >>> Snooze(timedelta(minutes=2)).seconds
        120.0
        """
        wait = self.args[0]
        if isinstance(wait, timedelta):
            wait = wait.total_seconds()
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < float("inf"):
            raise BadArgument("wait", f"wanted a time or seconds, found {wait!r}")
        return float(wait)

    @property
    def reason(self) -> str:
        """For whoever looks at the job.

        >>> Snooze(60, "the archive is closed").reason
        'the archive is closed'
        """
        return str(self.args[1])

    def __str__(self) -> str:
        wait = self.args[0]
        seconds = wait.total_seconds() if isinstance(wait, timedelta) else wait
        return self.reason or f"it waits for {seconds} s"


class RateLimited(Snooze):
    """Raised by a task that another service has told to slow down: all jobs of its limits wait.

    Args:
        retry_after: a time, or seconds, as the service says.

    >>> str(RateLimited(30))
    'it waits for 30 s'
    """

    def __init__(self, retry_after: timedelta | float, reason: str = "") -> None:
        super().__init__(retry_after, reason)
