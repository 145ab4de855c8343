"""Generate text with settings that are ours alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel

from train.model.loading import causal_lm


@contextmanager
def plain_generation(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Hide the settings in the model's generation_config.json from `generate` calls inside, special tokens aside.

    `generate` takes every setting that a call leaves open from the model's folder, such as a repetition penalty, and
    greedy decoding would then not write the likeliest token.
    """
    base = causal_lm(model)
    own = base.generation_config
    base.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    try:
        yield
    finally:
        base.generation_config = own
