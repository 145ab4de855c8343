"""Texts that the base writes, and the term that holds training to them, on tiny models."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import train.base.replay_texts as replay_module
from eavss.batches import TokenSequence
from eavss.selectors import Selection
from tests.toys import arguments, tiny_model, tiny_tokenizer, toy_setup
from train.base.reading import BaseReader
from train.base.replay_texts import write_replay_texts
from train.batching.packing import Packer
from train.batching.pairs import MicroBatch
from train.losses import divergence
from train.plan import pair_costs
from train.recipe.settings import LoraSettings
from train.trainer import ContrastiveTrainer


@pytest.fixture(scope="module")
def texts() -> list[TokenSequence]:
    return write_replay_texts(tiny_model("llama"), tiny_tokenizer(), seed=3)


def trained(
    folder: Path, texts: list[TokenSequence], monkeypatch: pytest.MonkeyPatch, *words: str
) -> ContrastiveTrainer:
    """Train a toy for twelve steps with exactly these texts to replay."""
    monkeypatch.setattr("train.training.write_replay_texts", lambda *_: texts)
    args, training = arguments(folder, "--max_steps", "12", "--learning_rate", "2e-2", "--seed", "1", *words)
    setup = toy_setup(args)
    selection = Selection((1, 2), "layers")
    trainer = setup.trainer(selection, training)
    trainer.train()
    return trainer


def mean_divergence(trainer: ContrastiveTrainer, texts: list[TokenSequence]) -> float:
    """KL(base || adapted), from the full softmaxes of one text at a time."""
    base, adapted = tiny_model("llama"), trainer.model.eval()
    found = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([text.ids])
            base_logp, model_logp = (
                F.log_softmax(m(input_ids=ids).logits[0, :-1].double(), -1) for m in (base, adapted)
            )
            found.append((base_logp.exp() * (base_logp - model_logp)).sum(-1).mean().item())
    return sum(found) / len(found)


def test_texts_are_the_bases_own_and_repeat(
    texts: list[TokenSequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))  # not what the fixture kept
    again, other = (write_replay_texts(tiny_model("llama"), tiny_tokenizer(), seed=seed) for seed in (3, 4))
    assert texts == again
    assert texts != other
    assert {len(text) for text in texts} == {64}
    special = set(tiny_tokenizer().all_special_ids)
    assert not {text.ids[0] for text in texts} & special


@pytest.mark.parametrize("layer", [None, 2])
@pytest.mark.parametrize("pack", [True, False])
def test_the_base_reads_them_up_to_its_head(texts: list[TokenSequence], layer: int | None, pack: bool) -> None:
    model = tiny_model("llama")
    found = BaseReader(model, Packer.of(model, pack), [], texts, 300).read(layer, 1e9)
    assert list(found.references) == []
    assert {text.sequence for text in found.replay} == set(texts)
    for text in (found.replay[0], found.replay[40]):
        expected = model(input_ids=torch.tensor([text.sequence.ids])).logits[0, :-1]
        torch.testing.assert_close(model.get_output_embeddings()(text.head_inputs), expected)


def test_texts_are_kept_for_the_next_run(texts: list[TokenSequence], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "_continue", lambda *_: pytest.fail("the kept texts were not used"))
    again = write_replay_texts(tiny_model("llama"), tiny_tokenizer(), seed=3)
    assert again == texts


def test_divergence_is_that_of_the_distributions() -> None:
    base, model = torch.randn(5, 7), torch.randn(5, 7, requires_grad=True)
    expected = (base.softmax(-1) * (base.log_softmax(-1) - model.log_softmax(-1))).sum(-1).mean()
    assert divergence(base, model).item() == pytest.approx(expected.item())
    assert divergence(base, base).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "words", [(), ("--prefix_cache_gb", "0"), ("--pack_answers", "false"), ("--train_token_budget", "100")]
)
def test_the_logged_term_is_the_divergence_and_starts_at_zero(
    words: tuple[str, ...], texts: list[TokenSequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = texts[:1]
    trainer = trained(tmp_path, one, monkeypatch, "--replay_weight", "1.0", *words)
    logged = [entry["loss/replay"] for entry in trainer.state.log_history if "loss/replay" in entry]
    assert len(logged) == 12
    assert logged[0] == pytest.approx(0, abs=1e-6)
    assert logged[-1] > 1e-4
    part = MicroBatch(list(trainer.train_dataset)[:2], share=0.0, replay=trainer._base.replay[0])
    again = trainer.compute_loss(trainer.model, {"part": part})
    assert again.item() == pytest.approx(mean_divergence(trainer, one), rel=1e-3)


def test_replay_holds_the_model_to_the_base(
    texts: list[TokenSequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the base's texts that training did not see, the divergence is a fraction of what it is without replay."""
    seen, unseen = texts[:48], texts[48:]
    free = mean_divergence(trained(tmp_path / "a", seen, monkeypatch), unseen)
    held = mean_divergence(trained(tmp_path / "b", seen, monkeypatch, "--replay_weight", "10"), unseen)
    assert held < 0.7 * free


def test_without_texts_none_joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trained(tmp_path, [], monkeypatch)
    assert all("loss/replay" not in entry for entry in trainer.state.log_history)


def test_the_plan_counts_what_a_text_adds_to_a_step(
    texts: list[TokenSequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a preamble, because attention over one wide row weighs much in a model of 32 units.
    monkeypatch.setattr("train.batching.packing.preamble_of", lambda _: ())
    trainer = trained(tmp_path, texts[:1], monkeypatch, "--replay_weight", "1.0")
    pairs = trainer.train_dataset
    counted = []
    for replay in (None, trainer._base.replay[0]):
        with FlopCounterMode(display=False) as counter:
            part = MicroBatch(list(pairs)[:2], replay=replay)
            trainer.compute_loss(trainer.model.train(), {"part": part}).backward()
        counted.append(counter.get_total_flops())
    model = tiny_model("llama")
    planned = [
        pair_costs(model, pairs, replayed, Packer.of(model), LoraSettings()).step([1, 2], 2, cached=True)
        for replayed in ([], texts[:1])
    ]
    assert counted[1] - counted[0] == pytest.approx(planned[1] - planned[0], rel=0.15)
