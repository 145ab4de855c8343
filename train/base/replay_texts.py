"""Replay: texts that the base writes, on which training is held to the base's next-token distribution.

Fine-tuning on short answers raises perplexity on running text. The user has no such text at hand, so the base writes
some, each from a random first token (after LLM-QAT, Liu et al., 2023, arXiv 2305.17888). A term of the loss is the
divergence of the model's next-token distribution from the base's on them (learning without forgetting, Li and Hoiem,
2016, arXiv 1606.09282).
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.batches import TokenSequence
from eavss.generation import SampleTokens, ending_ids, plain_generation, sampling
from train.batching.pairs import ReplayText
from train.model.written_store import reuse_or_write
from train.runtime.distributed import map_sharded
from train.runtime.seeding import random_stream
from train.runtime.stages import clock

REPLAY_TEXTS = 64
REPLAY_TOKENS = 64
_BATCH = 32


@clock.stage("replay texts")
def write_replay_texts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> list[TokenSequence]:
    """Let the base write 64 texts of 64 tokens; see `write_texts`."""
    return write_texts(model, tokenizer, seed, count=REPLAY_TEXTS, length=REPLAY_TOKENS, batch=_BATCH)


def write_texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int, *, count: int, length: int, batch: int
) -> list[TokenSequence]:
    """Let the base write texts at temperature 1, or reuse those that are kept on disk.

    Args:
        model: the base, without an adapter.
        tokenizer: its tokenizer, whose special tokens begin no text.
        seed: the seed of the texts, which also depend on `batch`.
        count: how many texts.
        length: tokens in each.
        batch: how many are written at once.

    Returns:
        Sequences whose first token stands for a prompt, and the others for its answer.
    """
    model.eval()
    known: int = min(len(tokenizer), model.config.get_text_config().vocab_size)
    special = sorted(token for token in tokenizer.all_special_ids if token < known)
    starts = list(range(0, count, batch))
    plain = torch.ones(known).index_fill(0, torch.tensor(special, dtype=torch.long), 0)

    def write() -> list[list[list[int]]]:
        return map_sharded(write_batch, starts, "writing the model's own texts")

    def write_batch(start: int) -> list[list[int]]:
        # Seeded by batch, so that the texts do not depend on how many ranks share the batches.
        with random_stream(seed * 1_000_003 + start):
            return _continue(model, tokenizer, torch.multinomial(plain, batch).unsqueeze(1), length)

    settings = [SampleTokens.__name__, seed, starts, length, special, known]
    written = reuse_or_write("replay", model, settings, write)
    return [TokenSequence(tuple(row), 1, len(row)) for ids in written for row in ids][:count]


def draw_text(texts: Sequence[ReplayText], key: str) -> ReplayText | None:
    """Draw one of the texts, the same for the same key; None if there are none."""
    return random.Random(key).choice(texts) if texts else None


def _continue(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, first: Tensor, length: int
) -> list[list[int]]:
    first = first.to(model.device)
    with plain_generation(model), torch.no_grad():
        written: Tensor = model.generate(  # type: ignore[operator] # (torch's __getattr__)
            input_ids=first,
            attention_mask=torch.ones_like(first),
            **sampling(banned=ending_ids(model, tokenizer)),
            max_new_tokens=length - 1,
            pad_token_id=tokenizer.pad_token_id or 0,
        )
    return written.tolist()
