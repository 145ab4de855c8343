"""Texts of the base's own, and the term that holds training to them, on tiny models."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import train.base.replay_texts as replay_module
from eavss.batches import TokenSequence
from tests.toys import EXAMPLES, arguments, tiny_model, tiny_tokenizer
from train.base.reading import read_base
from train.base.replay_texts import write_texts
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import make_pairs
from train.losses import divergence
from train.model.lora import add_lora
from train.plan import pair_costs
from train.trainer import ContrastiveTrainer


@pytest.fixture(scope="module")
def texts() -> list[TokenSequence]:
    return write_texts(tiny_model("llama"), tiny_tokenizer(), seed=3)


def trained(folder: Path, texts: list[TokenSequence], *words: str) -> ContrastiveTrainer:
    args, training = arguments(folder, "--max_steps", "12", "--learning_rate", "2e-2", "--seed", "1", *words)
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    pairs = make_pairs(EXAMPLES, Encoder(tokenizer, "plain", 128), 2, False, seed=0)
    packer = Packer.of(model, args.pack_answers)
    base = read_base(model, pairs.sequences(), packer, 512, 1 if args.prefix_cache_gb else None, 1e9, texts)
    torch.manual_seed(0)
    adapted = add_lora(model, [1, 2], args)
    trainer = ContrastiveTrainer(adapted, [1, 2], args, training, pairs, base, packer, tokenizer)
    trainer.train()
    return trainer


def mean_divergence(trainer: ContrastiveTrainer, texts: list[TokenSequence]) -> float:
    """KL(base || adapted), from the full softmaxes of one text at a time."""
    base, adapted = tiny_model("llama"), trainer.model.eval()
    found = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([text.ids])
            wanted, told = (F.log_softmax(m(input_ids=ids).logits[0, :-1].double(), -1) for m in (base, adapted))
            found.append((wanted.exp() * (wanted - told)).sum(-1).mean().item())
    return sum(found) / len(found)


def test_texts_are_the_bases_own_and_repeat(
    texts: list[TokenSequence], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))  # not what the fixture kept
    again, other = (write_texts(tiny_model("llama"), tiny_tokenizer(), seed=seed) for seed in (3, 4))
    assert texts == again
    assert texts != other
    assert {len(text) for text in texts} == {64}
    special = set(tiny_tokenizer().all_special_ids)
    assert not {text.ids[0] for text in texts} & special


@pytest.mark.parametrize("layer", [None, 2])
@pytest.mark.parametrize("pack", [True, False])
def test_the_base_reads_them_up_to_its_head(texts: list[TokenSequence], layer: int | None, pack: bool) -> None:
    model = tiny_model("llama")
    found = read_base(model, [], Packer.of(model, pack), 300, layer, 1e9, texts)
    assert list(found.references) == []
    assert set(found.head_inputs) == set(texts)
    for text in (texts[0], texts[40]):
        expected = model(input_ids=torch.tensor([text.ids])).logits[0, :-1]
        torch.testing.assert_close(model.get_output_embeddings()(found.head_inputs[text]), expected)


def test_texts_are_kept_for_the_next_run(texts: list[TokenSequence], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "_write", lambda *_: pytest.fail("the kept texts were not used"))
    again = write_texts(tiny_model("llama"), tiny_tokenizer(), seed=3)
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
    words: tuple[str, ...], texts: list[TokenSequence], tmp_path: Path
) -> None:
    one = texts[:1]
    trainer = trained(tmp_path, one, "--replay_weight", "1.0", *words)
    logged = [entry["loss/replay"] for entry in trainer.state.log_history if "loss/replay" in entry]
    assert len(logged) == 12
    assert logged[0] == pytest.approx(0, abs=1e-6)
    assert logged[-1] > 1e-4
    inputs = {"pairs": list(trainer.train_dataset)[:2], "share": 0.0, "texts": one}
    again = trainer.compute_loss(trainer.model, inputs)
    assert again.item() == pytest.approx(mean_divergence(trainer, one), rel=1e-3)


def test_replay_holds_the_model_to_the_base(texts: list[TokenSequence], tmp_path: Path) -> None:
    """On texts of the base's that training did not see, the divergence is a fraction of what it is without."""
    seen, unseen = texts[:48], texts[48:]
    free = mean_divergence(trained(tmp_path / "a", seen), unseen)
    held = mean_divergence(trained(tmp_path / "b", seen, "--replay_weight", "10"), unseen)
    assert held < 0.5 * free


def test_without_texts_none_joins(tmp_path: Path) -> None:
    trainer = trained(tmp_path, [])
    assert all("loss/replay" not in entry for entry in trainer.state.log_history)


def test_the_plan_counts_what_a_text_adds_to_a_step(texts: list[TokenSequence], tmp_path: Path) -> None:
    trainer = trained(tmp_path, texts[:1], "--replay_weight", "1.0")
    pairs = trainer.train_dataset
    counted = []
    for joining in ([], texts[:1]):
        inputs = {"pairs": list(pairs)[:2], "share": 1.0, "texts": joining}
        with FlopCounterMode(display=False) as counter:
            trainer.compute_loss(trainer.model.train(), inputs).backward()
        counted.append(counter.get_total_flops())
    planned = []
    for weight in ("0", "1"):
        args, _ = arguments(tmp_path, "--replay_weight", weight)
        model = tiny_model("llama")
        planned.append(pair_costs(model, pairs, Packer.of(model), args).step([1, 2], 2, cached=True))
    assert counted[1] - counted[0] == pytest.approx(planned[1] - planned[0], rel=0.15)
