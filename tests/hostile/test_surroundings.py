"""A full disk and places that cannot be written: one line, before anything is computed if possible."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.hostile.refusal import check_refused
from train import contrastive
from train.runtime.command import exit_status
from train.runtime.errors import RecipeError
from train.runtime.files import check_writable, write_text


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def words(model: Path, output: Path) -> list[str]:
    return ["--model_name_or_path", str(model), "--output_dir", str(output), "--datasets_root", "samples"]


def test_a_full_disk_is_told_before_anything_is_computed(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(given: object) -> int:
        with room_for(1000):
            return contrastive.run(words(saved_model, tmp_path / "out"))

    check_refused(run, [], f"output_dir: {tmp_path / 'out'} cannot be written: File too large", tmp_path, capsys)


TENSOR = torch.zeros(40_000)
WRITERS: list[Callable[[Path], object]] = [
    lambda path: write_text(path, "x" * 160_000),
    lambda path: save_file({"a": TENSOR}, path),
    lambda path: torch.save({"a": TENSOR}, path),
]


@pytest.mark.parametrize("write", WRITERS, ids=["text", "safetensors", "pickle"])
def test_a_disk_that_gets_full_later_is_one_line(
    write: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever writes: our own files, an adapter, and the state of the optimiser."""
    with room_for(100_000):
        assert exit_status(lambda: write(tmp_path / "file")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "cannot be written" in error


def test_what_was_there_stays_whole_on_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("whole")
    with room_for(1000), pytest.raises(OSError, match="File too large"):
        write_text(path, "x" * 2000)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "whole"


@pytest.mark.parametrize(
    ("place", "folder", "message"),
    [
        ("file", True, "is a file; it should be a folder"),
        ("file/x", True, "cannot be written: Not a directory"),
        ("file/x.json", False, "cannot be written: Not a directory"),
        (".", False, "is a folder; it should be a file"),
        ("y" * 300, True, "cannot be written: File name too long"),
        ("y" * 300, False, "cannot be written: File name too long"),
        ("/dev/null", False, "is a device; it should be a file"),
        ("/proc/eavss", True, "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(place: str, folder: bool, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=message):
        check_writable("output_dir", tmp_path / place, folder=folder)


def test_a_place_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    check_writable("output_dir", tmp_path / "new" / "folder", folder=True)
    check_writable("output_dir", tmp_path, folder=True)
    check_writable("--json", tmp_path / "new" / "a.json", folder=False)
    check_writable("--json", tmp_path / "old.json", folder=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["old.json"]
