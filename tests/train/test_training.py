"""The one assembly: examples and a selection become a trainer, and a trainer an adapter on disk."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import set_seed

from data.sources import DataSource
from eavss.selectors import Selection
from tests.toys import EXAMPLES, arguments, tiny_model, tiny_tokenizer, toy_setup
from train.batching.encoding import Encoder
from train.runtime.errors import RecipeError
from train.training import TrainingSetup, fine_tune, make_training_examples, make_training_pairs


def test_fine_tuning_leaves_an_adapter_and_says_what_it_took(tmp_path: Path) -> None:
    words = ("--max_steps", "2", "--learning_rate", "5e-3", "--replay_weight", "0.5")
    args, training = arguments(tmp_path, *words)
    figures = fine_tune(toy_setup(args), Selection((1, 3), "layers"), training, checkpoint=None)
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {int(name.split(".layers.")[1].split(".")[0]) for name in adapter} == {1, 3}
    assert figures["steps"] == len(figures["log"]) == 2
    assert figures["pairs"] == 12
    assert figures["loss_weights"] == {
        "ce": 1.0,
        "dpo": 1.0,
        "infonce": 0.0,
        "decline": 0.0,
        "decline_ce": 0.0,
        "replay": 0.5,
    }
    assert 0 < figures["flops"] < figures["all_blocks_flops"]
    assert figures["seconds"] > 0
    assert figures["reading_seconds"] > 0


def test_a_second_selection_trains_as_it_would_alone(tmp_path: Path) -> None:
    """What the setup keeps between selections changes no loss."""
    args, training = arguments(tmp_path, "--max_steps", "3", "--learning_rate", "5e-3")
    shared, last = toy_setup(args), Selection((2, 3), "last")
    first = shared.trainer(Selection((1,), "layers"), training)
    first.train()
    first.adapted.unload()
    found = []
    for setup in (shared, toy_setup(args)):
        trainer = setup.trainer(last, training)
        trainer.train()
        found.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert found[0] == found[1]


def test_fixed_steps_draw_no_more_pairs_than_they_take(tmp_path: Path) -> None:
    encoder = Encoder(tiny_tokenizer(), "plain", 128)
    args, training = arguments(tmp_path, "--max_steps", "2", "--per_device_train_batch_size", "2")
    assert len(make_training_pairs(EXAMPLES, encoder, args, training)) == 4
    args, training = arguments(tmp_path, "--train_questions", "3", "--score_questions", "2")
    assert len(make_training_pairs(EXAMPLES, encoder, args, training)) == 6


def test_infonce_without_second_answers_is_refused(tmp_path: Path) -> None:
    words = ("--infonce_weight", "1", "--mined_answers", "0", "--train_questions", "4", "--score_questions", "2")
    args, _ = arguments(tmp_path, *words)
    pools = DataSource("samples").training_pools("sciq")
    with pytest.raises(RecipeError, match="infonce_weight: no training question has two truthful answers"):
        make_training_examples(pools, tiny_model("llama"), tiny_tokenizer(), args, seed=0)


def test_cold_and_warm_caches_train_the_same_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mined answers and replayed texts are written in the first run, and read in the second; in the third, some are."""
    words = ("--max_steps", "3", "--replay_weight", "1", "--mined_answers", "2", "--learning_rate", "5e-3")
    few = ("--train_questions", "6", "--score_questions", "2", "--per_device_train_batch_size", "2")
    cache, adapters = tmp_path / "cache", []
    monkeypatch.setenv("EAVSS_CACHE", str(cache))
    for name, forgotten in (("cold", ()), ("warm", ()), ("part", ("replay",)), ("other", ("answers", "prefix"))):
        for folder in forgotten:
            shutil.rmtree(cache / folder)
        args, training = arguments(tmp_path / name, "--lora_dropout", "0.1", *words, *few)
        set_seed(training.seed)
        model, tokenizer = tiny_model("llama"), tiny_tokenizer()
        tokenizer.pad_token = tokenizer.eos_token
        pools = DataSource("samples").training_pools("nq")
        examples = make_training_examples(pools, model, tokenizer, args, seed=0)
        pairs = make_training_pairs(examples, Encoder(tokenizer, "plain", 128), args, training)
        fine_tune(TrainingSetup(model, tokenizer, pairs, args, seed=0), Selection((1, 3), "layers"), training, None)
        adapters.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert {path.name for path in cache.iterdir()} == {"answers", "replay", "prefix"}
    assert len(set(adapters)) == 1
