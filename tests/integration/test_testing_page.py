"""The example of docs/testing.md, run as its reader would run it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from tests.workers import ROOT, environment


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
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "celeriac_app=app.celery:app",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    env = environment("", "", {"data_dir": tmp_path / "data"}) | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert "1 failed, 3 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "wanted one mail.welcome(8), found 0; what was enqueued:" in ended.stdout
