"""The example of docs/testing.md, run as its reader would run it."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from tests.processes import run
from tests.workers import PYTEST, ROOT, environment


def example() -> str:
    lines = (ROOT / "docs" / "testing.md").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("    from datetime"))
    last = next(number for number, line in enumerate(lines) if line.startswith("| | |"))
    return textwrap.dedent("\n".join(lines[first:last]))


def test_the_example_passes_and_can_fail(tmp_path: Path) -> None:
    (tmp_path / "test_good.py").write_text(example())
    (tmp_path / "test_bad.py").write_text(
        example().replace("assert_enqueued(welcome, 7)", "assert_enqueued(welcome, 8)")
    )
    app = ("-o", "celeriac_app=app.celery:app")
    argv = [sys.executable, "-m", *PYTEST, *app, "--rootdir", str(tmp_path), str(tmp_path)]
    env = environment("", "", {"data_dir": tmp_path / "data"}) | {"PYTHONPATH": str(ROOT)}
    ended = run(argv, cwd=tmp_path, env=env)
    assert "1 failed, 3 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "wanted one mail.welcome(8), found 0; what was enqueued:" in ended.stdout
