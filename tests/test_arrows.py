"""Import arrows: they point one way. Imports that only the type checker sees are not counted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: The rooms of ``app``, each row above those that it may import from; a room may always import from itself.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "events", "tether"}),
    frozenset({"addresses", "no_app", "certificates", "private", "compression"}),
    frozenset({"settings", "wire"}),
    frozenset({"pulse", "exposure", "signing", "tracing"}),
    frozenset({"probes"}),
    frozenset({"ledger"}),
    frozenset(
        {
            "arguments",
            "body",
            "current",
            "ids",
            "priorities",
            "failures",
            "hand_over",
            "sending",
            "embedded",
            "display",
        }
    ),
    frozenset({"job", "task", "control", "transactions", "retention"}),
    frozenset({"listing", "adoption", "broker_lists", "maintenance", "presence"}),
    frozenset({"enqueue", "results", "dead_letters", "report", "overview"}),
    frozenset({"explain", "metrics"}),
    frozenset({"likeness"}),
    frozenset({"application", "bulk", "logs"}),
    frozenset({"factory"}),
    frozenset({"schedules"}),
    frozenset({"doctor"}),
    frozenset({"worker", "celery"}),
    frozenset({"testing", "cli"}),
)

#: What builds a statement; the ledger is the only code that speaks SQL.
SQL = frozenset({"select", "insert", "update", "delete", "text", "func"})


@dataclass(frozen=True)
class Import:
    """``names`` from ``module``, imported by ``by``; not ``deferred``: when ``by`` is imported."""

    by: str
    module: str
    names: tuple[str, ...]
    deferred: bool

    def __str__(self) -> str:
        return f"{self.by} imports {self.module}"

    def is_of(self, *packages: str) -> bool:
        return self.module.split(".")[0] in packages


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(*places: str) -> tuple[Import, ...]:
    """All imports below the directories, or in the files, of these names."""
    files = [file for place in places for file in (ROOT / place).rglob("*.py")]
    files += [ROOT / place for place in places if (ROOT / place).is_file()]
    assert files
    return tuple(
        found for file in files for found in _imports(module_name(file), ast.parse(file.read_text()))
    )


def _imports(by: str, node: ast.AST, deferred: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{by}: relative imports have no place in the arrows"
            yield Import(by, child.module or "", tuple(name.name for name in child.names), deferred)
        elif isinstance(child, ast.Import):
            yield from (Import(by, name.name, (), deferred) for name in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(by, ast.Module(child.orelse, []), deferred)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(by, child, deferred or function)


def room(module: str) -> str:
    """The part of ``app`` that a module is in."""
    return module.removeprefix("app.").split(".")[0]


def rooms_of(found: Import) -> set[str]:
    """The rooms that an import enters: ``from app import ids, sending`` enters two."""
    if found.module != "app":
        return {room(found.module)}
    return {name for name in found.names if not name.startswith("__")}


def row(name: str) -> int:
    found = [number for number, rooms in enumerate(ROWS) if name in rooms]
    assert found, f"app/{name} has no place yet: give it one in ROWS, as low as its imports allow"
    return found[0]


def of_app() -> list[tuple[str, str, Import]]:
    """The arrows between rooms of ``app``."""
    ours = [found for found in imports("app") if found.is_of("app") and found.by != "app"]
    return [
        (room(each.by), to, each) for each in ours for to in sorted(rooms_of(each)) if room(each.by) != to
    ]


def test_every_room_has_a_place() -> None:
    rooms = {module_name(path).removeprefix("app.") for path in (ROOT / "app").iterdir() if is_room(path)}
    assert {name for name in rooms if row(name) < 0} == set()
    assert len(of_app()) > 50


def is_room(path: Path) -> bool:
    return (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()


def test_every_arrow_points_down() -> None:
    assert [str(found) for by, to, found in of_app() if row(by) <= row(to)] == []


@pytest.mark.parametrize("package", ["celery", "kombu", "billiard", "redis", "redbeat"])
def test_the_ledger_knows_nothing_of_celery(package: str) -> None:
    assert [str(found) for found in imports("app/ledger") if found.is_of(package)] == []


def test_only_the_ledger_speaks_sql() -> None:
    outside = [found for found in imports("app") if room(found.by) != "ledger" and found.is_of("sqlalchemy")]
    assert [str(found) for found in outside if SQL & {*found.names}] == []


@pytest.mark.parametrize("package", ["tasks", "tests", "benchmarks", "beat_schedule"])
def test_the_app_knows_nothing_of_what_is_built_on_it(package: str) -> None:
    assert [str(found) for found in imports("app") if found.is_of(package)] == []


def test_a_task_reaches_no_deeper_than_the_apps_face() -> None:
    ours = [found for found in imports("tasks") if found.is_of("app")]
    deep = {"ledger", "worker", "cli", "schedules", "sending", "hand_over"}
    assert [str(found) for found in ours if deep & rooms_of(found)] == []
    assert {found.by for found in ours if found.module == "app.celery"} == {"tasks"}


def test_the_static_schedule_is_data_only() -> None:
    assert [str(found) for found in imports("beat_schedule.py") if found.is_of("app", "tasks")] == []


def test_no_module_imports_itself_in_a_circle() -> None:
    modules = {module_name(path) for place in ("app", "tasks") for path in (ROOT / place).rglob("*.py")}
    arrows: dict[str, set[str]] = {module: set() for module in modules}
    for found in imports("app", "tasks"):
        if not found.deferred:
            inner = {f"{found.module}.{name}" for name in found.names} & modules
            arrows[found.by] |= (inner or {found.module} & modules) - {found.by}
    assert _circle(arrows) is None


def _circle(arrows: dict[str, set[str]]) -> list[str] | None:
    """The modules of one circle; None when there is none."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return None
        for other in sorted(arrows[module]):
            if found := walk(other, [*path, module]):
                return found
        done.add(module)
        return None

    return next((found for module in sorted(arrows) if (found := walk(module, []))), None)


def test_a_circle_would_be_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert _circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_an_import_is_found_wherever_it_stands() -> None:
    code = """
import one.two
from app import ids, sending
if TYPE_CHECKING:
    from celeriac.cli import unseen
else:
    from three import seen
class Here:
    from four import within
    def later(self):
        import five
"""
    found = {(each.module, each.deferred) for each in _imports("here", ast.parse(code))}
    at_once = {"one.two", "app", "three", "four"}
    assert found == {(module, False) for module in at_once} | {("five", True)}
    assert rooms_of(Import("here", "app", ("ids", "sending", "__version__"), False)) == {"ids", "sending"}
