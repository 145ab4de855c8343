"""A trained model's scores do not depend on whether the blocks below the trained ones ran."""

import os
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from data.examples import Example
from eavss.blocks import find_blocks
from eavss.rewiring import rewired
from tests.toys import BLOCKS, EXAMPLES, KINDS, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.evaluation import lower_blocks
from train.evaluation.likelihood import AnswerLogprob, AnswerScorer
from train.evaluation.lower_blocks import LowerBlocks, lowest_adapted
from train.model import kept_tensors
from train.model.kept_tensors import KeptTensors
from train.model.lora import add_lora
from train.recipe.settings import LoraSettings

ENCODER = Encoder(tiny_tokenizer(), "plain", 128)
ASKED = [*EXAMPLES, Example("toy", "a longer question than the others?", ("x", "a long answer"))]
SEQUENCES = [s for example in ASKED for s in ENCODER(example, [*example.truthful, *example.hallucinated])]
LAYER = 2
PLENTY = 1e9


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))
    return tmp_path / "prefix"


def trained(kind: str = "llama") -> PeftModel:
    """Return a model with an adapter on the blocks from `LAYER` on that changes what it says."""
    model = add_lora(tiny_model(kind), range(LAYER, BLOCKS), LoraSettings())
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return model


def scores(model: PreTrainedModel | PeftModel, lower: LowerBlocks | None = None, **how: bool) -> list[AnswerLogprob]:
    return AnswerScorer(model, ENCODER, 60, lower=lower, **how).score_sequences(SEQUENCES, "")


def kept_states(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.safetensors") if not path.name.startswith("tried"))


def below(model: PreTrainedModel | PeftModel, limit: float = PLENTY, fresh: bool = False) -> LowerBlocks:
    found = LowerBlocks.of(model, LAYER, KeptTensors(limit, fresh))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [True, False])
def test_the_trained_model_starts_where_the_base_has_left_off(kind: str, share: bool) -> None:
    """Prompts of different lengths in small groups, for which the prompts' keys and values are kept or not."""
    expected = scores(trained(kind), share_prompts=share)
    base = tiny_model(kind)
    assert scores(base, below(base), share_prompts=share) == scores(base, share_prompts=share) != expected
    model, ran = trained(kind), list[int]()
    lower = below(model)
    assert scores(model, lower, share_prompts=share) == expected  # after which nothing has to be tried
    block = find_blocks(model).modules[0]
    block.get_submodule(next(name for name, _ in block.named_children())).register_forward_hook(
        lambda *_: ran.append(1)
    )
    assert scores(model, lower, share_prompts=share) == expected
    assert not ran
    assert scores(model, share_prompts=share) == expected
    assert ran


def test_what_no_base_has_left_the_first_trained_model_leaves(own_cache: Path) -> None:
    first, second = trained(), trained()
    assert scores(first, below(first)) == scores(trained())
    files = kept_states(own_cache)
    times = [path.stat().st_mtime_ns for path in files]
    assert scores(second, below(second)) == scores(trained())
    assert kept_states(own_cache) == files
    assert [path.stat().st_mtime_ns for path in files] == times


def test_where_the_model_says_something_else_all_blocks_run(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained()
    expected = scores(model, below(model))
    monkeypatch.setattr(lower_blocks, "says_the_same_from", lambda *_: False)
    monkeypatch.setattr(lower_blocks, "start_passes_at", lambda *_: pytest.fail("it started at the block"))
    assert scores(model, below(model)) == expected
    monkeypatch.setattr(lower_blocks, "says_the_same_from", lambda *_: pytest.fail("it was tried again"))
    assert scores(model, below(model)) == expected


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [halved, flipped])
def test_a_damaged_file_is_told_and_made_again(
    damage: object, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained()
    expected = scores(model, below(model))
    path = max(own_cache.rglob("*.safetensors"), key=lambda each: each.stat().st_size)
    whole = path.read_bytes()
    damage(path)  # type: ignore[operator]
    assert scores(model, below(model)) == expected
    assert f"note: {path} is damaged; it is made again" in capsys.readouterr().out
    assert path.read_bytes() == whole


def test_a_fresh_measurement_reads_what_this_process_has_kept_alone(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained()
    scores(model, below(model))
    monkeypatch.setattr(kept_tensors, "_written", set())  # as in another process
    monkeypatch.setattr(kept_tensors, "safe_open", lambda *_, **__: pytest.fail("it was read"))
    assert scores(model, below(model, fresh=True)) == scores(model)


def test_where_there_is_no_room_all_blocks_run(own_cache: Path) -> None:
    model = trained()
    assert scores(model, below(model, limit=1)) == scores(model)
    assert not list(own_cache.rglob("*.safetensors"))


def test_where_nothing_can_be_kept_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "file"))
    model = trained()
    assert scores(model, below(model)) == scores(model)
    assert "note: nothing is kept for later runs in" in capsys.readouterr().out


def test_nothing_is_kept_where_nothing_is_shared() -> None:
    base, model = tiny_model("llama"), trained()
    assert LowerBlocks.of(base, None, KeptTensors(PLENTY)) is None
    assert LowerBlocks.of(base, 0, KeptTensors(PLENTY)) is None
    assert LowerBlocks.of(model, None, KeptTensors(0)) is None
    with rewired(model, [(block,) for block in reversed(range(BLOCKS))]):
        assert LowerBlocks.of(model, None, KeptTensors(PLENTY)) is None


def test_the_lowest_adapted_block_is_found() -> None:
    assert lowest_adapted(trained()) == LAYER
    outside = get_peft_model(tiny_model("llama"), LoraConfig(target_modules=["lm_head"]))
    assert lowest_adapted(outside) == 0
