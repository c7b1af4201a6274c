"""Every error that Celeriac raises, in one tree.

Fields go positionally to ``super().__init__`` and the sentence is built in ``__str__``: Celery
rebuilds exceptions from their ``args``, in another process and from JSON.
"""

from __future__ import annotations

from collections.abc import Sequence


class CeleriacError(Exception):
    """The root of the tree."""


class SettingsError(CeleriacError):
    """The environment asks for something that cannot work; names every problem at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(list(problems))

    @property
    def problems(self) -> list[str]:
        return list(self.args[0])

    def __str__(self) -> str:
        count = len(self.problems)
        head = "the settings have a problem" if count == 1 else f"the settings have {count} problems"
        return "\n".join([f"{head}:", *(f"  - {problem}" for problem in self.problems)])


class BadAddress(CeleriacError, ValueError):
    """An address of Redis has a part that a client would ignore or cannot read."""


class EnqueueError(CeleriacError):
    """A job was not accepted: nothing was written, nothing was sent."""


class VersionsDoNotFit(EnqueueError):
    """The installed kombu and redis-py do not work together: no message could be sent."""

    def __init__(self, kombu: str, redis: str, reason: str) -> None:
        super().__init__(kombu, redis, reason)

    def __str__(self) -> str:
        kombu, redis, reason = self.args
        return (
            f"kombu {kombu} and redis-py {redis} do not fit together ({reason}): nothing could be sent; "
            "run `pip install --upgrade 'kombu[redis]'`"
        )


class BadArgument(EnqueueError, ValueError):
    """An argument or an option of a call cannot be accepted.

    Args:
        name: the argument or option, as the caller would write it (``args[0]['to']``, ``eta``).
        reason: what was wanted and what was found.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)

    @property
    def name(self) -> str:
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class PayloadTooLarge(EnqueueError, ValueError):
    """The arguments of a job take more bytes than a row may hold."""

    def __init__(self, task: str, size: int, limit: int) -> None:
        super().__init__(task, size, limit)

    def __str__(self) -> str:
        task, size, limit = self.args
        return (
            f"the arguments of {task} take {size:,} bytes, the limit is {limit:,}; "
            "send a reference to the data instead, or raise CELERIAC_PAYLOAD_LIMIT"
        )


class NoAppMade(EnqueueError):
    """A call needs an app, and none was made in this process."""

    def __init__(self, task: str | None = None) -> None:
        super().__init__(task)

    def __str__(self) -> str:
        what = f"{self.args[0]} cannot be enqueued: " if self.args[0] else ""
        where = (
            "in __init__.py of the package that has the tasks: `from proj.celery import app as celery_app`"
        )
        return f"{what}no app was made in this process; import the module that makes it first, {where}"


#: What to do about a task that is not known here, and no typing error.
ELSEWHERE = "one of other code is named in CELERIAC_FOREIGN_TASKS"


class UnknownTask(EnqueueError, LookupError):
    """No task of that name is registered with this app."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)

    def __str__(self) -> str:
        name, nearest = self.args
        return f"no task is named {name!r}; {f'did you mean {nearest!r}?' if nearest else ELSEWHERE}"


class LedgerUnavailable(EnqueueError):
    """The database could not be reached in time; the job was refused and will never run."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)

    def __str__(self) -> str:
        return f"the ledger's database cannot be reached, nothing was enqueued: {self.args[0]}"


class LedgerUnfit(LedgerUnavailable):
    """The database answers but is not fit for the ledger; it says the remedy. The job was refused."""

    def __str__(self) -> str:
        return f"the ledger's database cannot serve: {self.args[0]}"


class KeyBusy(LedgerUnavailable):
    """Another transaction has written the call's unique key, or one of its keys, and did not end in time."""

    def __init__(self, key: str, others: int, milliseconds: int) -> None:
        EnqueueError.__init__(self, key, others, milliseconds)

    def __str__(self) -> str:
        key, others, milliseconds = self.args
        more = f" (or one of {others:,} others)" if others else ""
        return (
            f"another transaction has the unique key {key}{more} and did not end within "
            f"{milliseconds / 1000:g} s, nothing was enqueued: call again"
        )


class DuplicateJob(EnqueueError):
    """Another job has the unique key: of a call whose rule refuses it then, or of a job to be replayed."""

    def __init__(self, key: str, job_id: str, so: str = "nothing was enqueued") -> None:
        super().__init__(key, job_id, so)

    @property
    def job_id(self) -> str:
        return str(self.args[1])

    def __str__(self) -> str:
        return f"job {self.job_id} has the unique key {self.args[0]}: {self.args[2]}"


class EnqueueUncertain(CeleriacError):
    """The database went silent inside the commit: the job may or may not have been accepted.

    Enqueue again with the same ``task_id``: the ledger keeps one row per id.
    """

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)

    @property
    def job_id(self) -> str:
        return str(self.args[0])

    def __str__(self) -> str:
        return (
            f"the database fell silent while job {self.job_id} was being committed; it is accepted "
            "or refused, never half: ask for it by its id, or enqueue it again with the same task_id"
        )


class AnotherDatabase(CeleriacError, ValueError):
    """The session belongs to another database than the ledger's."""

    def __init__(self, found: str) -> None:
        super().__init__(found)

    def __str__(self) -> str:
        return f"the session's database is not the ledger's (DATABASE_URL), found {self.args[0]}"


