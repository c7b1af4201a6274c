"""The file in which a console leaves its address, with the token that opens its next session."""

from __future__ import annotations

from pathlib import Path

from celeriac import private_files


def path(data_dir: Path) -> Path:
    return data_dir / "console.url"


def write(data_dir: Path, url: str) -> None:
    """Write the address for the owner of the data directory alone. Without a directory it is only printed."""
    file = path(data_dir)
    try:
        private_files.make_directory(data_dir)
        private_files.make_file(file)
        file.write_text(f"{url}\n")
    except OSError:
        return


def read(data_dir: Path) -> str:
    """The address; without a token when the file is not there."""
    try:
        return path(data_dir).read_text().strip()
    except OSError:
        return "see the lines of the console"
