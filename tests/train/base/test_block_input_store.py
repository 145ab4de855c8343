"""The block-input caches on disk: room for them, and none of them half filled."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
import torch

from tests.toys import tiny_model
from tests.train.base.toy_reading import SEQUENCES, read, reader_of
from train.base.block_input_store import finish_cache, kept_references, map_states, start_cache
from train.base.block_inputs import size_in_bytes
from train.runtime.errors import ModelError
from train.runtime.files import cache_folder

pytestmark = pytest.mark.usefixtures("own_cache")


def test_the_longest_unused_caches_make_room() -> None:
    model = tiny_model("llama")
    size = size_in_bytes(model, SEQUENCES)
    for layer in (1, 2):
        read(model, layer)
    folder = cache_folder() / "prefix"
    first = min(folder.iterdir(), key=lambda each: each.stat().st_mtime)
    os.utime(first, (1, 1))
    reader_of(model).read(3, 2.5 * size)
    assert len(list(folder.iterdir())) == 2
    assert not first.exists()


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ModelError, match=r"no room for the block-input cache, .* \(No space left on device\)"):
        read(tiny_model("llama"))
    assert not list((cache_folder() / "prefix").iterdir())


def test_caches_that_are_being_filled_and_stray_files_stay() -> None:
    """What nobody has filled for a day goes."""
    folder = cache_folder() / "prefix"
    filling, abandoned, stray = folder / ".a.x.part", folder / ".b.y.part", folder / "notes.txt"
    for each in (filling, abandoned):
        each.mkdir(parents=True)
        (each / "states.bin").write_bytes(bytes(1000))
    stray.write_text("mine")
    os.utime(abandoned, (1, 1))
    reader_of(tiny_model("llama")).read(2, size_in_bytes(tiny_model("llama"), SEQUENCES))
    assert (filling.exists(), abandoned.exists(), stray.exists()) == (True, False, True)


def test_runs_that_share_a_folder_do_not_disturb_each_other() -> None:
    """Three fill and find the same few caches, which do not all have room; none may fail or read another's."""
    root, failed = cache_folder() / "prefix", list[BaseException]()

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(60):
            number = draw.randrange(6)
            folder = root / f"k{number}"
            try:
                if kept_references(folder) is None:
                    partial = start_cache(folder, 4000, 10_000)
                    (partial / "states.bin").write_bytes(bytes([number]) * 4000)
                    finish_cache(partial, folder, [float(number)])
                assert map_states(folder, (10, 100), torch.float32).view(torch.uint8).unique().tolist() == [number]
            except BaseException as error:
                failed.append(error)

    runs = [Thread(target=work, args=(seed,)) for seed in range(3)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert failed == []


def halved(folder: Path) -> None:
    os.truncate(folder / "states.bin", (folder / "states.bin").stat().st_size // 2)


def flipped(folder: Path) -> None:
    with open(folder / "states.bin", "r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))


def missing(folder: Path) -> None:
    (folder / "states.bin").unlink()


def cut_short(folder: Path) -> None:
    os.truncate(folder / "references.json", 20)


def of_an_earlier_version(folder: Path) -> None:
    (folder / "references.json").write_text("[1.0]")


@pytest.mark.parametrize("damage", [halved, flipped, missing, cut_short, of_an_earlier_version])
def test_a_damaged_cache_is_told_and_made_again(
    damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = read(tiny_model("llama"))
    assert whole.block_inputs is not None
    states = whole.block_inputs.states.clone()
    (folder,) = (cache_folder() / "prefix").iterdir()
    damage(folder)
    again = read(tiny_model("llama"))
    assert f"note: the block-input cache {folder} is damaged" in capsys.readouterr().out
    assert again.references == whole.references
    assert again.block_inputs is not None
    assert torch.equal(again.block_inputs.states, states)


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="EAVSS_CACHE name another folder, or set prefix_cache_gb: 0"):
        read(tiny_model("llama"))