class ResultLost(CeleriacError):
    """The job is completed, and its return value is in neither store."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)

    def __str__(self) -> str:
        return (
            f"job {self.args[0]} is completed and its return value is lost: "
            "the result store does not have it, and the ledger has no copy"
        )


class NotCommitted(CeleriacError):
    """A result is waited for in the transaction that enqueues its job, before whose end no worker sees it."""

    def __str__(self) -> str:
        return f"job {self.args[0]} starts after this transaction is committed: .get() in it would never end"


class AttemptTaken(CeleriacError):
    """The attempt no longer belongs to this worker. Its work must be rolled back."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(job_id, attempt)

    def __str__(self) -> str:
        return f"attempt {self.args[1]} of job {self.args[0]} was taken from this worker: roll back"


class NotSigned(CeleriacError, ValueError):
    """A message has no valid signature of a known certificate, and must have one."""


class JobNotFound(CeleriacError, LookupError):
    """The ledger has no job of that id: it never was accepted, or it was pruned."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)

    def __str__(self) -> str:
        return f"the ledger has no job {self.args[0]!r}: never accepted here, or pruned"


class AmbiguousId(CeleriacError, LookupError):
    """The ids of several jobs begin like this."""

    def __init__(self, prefix: str, found: Sequence[str]) -> None:
        super().__init__(prefix, list(found))

    def __str__(self) -> str:
        found = ", ".join(self.args[1])
        return f"more than one job's id begins with {self.args[0]!r}, name more of it: {found} …"


class GroupNotFound(CeleriacError, LookupError):
    """No group of dead letters has that key. It was replayed, discarded or pruned, or the key is wrong."""

    def __init__(self, key: str) -> None:
        super().__init__(key)

    def __str__(self) -> str:
        return f"no group of dead letters has the key {self.args[0]!r}: see `celery -A app dead-letters list`"


class EmbeddedServerError(CeleriacError):
    """The private Valkey could not be found or started."""


class StackRunning(CeleriacError):
    """Another ``celery -A app up``, or ``make run``, uses the same data directory."""

    def __init__(self, data_dir: str) -> None:
        super().__init__(data_dir)

    def __str__(self) -> str:
        return (
            f"a stack already runs on {self.args[0]}: stop it with Ctrl-C where it was started, "
            "or name another directory in CELERIAC_DATA_DIR"
        )


class ServiceFailed(CeleriacError):
    """A service of the stack could not be started; ``lines`` are its last ones of output."""

    def __init__(self, name: str, reason: str, lines: Sequence[str] = ()) -> None:
        super().__init__(name, reason, list(lines))

    def __str__(self) -> str:
        name, reason, lines = self.args
        sentence = f"{name} could not be started: {reason}"
        return "\n  ".join([f"{sentence}; its last lines:", *lines]) if lines else sentence


class FlowerExposed(CeleriacError):
    """Flower would show and revoke jobs for everybody, without authentication."""

    def __init__(self, address: str) -> None:
        super().__init__(address)

    def __str__(self) -> str:
        return (
            f"Flower would listen on {self.args[0]} without authentication: set "
            "FLOWER_BASIC_AUTH=user:password, or FLOWER_AUTH with a provider, or let it listen on 127.0.0.1"
        )


class FlowerMissing(CeleriacError):
    """Flower is asked for and not installed: it is an extra."""

    def __str__(self) -> str:
        return "Flower is not installed: run `pip install 'celeriac[flower]'`"


class MigrationNeeded(CeleriacError):
    """The database's tables are not those that this version wants."""

    def __init__(self, found: str | None, wanted: str) -> None:
        super().__init__(found, wanted)

    def __str__(self) -> str:
        found, wanted = self.args
        return (
            f"the ledger is at revision {found or 'none'}, this version wants {wanted}: "
            "run `celery -A app db upgrade`"
        )


class LedgerTooNew(CeleriacError):
    """A newer version made the database's tables, and this one does not work with them."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(found, wanted)

    def __str__(self) -> str:
        found, wanted = self.args
        return (
            f"the ledger is at revision {found}, which this version does not know (it wants {wanted}): "
            "run the version that made it, or take it back with that one: `celery -A app db downgrade`"
        )


class MigrationBlocked(CeleriacError):
    """The database's tables could not be changed, because other transactions held locks on them."""

    def __init__(self, revision: str | None, seconds: int, holders: str) -> None:
        super().__init__(revision, seconds, holders)

    def __str__(self) -> str:
        revision, seconds, holders = self.args
        return (
            f"could not lock the ledger's tables within {seconds} s: held by {holders}; "
            f"the ledger is at revision {revision or 'none'}, end that transaction and run it again"
        )


class MigrationRefused(CeleriacError):
    """Somebody else's tables or older workers are in the way of a migration. Nothing was changed."""


class TaskExited(CeleriacError):
    """A task called ``sys.exit()`` or raised another exception meant for the interpreter."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)

    def __str__(self) -> str:
        return f"the task raised {self.args[0]}({self.args[1]})"


class UnreadableError(CeleriacError):
    """Replaces a task's exception that cannot be shown, pickled or stored."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class InvalidSchedule(CeleriacError, ValueError):
    """A schedule asks for something that cannot work; names every problem at once."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        super().__init__(name, list(problems))

    @property
    def problems(self) -> list[str]:
        return list(self.args[1])

    def __str__(self) -> str:
        return f"schedule {self.args[0]!r}: {'; '.join(self.problems)}"


class StaticSchedule(InvalidSchedule):
    """A static schedule cannot be changed by hand: its file would restore it."""


class ScheduleNotFound(CeleriacError, LookupError):
    """There is no schedule of that name."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)

    def __str__(self) -> str:
        hint = f"; did you mean {self.args[1]!r}?" if self.args[1] else ""
        return f"no schedule is named {self.args[0]!r}{hint}"
