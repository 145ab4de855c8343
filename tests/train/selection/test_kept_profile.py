"""A profile is made once for each model and set of batches, and read back as it was."""

import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from eavss.profile import LayerProfile, PairedBatch
from tests.toys import EXAMPLES, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.model import kept_tensors
from train.model.kept_tensors import KeptTensors
from train.selection import scoring
from train.selection.scoring import score

PLENTY = 1e9


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))
    return tmp_path


def batches(seed: int = 0, budget: int = 128) -> list[PairedBatch]:
    return paired_batches(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 1, budget, seed)


def profile(model: PreTrainedModel, of: list[PairedBatch], fresh: bool = False) -> LayerProfile:
    return score(model, of, KeptTensors(PLENTY, fresh))


def equal(first: LayerProfile, second: LayerProfile) -> bool:
    return str(asdict(first)) == str(asdict(second)) and torch.equal(first.states, second.states)


def test_a_kept_profile_is_the_one_that_was_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, alone = tiny_model("llama"), score(tiny_model("llama"), batches())
    assert equal(profile(model, batches()), alone)
    assert "not made again" not in capsys.readouterr().out
    monkeypatch.setattr(scoring, "profile_batch", lambda *_: pytest.fail("it was made again"))
    assert equal(profile(model, batches()), alone)
    assert capsys.readouterr().out.count("not made again") == 1


def test_whatever_it_depends_on_makes_it_another(own_cache: Path) -> None:
    model = tiny_model("llama")
    for each, of in ((model, batches()), (model, batches(seed=1)), (model, batches(budget=1024))):
        profile(each, of)
    profile(tiny_model("gpt2"), batches())
    profile(model.to(torch.bfloat16), batches())  # type: ignore[arg-type]
    assert len(list(own_cache.rglob("*.safetensors"))) == 5


def test_it_is_made_afresh_where_that_is_asked_for(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    whole = profile(model, batches())
    (path,) = own_cache.rglob("*.safetensors")
    monkeypatch.setattr(kept_tensors, "_written", set())  # as in another process
    os.utime(path, (1, 1))
    assert equal(profile(model, batches(), fresh=True), whole)
    assert path.stat().st_mtime > 1


def test_without_disk_nothing_is_kept(own_cache: Path) -> None:
    score(tiny_model("llama"), batches(), KeptTensors(0))
    assert not list(own_cache.iterdir())
