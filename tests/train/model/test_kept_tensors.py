"""Tensors on disk are read back as they were written, or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from train.model import kept_tensors
from train.model.kept_tensors import KeptTensors

TENSORS = {"0": torch.arange(6.0).view(2, 3).bfloat16(), "1": torch.tensor(7), "2": torch.zeros(2, 0)}
KEPT = KeptTensors(1e6)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))
    return tmp_path / "prefix" / "folder" / "name.safetensors"


def is_kept(kept: KeptTensors = KEPT, name: str = "name") -> bool:
    found = kept.read("folder", name)
    if found is None:
        return False
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[key], each) and found[key].dtype == each.dtype for key, each in TENSORS.items())
    return True


def test_what_is_kept_is_read_and_nothing_else() -> None:
    assert not is_kept()
    KEPT.keep("folder", "name", TENSORS)
    assert is_kept()
    assert not is_kept(name="other")


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def of_another_kind(path: Path) -> None:
    path.write_bytes(b"\xff" * 100)


@pytest.mark.parametrize("damage", [halved, flipped, of_another_kind])
def test_a_damaged_file_is_told(
    damage: Callable[[Path], None], own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    KEPT.keep("folder", "name", TENSORS)
    damage(own_cache)
    assert not is_kept()
    assert f"note: {own_cache} is damaged; it is made again" in capsys.readouterr().out
    KEPT.keep("folder", "name", TENSORS)
    assert is_kept()


def test_fresh_reads_what_this_process_has_written_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    KEPT.keep("folder", "name", TENSORS)
    assert is_kept(KeptTensors(1e6, fresh=True))
    monkeypatch.setattr(kept_tensors, "_written", set())
    assert not is_kept(KeptTensors(1e6, fresh=True))


def test_where_there_is_no_room_or_no_folder_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    KeptTensors(10).keep("folder", "name", TENSORS)
    assert not is_kept()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "file"))
    KEPT.keep("folder", "name", TENSORS)
    assert "note: nothing is kept for later runs in" in capsys.readouterr().out
