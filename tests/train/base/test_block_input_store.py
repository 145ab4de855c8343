"""The block-input caches on disk: room for them, and none of them half filled."""

import os

import pytest

from tests.toys import tiny_model
from tests.train.base.toy_reading import SEQUENCES, read, reader_of
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
