"""TRL reads the very tokens of our pairs, and trains an adapter of our shape on the blocks that are named."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig

from tests.toys import EXAMPLES, tiny_model
from train.batching.encoding import Encoder
from train.batching.pairs import make_pairs
from train.comparison.trl_dpo import dpo_trainer
from train.model.lora import trainable_blocks
from train.recipe.settings import LoraSettings


@pytest.fixture
def config(tmp_path: Path) -> DPOConfig:
    return DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none")


def test_trl_trains_the_blocks_and_pairs_that_it_is_given(
    config: DPOConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    pairs = make_pairs(EXAMPLES, Encoder(tokenizer, "plain", 128), 1, with_positive=False, seed=0)
    trainer = dpo_trainer(
        model=tiny_model("llama"),
        tokenizer=tokenizer,
        rows=pairs.as_text(tokenizer),
        blocks=[1, 3],
        lora=LoraSettings(r=4, alpha=8),
        config=config,
    )
    assert trainable_blocks(trainer.model) == [1, 3]
    assert {(c.r, c.lora_alpha) for c in trainer.model.peft_config.values()} == {(4, 8)}
    for row, pair in zip(trainer.train_dataset, pairs, strict=True):
        assert row["prompt_ids"] + row["chosen_ids"] == list(pair.chosen.ids)
        assert row["prompt_ids"] + row["rejected_ids"] == list(pair.rejected.ids)


def test_trl_reads_a_long_row_whole(config: DPOConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    """By default it cuts rows at 1024 tokens, and drops those whose prompt is longer."""
    long = [replace(EXAMPLES[0], question="which number follows? " * 60)]
    pairs = make_pairs(long, Encoder(tokenizer, "plain", 4096), 1, with_positive=False, seed=0)
    trainer = dpo_trainer(
        model=tiny_model("llama"),
        tokenizer=tokenizer,
        rows=pairs.as_text(tokenizer),
        blocks=[1],
        lora=LoraSettings(r=4, alpha=8),
        config=config,
    )
    read = trainer.data_collator([trainer.train_dataset[0]])["input_ids"]
    assert read.shape[1] == max(len(sequence.ids) for pair in pairs for sequence in pair.sequences) > 1024
