"""Import arrows: they point one way, imports that only the type checker sees included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: The rooms of ``celeriac``, each row above those that it may import from; a room may import from itself.
ROWS: tuple[frozenset[str], ...] = (
    frozenset({"cli", "contrib", "testing"}),
    frozenset({"console"}),
    frozenset({"worker"}),
    frozenset({"operate"}),
    frozenset({"schedules"}),
    frozenset({"stack"}),
    frozenset({"task"}),
    frozenset({"enqueue"}),
    frozenset({"configuration"}),
    frozenset({"observe"}),
    frozenset({"broker", "maintenance"}),
    frozenset({"retention", "notify"}),
    frozenset({"application"}),
    frozenset({"ledger"}),
    frozenset({"named_calls", "settings"}),
    frozenset({"priorities", "ids", "addresses", "certificates", "coroutines", "no_app", "limits"}),
    frozenset({"broker_state", "display", "headers", "names", "private_files", "texts"}),
    frozenset({"errors", "events"}),
)

#: The same inside the rooms that have rooms of their own.
INNER_ROWS: dict[str, tuple[frozenset[str], ...]] = {
    "ledger": (
        frozenset({"migrate"}),
        frozenset({"migrations"}),
        frozenset({"days", "online", "revisions"}),
        frozenset({"former_names"}),
        frozenset({"limits", "revision_check"}),
        frozenset({"upkeep", "operators"}),
        frozenset({"writes"}),
        frozenset({"reads"}),
        frozenset({"partitions"}),
        frozenset({"connection"}),
        frozenset({"schema"}),
    ),
    "worker": (
        frozenset({"consumer", "program"}),
        frozenset({"assembly"}),
        frozenset({"duties", "followers"}),
        frozenset({"pool", "prefork"}),
        frozenset({"burst"}),
        frozenset({"ageing", "gate"}),
        frozenset({"counters", "pauses", "watermarks"}),
        frozenset({"short_turn"}),
        frozenset({"attempt_report", "breakers", "days_ahead", "freed_permits", "result_writer"}),
    ),
    "console": (
        frozenset({"application"}),
        frozenset({"pages", "api"}),
        frozenset({"page_request"}),
        frozenset({"console", "refusal"}),
        frozenset({"access"}),
        frozenset({"argument_form"}),
        frozenset({"head", "changes", "options", "reading", "sparkline", "tracebacks", "trees"}),
        frozenset({"shared", "same_answers", "in_time"}),
        frozenset({"budget"}),
    ),
    "settings": (
        frozenset({"from_conf", "redis_options"}),
        frozenset({"platform"}),
        frozenset({"alerts", "celery_settings", "conf", "console", "flow", "oidc"}),
        frozenset({"environment"}),
    ),
    "cli": (
        frozenset({"program"}),
        frozenset({"entry"}),
        frozenset({"commands"}),
        frozenset({"views"}),
        frozenset({"rows", "celery_commands"}),
        frozenset({"command", "context", "output", "progress"}),
        frozenset({"flower_api"}),
    ),
}

#: What builds a statement; the ledger is the only code that speaks SQL.
SQL = frozenset({"select", "insert", "update", "delete", "text", "func"})


@dataclass(frozen=True)
class Import:
    """``names`` from ``module``, imported by ``by``; ``late``: not when ``by`` is imported."""

    by: str
    module: str
    names: tuple[str, ...]
    late: bool

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


def _imports(by: str, node: ast.AST, late: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{by}: relative imports have no place in the arrows"
            yield Import(by, child.module or "", tuple(name.name for name in child.names), late)
        elif isinstance(child, ast.Import):
            yield from (Import(by, name.name, (), late) for name in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _imports(by, ast.Module(child.body, []), True)
            yield from _imports(by, ast.Module(child.orelse, []), late)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(by, child, late or function)


def parts(module: str) -> list[str]:
    return module.removeprefix("celeriac.").split(".")


def targets(found: Import) -> set[str]:
    """The modules that an import may name: ``from celeriac import ids, names`` names two."""
    inner = {f"{found.module}.{name}" for name in found.names}
    known = {name for name in inner if _exists(name)}
    return known or {found.module}


@cache
def _exists(module: str) -> bool:
    place = ROOT.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def row(name: str, rows: tuple[frozenset[str], ...]) -> int:
    found = [number for number, rooms in enumerate(rows) if name in rooms]
    assert found, f"{name} has no place yet: give it one in the rows, as low as its imports allow"
    return found[0]


def arrows() -> list[tuple[str, str, Import]]:
    """The arrows between modules of ``celeriac``; its face, which is lazy, has none."""
    ours = [found for found in imports("celeriac") if found.is_of("celeriac") and found.by != "celeriac"]
    return [(each.by, to, each) for each in ours for to in sorted(targets(each)) if to != "celeriac"]


def test_every_room_has_a_place() -> None:
    rooms = {
        path.stem
        for path in (ROOT / "celeriac").iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    }
    assert {name for name in rooms if row(name, ROWS) < 0} == set()
    assert len(arrows()) > 200


def test_nothing_imports_an_integration() -> None:
    into = [str(found) for by, to, found in arrows() if parts(to)[0] == "contrib" != parts(by)[0]]
    assert into == []


def test_every_arrow_points_down() -> None:
    up = [
        str(found)
        for by, to, found in arrows()
        if parts(by)[0] != parts(to)[0] and row(parts(by)[0], ROWS) >= row(parts(to)[0], ROWS)
    ]
    assert up == []


@pytest.mark.parametrize("room", INNER_ROWS)
def test_every_arrow_inside_a_room_points_down(room: str) -> None:
    rows = INNER_ROWS[room]
    up = [
        str(found)
        for by, to, found in arrows()
        if parts(by)[0] == parts(to)[0] == room
        and len(parts(by)) > 1 < len(parts(to))
        and parts(by)[1] != parts(to)[1]
        and row(parts(by)[1], rows) >= row(parts(to)[1], rows)
    ]
    assert up == []


@pytest.mark.parametrize("package", ["celery", "kombu", "billiard", "redis", "redbeat"])
def test_the_ledger_knows_nothing_of_celery(package: str) -> None:
    assert [str(found) for found in imports("celeriac/ledger") if found.is_of(package)] == []


def test_only_the_ledger_speaks_sql() -> None:
    outside = [
        found
        for found in imports("celeriac", "app")
        if parts(found.by)[0] != "ledger" and found.is_of("sqlalchemy")
    ]
    assert [str(found) for found in outside if SQL & {*found.names}] == []


@pytest.mark.parametrize("package", ["app", "tasks", "tests", "benchmarks", "beat_schedule"])
def test_the_library_knows_nothing_of_what_is_built_on_it(package: str) -> None:
    assert [str(found) for found in imports("celeriac") if found.is_of(package)] == []


def test_a_task_reaches_no_deeper_than_the_public_face() -> None:
    ours = [found for found in imports("tasks") if found.is_of("celeriac")]
    assert [str(found) for found in ours if found.module != "celeriac"] == []
    assert {found.by for found in imports("tasks") if found.is_of("app")} == {"tasks"}


def test_the_static_schedule_is_data_only() -> None:
    found = imports("beat_schedule.py")
    assert [str(each) for each in found if each.is_of("celeriac", "app", "tasks")] == []


@pytest.mark.parametrize("late", [False, True], ids=["at import", "with those that come later"])
def test_no_module_imports_itself_in_a_circle(late: bool) -> None:
    places = ("celeriac", "app", "tasks")
    modules = {module_name(path) for place in places for path in (ROOT / place).rglob("*.py")}
    circle: dict[str, set[str]] = {module: set() for module in modules - {"celeriac"}}
    for found in imports(*places):
        if found.by in circle and (late or not found.late):
            circle[found.by] |= (targets(found) & circle.keys()) - {found.by}
    assert _circle(circle) is None


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
from celeriac import ids, names
if TYPE_CHECKING:
    from celeriac.cli import unseen
else:
    from three import seen
class Here:
    from four import within
    def later(self):
        import five
"""
    found = {(each.module, each.late) for each in _imports("here", ast.parse(code))}
    at_once = {"one.two", "celeriac", "three", "four"}
    assert found == {(module, False) for module in at_once} | {("five", True), ("celeriac.cli", True)}
    here = Import("here", "celeriac", ("ids", "names", "__version__"), False)
    assert targets(here) == {"celeriac.ids", "celeriac.names"}
