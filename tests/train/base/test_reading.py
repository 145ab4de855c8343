"""The pass over the frozen base: references, and what is kept for later calls and runs."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from tests.ranks import on_two_ranks
from tests.toys import naive_logprobs, tiny_model
from tests.train.base.toy_reading import SEQUENCES, read, reader_of
from train.base.block_inputs import size_in_bytes
from train.base.reading import BaseReader
from train.batching.packing import Packer
from train.model.lora import add_lora
from train.recipe.settings import LoraSettings
from train.runtime.files import cache_folder

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("pack", [True, False])
def test_references_are_the_base_models(model: PreTrainedModel, pack: bool) -> None:
    found = read(model, pack=pack).references
    assert set(found) == set(SEQUENCES)
    for s in SEQUENCES:
        expected = naive_logprobs(model, s.ids, s.answer_start, s.answer_end).sum().item()
        assert found[s] == pytest.approx(expected, abs=1e-4)


def test_what_an_earlier_call_has_found_spares_the_blocks_above() -> None:
    """A second lowest block gets the same states as from a reader of its own, and nothing from the block on runs."""
    model = tiny_model("llama")
    reader = reader_of(model)
    first = reader.read(2, 1e9)
    alone = read(model, layer=1)
    shutil.rmtree(cache_folder() / "prefix")
    find_blocks(model).modules[1].register_forward_hook(lambda *_: pytest.fail("block 1 ran"))
    model.train()
    second = reader.read(1, 1e9)
    assert not model.training
    assert second.references == first.references
    assert second.block_inputs is not None
    assert alone.block_inputs is not None
    torch.testing.assert_close(second.block_inputs.states, alone.block_inputs.states, rtol=0, atol=0)
    assert alone.block_inputs.states.abs().sum(1).min() > 0


def test_the_same_block_again_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = reader_of(tiny_model("llama"))
    first = reader.read(2, 1e9)
    monkeypatch.setattr(BaseReader, "_read_cached", lambda *_: pytest.fail("read again"))
    assert reader.read(2, 1e9) is first


def test_a_second_run_reads_the_cache_and_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    first = read(model)
    monkeypatch.setattr(BaseReader, "read_references", lambda *_: pytest.fail("read again"))
    second = read(model, budget=100)  # in other batches
    assert second.references == first.references
    assert first.block_inputs is not None
    assert second.block_inputs is not None
    assert torch.equal(first.block_inputs.states, second.block_inputs.states)
    assert first.block_inputs.states.numel() * 4 == size_in_bytes(model, SEQUENCES)


def test_the_key_tells_model_data_block_and_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    read(tiny_model("llama"))
    other = tiny_model("llama")
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1
    for number, (model, layer, pack) in enumerate(
        [(other, 2, True), (tiny_model("llama"), 1, True), (tiny_model("llama"), 2, False)], start=2
    ):
        read(model, layer, pack)
        assert len(list((cache_folder() / "prefix").iterdir())) == number
    BaseReader(tiny_model("llama"), Packer.of(other), SEQUENCES[:3], [], 300).read(2, 1e9)
    assert len(list((cache_folder() / "prefix").iterdir())) == 5


def test_an_interrupted_pass_leaves_nothing_that_is_taken_for_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    with monkeypatch.context() as patch:
        patch.setattr("train.base.reading.target_logprobs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            read(model)
    assert not list((cache_folder() / "prefix").iterdir())
    assert read(model).references == read(model, layer=None).references


def test_references_never_come_from_an_adapter() -> None:
    model = tiny_model("llama")
    add_lora(model, [2], LoraSettings())
    with pytest.raises(ValueError, match="before an adapter"):
        read(model)


@pytest.mark.parametrize("shared", [True, False])
def test_machines_may_share_the_cache_folder_or_have_one_each(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both there is what one process keeps, also after one machine has lost it."""
    expected, model = read(tiny_model("llama")), tiny_model("llama")
    folders = [tmp_path / ("cache" if shared else str(rank)) for rank in (0, 1)]

    def work(rank: int) -> list[bool]:
        monkeypatch.setenv("EAVSS_CACHE", str(folders[rank]))
        same = []
        for _ in range(2):
            found = read(model)
            assert found.block_inputs is not None
            assert expected.block_inputs is not None
            same += [found.block_inputs.states.equal(expected.block_inputs.states)]
            same += [found.references == expected.references]
            del found
            torch.distributed.barrier()  # rank 0 may still be finishing the folder
            if rank == 1:
                shutil.rmtree(folders[rank])
            torch.distributed.barrier()
        read(model)
        return same

    assert on_two_ranks(work) == [[True] * 4] * 2
    for folder in folders:
        (kept,) = (folder / "prefix").iterdir()
        assert sorted(path.name for path in kept.iterdir()) == ["references.json", "states.bin"]
