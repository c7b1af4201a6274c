"""Makes the pictures of ``docs/images``: what the commands print over the demonstration's load, as SVG.

    make screenshots

The platform runs in a directory of its own, as processes. A picture in which something of this machine is to
be seen is refused.
"""

from __future__ import annotations

import getpass
import io
import json
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.workers import DemoProcess, environment

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"

_TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
_LOAD = 240  # seconds until the demonstration is done
_DONE = "every job is in the state in which it should be"
_HOOK = ('"http://127.0.0.1:9/hook"', '{"order": 7}')

#: Without the fonts that would be fetched when a picture is looked at.
_FORMAT = re.sub(r"(@font-face \{\{.*?\}\}|<!--.*?-->)\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)
_CURSOR = re.compile(r"\x1b\[\?\d+[hl]")
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Revealing(Exception):
    """A picture shows something of the machine that it was made on."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A command and its picture.

    Attributes:
        words: what is typed after ``celery -A app``; ``{later}`` and ``{dead}`` are ids of jobs.
        columns: of the terminal.
        until: the line before which it is cut; None: it is whole.
    """

    name: str
    words: tuple[str, ...]
    columns: int = 110
    until: str | None = None

    @property
    def title(self) -> str:
        if self.name == "demo":
            return "python -m app.demo"
        return " ".join(("celery -A app", *("ID" if word[0] == "{" else word for word in self.words)))

    @property
    def path(self) -> Path:
        return IMAGES / f"{self.name}.svg"


DEMO = Picture("demo", ("demo",), columns=80)
PICTURES = (
    Picture("jobs-list", ("jobs", "list", "--state", "failed", "--limit", "5"), columns=150),
    Picture("jobs-show", ("jobs", "show", "{dead}"), until="attempt 1"),
    Picture("jobs-explain", ("jobs", "explain", "{later}")),
    Picture("dead-letters-list", ("dead-letters", "list"), columns=130),
    Picture("queues", ("queues",)),
    Picture("stats", ("stats",), columns=120),
    Picture("schedules-list", ("schedules", "list"), columns=140),
    Picture("doctor", ("doctor",)),
)


def make() -> None:
    """Run the demonstration, and take all pictures of it."""
    with tempfile.TemporaryDirectory() as home:
        env = environment_of_the_demonstration(home)
        with DemoProcess([], env=env) as demo:
            demo.logged("Ctrl-C stops everything", within=_LOAD)
            save(DEMO, _end(demo.log))
            ids = {"later": _enqueued(env), "dead": _dead(env)}
            for picture in PICTURES:
                save(picture, printed(picture, env, ids))
            demo.term()
            demo.wait(60)


def environment_of_the_demonstration(home: str) -> dict[str, str]:
    """What it runs with, in a directory of its own."""
    ports = {"flower_port": 0, "console_port": 0}
    return environment("", "", {"data_dir": home, **ports, **_TERMINAL, "COLUMNS": DEMO.columns})


def printed(picture: Picture, env: Mapping[str, str], ids: Mapping[str, str] | None = None) -> str:
    """What its command prints, with the colours."""
    words = [word.format(**ids) if ids and word[0] == "{" else word for word in picture.words]
    text = _anywhere(_run(words, {**env, **_TERMINAL, "COLUMNS": str(picture.columns)}))
    if picture.until is None:
        return text
    kept = takewhile(lambda line: not _COLOUR.sub("", line).startswith(str(picture.until)), text.splitlines())
    return "\n".join((*kept, "…"))


def _anywhere(text: str) -> str:
    """``text`` with another name for this machine in a worker's name; columns stay where they are."""
    here = socket.gethostname()
    return text.replace(f"@{here}", f"@{'w1'.ljust(len(here))}")


def save(picture: Picture, text: str) -> None:
    picture.path.parent.mkdir(exist_ok=True)
    picture.path.write_text(drawn(picture, text))
    print(picture.path.relative_to(ROOT))


def drawn(picture: Picture, text: str) -> str:
    """The picture.

    Raises:
        Revealing: the text names this machine, its user, or a directory of either.
    """
    shown = Text.from_ansi(text.strip("\n"))
    for secret in secrets(shown.plain):
        raise Revealing(f"{picture.name} shows {secret!r}")
    width = max(map(len, shown.plain.splitlines()))
    console = Console(
        record=True, file=io.StringIO(), width=width, color_system="truecolor", force_terminal=True
    )
    console.print(shown, soft_wrap=True)
    return console.export_svg(title=picture.title, code_format=_FORMAT, unique_id=picture.name)


def secrets(text: str) -> list[str]:
    """What of this machine, its user, or a directory of either is to be seen in the text."""
    names = (socket.gethostname(), getpass.getuser(), str(ROOT), str(Path.home()), tempfile.gettempdir())
    return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]


def _end(log: str) -> str:
    """The last look at the load, and its numbers."""
    return _CURSOR.sub("", log.rpartition("\x1b[2K")[2].partition(_DONE)[0]) + _DONE


def _enqueued(env: Mapping[str, str]) -> str:
    """The id of a job that is not due."""
    args = [word for arg in _HOOK for word in ("--arg", arg)]
    return _run(["jobs", "enqueue", "webhooks.deliver", *args, "--countdown", "900"], env).strip()


def _dead(env: Mapping[str, str]) -> str:
    """The id of a job that was tried more than once and given up."""
    found = json.loads(_run(["jobs", "list", "--state", "failed", "--json"], env))
    return next(str(job["id"]) for job in found["jobs"] if job["try_count"] > 1)


def _run(words: list[str], env: Mapping[str, str]) -> str:
    argv = [sys.executable, "-m", "celery", "-A", "app", *words]
    done = subprocess.run(argv, cwd=ROOT, env=dict(env), stdout=subprocess.PIPE, text=True, timeout=60)
    return done.stdout


if __name__ == "__main__":
    make()
