"""What stands beside the code: pinned and installed versions, Alembic, names that we have, too."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

_FILES = ("requirements*.txt", "requirements/*.txt", "constraints*.txt")
_HIDING = re.compile(r"include_(?:name|object)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Attributes:
    pins: lines of requirement files that leave none of our versions, by file.
    installed: what is installed here in a version that is none of ours.
    migrations: Alembic's ``env.py`` files that would take the ledger's tables for the project's own.
    commands: names of our commands that another package gives to ``celery``, too, with the package.
    shadow: files that would be imported in our place.
    """

    pins: Sequence[str] = ()
    installed: Sequence[str] = ()
    migrations: Sequence[str] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    shadow: Sequence[str] = ()


def read(tree: Path) -> Surroundings:
    """Read what stands in the project's root, and what is installed here."""
    bounds = our_bounds()
    return Surroundings(
        pins=list(_unfit_pins(tree, bounds)),
        installed=list(_unfit_versions(bounds)),
        migrations=list(_migrations(tree)),
        commands=_shared_commands(),
        shadow=[name for name in ("celeriac", "celeriac.py") if _shadows(tree, name)],
    )


def our_bounds() -> dict[str, Requirement]:
    """What we need, by name: of our own metadata, with the drivers that our extras bring."""
    wanted = map(Requirement, metadata.requires("celeriac") or ())
    found: dict[str, Requirement] = {}
    for each in wanted:
        marker = str(each.marker or "")
        if "extra" not in marker or re.search(r"extra == [\"'](postgres|flower)[\"']", marker):
            found.setdefault(_key(each.name), each)
    return found


def _unfit_pins(tree: Path, bounds: Mapping[str, Requirement]) -> Iterator[str]:
    for file, line in _required(tree):
        try:
            pin = Requirement(line)
        except InvalidRequirement:
            continue
        ours = bounds.get(_key(pin.name))
        if ours is None:
            continue
        exact = [each.version for each in pin.specifier if each.operator in ("==", "===", "~=")]
        highest = [each.version for each in pin.specifier if each.operator in ("<", "<=")]
        if any(not _fits(version, ours) for version in exact) or any(
            _below(version, ours) for version in highest
        ):
            yield f"{file}: {pin.name}{pin.specifier}, wanted {ours.name}{ours.specifier}"


def _required(tree: Path) -> Iterator[tuple[str, str]]:
    """Lines of requirement files, and the dependencies of ``pyproject.toml``."""
    for pattern in _FILES:
        for file in sorted(tree.glob(pattern)):
            for line in file.read_text(errors="replace").splitlines():
                text = line.partition(" #")[0].partition(" --hash")[0].strip().rstrip("\\").strip()
                if text and not text.startswith(("#", "-")):
                    yield str(file.relative_to(tree)), text
    project = tree / "pyproject.toml"
    if project.is_file():
        try:
            read = tomllib.loads(project.read_text(errors="replace"))
        except tomllib.TOMLDecodeError:
            return
        for line in read.get("project", {}).get("dependencies", ()):
            yield "pyproject.toml", str(line)


def _unfit_versions(bounds: Mapping[str, Requirement]) -> Iterator[str]:
    for name, ours in bounds.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if not _fits(found, ours):
            yield f"{ours.name} {found}, wanted {ours.name}{ours.specifier}"


def _fits(version: str, ours: Requirement) -> bool:
    try:
        return ours.specifier.contains(Version(version.rstrip(".*")), prereleases=True)
    except InvalidVersion:
        return True  # no version that could be compared


def _below(version: str, ours: Requirement) -> bool:
    """Whether everything below ``version`` is too old for us."""
    lowest = [each.version for each in ours.specifier if each.operator in (">=", ">")]
    try:
        return any(Version(version) <= Version(each) for each in lowest)
    except InvalidVersion:
        return False


def _migrations(tree: Path) -> Iterator[str]:
    for file in sorted(tree.glob("**/env.py")):
        text = file.read_text(errors="replace")
        if "alembic" in text and "site-packages" not in file.parts:
            beside = "".join(each.read_text(errors="replace") for each in _flask_code(tree, text))
            if not _HIDING.search(text + beside):
                yield str(file.relative_to(tree))


def _flask_code(tree: Path, env: str) -> list[Path]:
    """With Flask-Migrate what ``env.py`` is told stands where the extension is made."""
    return list(tree.glob("*/*.py")) + list(tree.glob("*.py")) if "flask" in env else []


def _shared_commands() -> dict[str, str]:
    points = metadata.entry_points(group="celery.commands")
    ours = {point.name for point in points if point.value.startswith("celeriac.")}
    others = {
        point.name: point.value for point in points if not point.value.startswith(("celeriac.", "flower."))
    }
    return {name: value.partition(":")[0] for name, value in sorted(others.items()) if name in ours}


def _shadows(tree: Path, name: str) -> bool:
    """Whether the project has a module of our name; this package's own checkout has it, too."""
    return (tree / name).exists() and not (tree / name / "operate" / "adoption").is_dir()


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
