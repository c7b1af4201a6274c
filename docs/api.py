"""Makes ``docs/api.md`` from the docstrings of what is public.

    python -m docs.api

A public name that stands in no section is refused, and so is a section's name that is not public.
"""

from __future__ import annotations

import ast
import enum
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests import public
from tests.test_errors import EXAMPLES

PAGE = Path(__file__).resolve().parent / "api.md"

HEAD = """# The Python names

Everything on this page is public, and nothing else is: what you import from a deeper module may change
without notice.

    from celeriac import Celeriac, Task, enqueue_in, job, jobs
    from celeriac import dead_letters, errors, schedules, testing

A name is imported when it is first used: `import celeriac` imports neither Celery nor the ORM. Moments are
aware and in UTC, a span is a `timedelta`, a bare number has its unit beside it. `app=` is the current app
unless it is given. What enqueues raises the errors below; what only reads raises SQLAlchemy's when the
database is away.

The examples are run as tests, each on an empty ledger, with the names of this page imported. `welcome` is a
task that fails for user 13, and `kit` is the fixture [`celeriac`](testing.md): `kit.drain()` runs what is
due, as a worker does.
"""

#: The sections of the page, and the names of each as they are used.
SECTIONS: dict[str, tuple[str, ...]] = {
    "The app and its tasks": ("Celeriac", "current_app", "Task"),
    "Enqueue": ("enqueue_in", "complete_in", "enqueue_many", "Call", "enqueue_together", "Secret"),
    "Limits": (
        "Batch",
        "BatchedJob",
        "Breaker",
        "Debounce",
        "Limit",
        "OrderedBy",
        "RateLimited",
        "Snooze",
        "Throttle",
        "Unique",
    ),
    "Look at jobs": ("job", "jobs", "Job", "Attempt", "JobState", "explain", "Explanation", "Reason"),
    "Cancel, replay, prune": (
        "cancel",
        "cancel_all",
        "Answer",
        "dead_letters",
        "dead_letters.groups",
        "dead_letters.Group",
        "dead_letters.Cause",
        "dead_letters.cause_of",
        "dead_letters.members",
        "dead_letters.replay",
        "dead_letters.replay_one",
        "dead_letters.discard",
        "dead_letters.discard_one",
        "prune",
        "Retention",
    ),
    "Count": ("CallMetrics", "summarise", "Summary", "Line", "FailureLine", "duration_text"),
    "Schedules": (
        "register",
        "schedules.unregister",
        "schedules.enable",
        "schedules.disable",
        "schedules.get",
        "schedules.list_all",
        "schedules.run_now",
        "schedules.next_runs",
        "schedules.Schedule",
        "schedules.Kind",
        "schedules.CatchUp",
        "schedules.Overlap",
    ),
    "Beside Alembic": ("contrib.alembic.include_object",),
    "The console": ("console.create",),
    "Tests": ("testing.Kit", "testing.new_ledger"),
}

ERRORS = """## Errors

All are `CeleriacError`s and stand in `celeriac.errors`; those in **bold** can be imported from `celeriac`,
too. An `EnqueueError` says that nothing was written, so it is safe to enqueue again. `BadArgument`,
`PayloadTooLarge`, `NoAppMade`, `UnknownTask`, `LedgerUnavailable`, `LedgerUnfit` and `VersionsDoNotFit` are
of that kind; `EnqueueUncertain` is not.

| error | when | what it says, for example |
| --- | --- | --- |
"""


def page() -> str:
    """The whole page."""
    _check()
    found = public.names()
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [_section(name, found[f"celeriac.{name}"]) for name in names]
    return "\n".join([*parts, ERRORS + "".join(_error_rows())])


def _check() -> None:
    wanted = set()
    for name, found in public.names().items():
        short = name.removeprefix("celeriac.")
        if short not in public.error_classes() and short != "schedules.register":
            wanted.add(short)
        assert found is not None
    shown = {name for names in SECTIONS.values() for name in names}
    assert shown == wanted, f"not in a section: {wanted - shown}; not public: {shown - wanted}"


def _section(name: str, found: Any) -> str:
    lines = [f"### {name}", ""]
    if isinstance(found, ModuleType):
        lines += ["A module: `from celeriac import dead_letters`.", ""]
    elif _is_made_by_teams(found):
        lines += [f"`{_signature(name, found)}`", ""]
    lines += [*_text(found)]
    if inspect.isclass(found):
        lines += _fields(found)
        for member, value in public.members(found).items():
            lines += [f"#### {name}.{member}", "", f"`{_member(member, value)}`", "", *_text(value)]
    return "\n".join(lines)


def _is_made_by_teams(found: Any) -> bool:
    """Whether its signature is of interest: a function, or a class of ours that is made by hand."""
    if not inspect.isclass(found):
        return True
    ours = getattr(found.__init__, "__module__", "").startswith("celeriac")
    return ours and not issubclass(found, enum.Enum) and len(inspect.signature(found).parameters) <= 5


