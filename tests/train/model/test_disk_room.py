"""The caches unused for longest make room for others."""

import os
import time
from pathlib import Path

from train.model.disk_room import make_room

DAY = 24 * 3600


def cache(parent: Path, name: str, size: int, unused: float) -> Path:
    """Make a cache of so many bytes that was last used so many seconds ago."""
    folder = parent / name
    folder.mkdir()
    (folder / "states").write_bytes(bytes(size))
    os.utime(folder, (time.time() - unused,) * 2)
    return folder


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    new, older, oldest = (cache(tmp_path, str(days), 100, days * DAY) for days in (1, 2, 3))
    assert make_room(tmp_path, 250)
    assert (new.exists(), older.exists(), oldest.exists()) == (True, True, False)
    assert make_room(tmp_path, 100)
    assert (new.exists(), older.exists()) == (True, False)
    assert make_room(tmp_path, 0)
    assert not new.exists()


def test_what_is_in_use_stays_and_leaves_no_room(tmp_path: Path) -> None:
    used, filling = cache(tmp_path, "used", 100, 0), cache(tmp_path, ".filling.part", 100, 60)
    abandoned = cache(tmp_path, ".abandoned.part", 100, 2 * DAY)
    assert not make_room(tmp_path, 50)
    assert (used.exists(), filling.exists(), abandoned.exists()) == (True, True, False)
    assert not make_room(tmp_path, -1)


def test_nothing_fits_where_there_is_less_than_no_room(tmp_path: Path) -> None:
    assert make_room(tmp_path, 0)
    assert not make_room(tmp_path, -1)


def test_files_make_room_as_folders_do_and_stray_ones_stay(tmp_path: Path) -> None:
    names = {"new.json": 1, "old.json": 2, ".writing.json.7.part": 0.5, ".abandoned.json.8.part": 2, "mine.txt": 9}
    for name, days in names.items():
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (time.time() - days * DAY,) * 2)
    assert make_room(tmp_path, 150)
    assert {path.name for path in tmp_path.iterdir()} == {"new.json", ".writing.json.7.part", "mine.txt"}
