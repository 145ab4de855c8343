"""Files are complete or not there."""

import json
from pathlib import Path

import pytest

from train.runtime.files import cache_folder, write_json, write_text, write_whole


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "caf\u00e9")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "caf\u00e9"


def test_what_json_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_cache_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("EAVSS_CACHE", "")
    assert cache_folder() == Path.home() / ".cache" / "eavss"
