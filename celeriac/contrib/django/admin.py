"""Jobs in the admin: filtered, one with its attempts, replayed and cancelled by who may. Never edited."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join

from celeriac.application import current_app
from celeriac.contrib.django.models import Job
from celeriac.enqueue import arguments
from celeriac.errors import DuplicateJob
from celeriac.ids import optional_id, row_id
from celeriac.ledger.writes.cancel import Answer
from celeriac.operate import dead_letters
from celeriac.operate import job as jobs

#: Rows that are counted for a list's pages; it shows no more. A count of millions would take seconds.
COUNTED = 10_000

_PORTION = 500

#: What is shown of each attempt that was not successful.
_OF_ATTEMPT = ("attempt", "kind", "worker", "started", "finished", "exception_type", "exception", "traceback")

#: What a cancel has done something with.
_CANCELLED = frozenset({Answer.CANCELLED, Answer.REQUESTED})


class BoundedPaginator(Paginator):
    """Pages of the first rows, so that no list counts a large ledger."""

    @cached_property
    def count(self) -> int:
        return int(self.object_list[:COUNTED].count())


class TaskFilter(admin.SimpleListFilter):
    """By task: those that the app knows, for which no row need be read."""

    title = parameter_name = "task"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        app = current_app()
        app.loader.import_default_modules()
        return [(name, name) for name in sorted(app.tasks) if not name.startswith("celery.")]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(task=self.value()) if self.value() else queryset


class QueueFilter(admin.SimpleListFilter):
    """By queue, of those that the app knows."""

    title = parameter_name = "queue"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in current_app().amqp.queues]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(queue=self.value()) if self.value() else queryset


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):
    """The jobs. Whoever may view them sees their arguments, but for sensitive ones, which are hidden."""

    actions = ("replay", "cancel")
    list_display = ("id", "task", "state", "queue", "user_id", "queued", "finished", "tries", "last_failure")
    list_filter = ("state", TaskFilter, QueueFilter, "queued")
    paginator = BoundedPaginator
    search_fields = ("id",)  # see get_search_results
    search_help_text = "a whole id, or exactly a task, a user or an idempotency key"
    show_full_result_count = False
    sortable_by = ("queued",)  # there is an index for it
    fieldsets = (
        (None, {"fields": ("id", "task", "state", "queue", "priority", "user_id")}),
        ("Call", {"fields": ("positional", "keywords", "result", "idempotency_key", "schedule")}),
        (
            "Times",
            {"fields": ("queued", "next_attempt_after", "dispatched", "started", "finished", "expires")},
        ),
        ("Attempts", {"fields": ("tries", "timeout", "cancel_requested", "failure_info", "failed_attempts")}),
        ("Workflow", {"fields": ("root_id", "parent_id", "group_id")}),
    )

    # ---- what one may do

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_replay_permission(self, request: Any) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.replay_job"))

    def has_cancel_permission(self, request: Any) -> bool:
        return bool(request.user.has_perm(f"{self.opts.app_label}.cancel_job"))

    @admin.action(description="Replay selected jobs that have failed", permissions=["replay"])
    def replay(self, request: Any, queryset: Any) -> None:
        others = "the others have not failed, or another job has their unique key"
        done = self._each(request, queryset, _replayed, "replayed")
        self._tell(request, f"{done:,} replayed", others, of=queryset, done=done)

    @admin.action(description="Cancel selected jobs", permissions=["cancel"])
    def cancel(self, request: Any, queryset: Any) -> None:
        done = self._each(request, queryset, lambda id: jobs.cancel(id) in _CANCELLED, "cancelled")
        said = f"{done:,} cancelled, or asked to stop where they run"
        self._tell(request, said, "the others are over", of=queryset, done=done)

    def _each(self, request: Any, queryset: Any, act: Callable[[str], bool], what: str) -> int:
        """Do ``act`` with each job of ``queryset``; note in the admin's log with which it was done."""
        done = 0
        for job in _in_portions(queryset.order_by("pk")):
            if act(str(job.pk)):
                self.log_change(request, job, what)
                done += 1
        return done

    def _tell(self, request: Any, said: str, others: str, *, of: Any, done: int) -> None:
        short = done == 0 or self.paginator(of, 1).count > done
        level = messages.WARNING if short else messages.SUCCESS
        self.message_user(request, f"{said}; {others}" if short else said, level)

    # ---- what one sees

    def get_search_results(self, request: Any, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if (id := optional_id(term)) is not None:
            return queryset.filter(pk=id), False
        either = queryset.filter(task=term) | queryset.filter(user_id=term)
        return either | queryset.filter(idempotency_key=term) | queryset.filter(pk=row_id(term)), False

    @admin.display(description="tries")
    def tries(self, job: Job) -> str:
        return f"{job.try_count} of {job.max_tries}"

    @admin.display(description="last failure")
    def last_failure(self, job: Job) -> str:
        return (job.failure_info or "")[:80]

    @admin.display(description="positional arguments")
    def positional(self, job: Job) -> str:
        app = current_app()
        return _json(job.details.args, app.amqp.parameters(job.task))

    @admin.display(description="keyword arguments")
    def keywords(self, job: Job) -> str:
        return _json(job.details.kwargs)

    @admin.display(description="result")
    def result(self, job: Job) -> str:
        return _json(job.details.result)

    @admin.display(description="failed attempts")
    def failed_attempts(self, job: Job) -> str:
        rows = [[getattr(each, name) or "" for name in _OF_ATTEMPT] for each in job.details.attempts]
        if not rows:
            return "none"
        head = format_html_join("", "<th>{}</th>", ([name.replace("_", " ")] for name in _OF_ATTEMPT))
        cells = "<td>{}</td>" * (len(_OF_ATTEMPT) - 1) + "<td><pre>{}</pre></td>"
        body = format_html_join("", f"<tr>{cells}</tr>", rows)
        table: str = format_html("<table><tr>{}</tr>{}</table>", head, body)
        return table


def _replayed(id: str) -> bool:
    try:
        return dead_letters.replay_one(id)
    except DuplicateJob:  # another job has its unique key
        return False


def _json(value: Any, names: Any = ()) -> str:
    hidden = arguments.hidden(list(value) if isinstance(value, tuple) else value, names)
    return json.dumps(hidden, default=str, ensure_ascii=False)


def _in_portions(rows: Any) -> Iterator[Job]:
    """All of ``rows``, of which none is being read while something is written."""
    portion = list(rows[:_PORTION])
    while portion:
        yield from portion
        portion = list(rows.filter(pk__gt=portion[-1].pk)[:_PORTION])
