"""What every bad input gets: one line, exit status 2, and the output folder as it was."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from train.runtime.files import size_and_hash


def content(folder: Path) -> dict[str, object]:
    """Everything in a folder by name: a file's size and hash, None for a folder."""
    if not folder.is_dir():
        return {}
    return {
        str(path.relative_to(folder)): size_and_hash(path) if path.is_file() else None for path in folder.rglob("*")
    }


def check_refused(
    run: Callable[[Sequence[str]], int],
    words: Sequence[str],
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run a command in this process, and check that it refuses its words as a user's mistake should be refused.

    Args:
        message: what the line should say.
        folder: a folder that the command must leave as it was.
    """
    before = content(folder)
    capsys.readouterr()
    status = run(words)
    error = capsys.readouterr().err
    # Progress bars and the notes of libraries may come before it.
    lines = [
        line for line in error.splitlines() if line and "it/s]" not in line and not line.startswith("[transformers]")
    ]
    assert status == 2, error
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert len(lines[0]) < 800
    assert content(folder) == before