def _member(name: str, found: Any) -> str:
    if isinstance(found, property):
        given = found.fget.__annotations__.get("return") if found.fget else None
        return f"{name} -> {given}" if given else name
    return _signature(name, getattr(found, "__func__", found))


def _signature(name: str, found: Any) -> str:
    """Short: names and defaults, and what is returned."""
    made = inspect.signature(found, follow_wrapped=True)
    parts: list[str] = []
    star = False
    for parameter in made.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        star = star or parameter.kind is parameter.VAR_POSITIONAL
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        parts.append(f"{prefix}{parameter.name}{_default(parameter)}")
    given = made.return_annotation
    returns = "" if inspect.isclass(found) or given is inspect.Signature.empty else f" -> {given}"
    return f"{name}({', '.join(parts)}){returns}"


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return ""
    plain = parameter.default is None or isinstance(parameter.default, str | int | float | tuple)
    return f"={parameter.default!r}" if plain else "=…"


def _text(found: Any) -> Iterator[str]:
    """A docstring as Markdown: its sentences, its lists, its example."""
    lines = (inspect.getdoc(found) or "").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if re.fullmatch(r"(Args|Attributes|Raises|Returns):", line):
            number += 1
            inside = []
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                inside.append(lines[number])
                number += 1
            if line != "Attributes:" or not is_dataclass(found):  # the table of its fields has them
                yield f"{line}\n"
                yield from _items("\n".join(inside))
                yield ""
        elif line.startswith(">>> "):
            yield "```python"
            while number < len(lines) and lines[number].strip():
                yield lines[number]
                number += 1
            yield "```\n"
        else:
            yield _code(line)
            number += 1
            if number == len(lines):
                yield ""


def _items(text: str) -> Iterator[str]:
    for names, words in _named(text):
        known = ", ".join(f"`{name}`" for name in names)
        yield f"- {known}: {words}" if names else f"- {words}"


def _named(text: str) -> Iterator[tuple[list[str], str]]:
    """``name: what it is``, an item each; what goes on in the next line is indented there."""
    for item in re.split(r"\n(?=\S)", textwrap.dedent(text).strip("\n")):
        names, colon, rest = item.partition(": ")
        words = _code(" ".join((rest if colon else item).split()))
        yield [name.strip() for name in names.split(",")] if colon else [], words


def _code(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _fields(kind: type) -> list[str]:
    """A table of a value's fields, or of an enumeration's members, from the comments behind them."""
    if not (is_dataclass(kind) or issubclass(kind, enum.Enum)):
        return []
    section = re.search(r"^Attributes:\n((?: .*\n|\n)+)", inspect.getdoc(kind) or "", re.MULTILINE)
    told = {name: words for names, words in _named(section.group(1) if section else "") for name in names}
    rows = []
    for name, shown, comment in _commented(kind):
        comment = comment or told.get(name, "")
        escaped = shown.replace("|", "\\|")
        rows.append(f"| `{name}` | `{escaped}` | {_code(comment)} |")
    shown = "value" if issubclass(kind, enum.Enum) else "type"
    head = [f"| name | {shown} | meaning |", "| --- | --- | --- |"]
    return [*head, *rows, ""]


def _commented(kind: type) -> Iterator[tuple[str, str, str]]:
    source = textwrap.dedent(inspect.getsource(kind))
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    lines = source.splitlines()
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign | ast.Assign):
            continue
        meaning = comments.get(node.end_lineno or 0) or " ".join(_above(lines, node.lineno))
        if isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target), ast.unparse(node.annotation), meaning
        else:
            yield ast.unparse(node.targets[0]), repr(ast.literal_eval(node.value or ast.Constant(0))), meaning


def _above(lines: list[str], number: int) -> list[str]:
    """The comment in lines of its own above a line, up to its first head (``Set by:``)."""
    begin = number - 1
    while begin and lines[begin - 1].lstrip().startswith("#"):
        begin -= 1
    said = [line.lstrip().removeprefix("#").strip() for line in lines[begin : number - 1]]
    heads = [at for at, line in enumerate(said) if re.match(r"[A-Z][a-z]+( [a-z]+)?: ", line)]
    return said[: heads[0]] if heads else said


def _error_rows() -> Iterator[str]:
    on_the_face = {name.removeprefix("celeriac.") for name in public.names()}
    for name, kind in public.error_classes().items():
        example = next(error for error in EXAMPLES if type(error) is kind)
        sentence = re.sub(r"\s+", " ", str(example)).replace("|", "\\|").replace("`", "'")
        first = _code((inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " "))
        shown = f"**`{name}`**" if name in on_the_face else f"`{name}`"
        yield f"| {shown} | {first} | {sentence} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
