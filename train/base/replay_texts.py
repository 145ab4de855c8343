"""Replay: texts that the base writes, on which training is held to the base's next-token distribution.

Fine-tuning on short answers raises perplexity on running text. The user has no such text at hand, so the base writes
some, each from a random first token (after LLM-QAT, Liu et al., 2023, arXiv 2305.17888). A term of the loss is the
divergence of the model's next-token distribution from the base's on them (learning without forgetting, Li and Hoiem,
2016, arXiv 1606.09282).
"""

import random
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.batches import TokenSequence
from eavss.generation import plain_generation
from train.batching.pairs import ReplayText
from train.model.written_store import reuse_or_write
from train.runtime.distributed import map_sharded
from train.runtime.seeding import random_stream

REPLAY_TEXTS = 64
REPLAY_TOKENS = 64
_BATCH = 32


def write_replay_texts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> list[TokenSequence]:
    """Let the base write 64 texts of 64 tokens at temperature 1, or reuse those that are kept on disk.

    Args:
        model: the base, whole on each rank, without an adapter.
        tokenizer: its tokenizer, whose special tokens begin no text.
        seed: the seed of the texts.

    Returns:
        Sequences whose first token stands for a prompt, and the others for its answer.
    """
    model.eval()
    known: int = min(len(tokenizer), model.config.get_text_config().vocab_size)
    special = sorted(token for token in tokenizer.all_special_ids if token < known)
    starts = list(range(0, REPLAY_TEXTS, _BATCH))
    settings = [seed, starts, REPLAY_TOKENS, special, known]

    def write() -> list[list[list[int]]]:
        batch = partial(_write, model, tokenizer, known=known, special=special, seed=seed)
        return map_sharded(batch, starts, "writing texts to replay")

    written = reuse_or_write("replay", model, settings, write)
    return [TokenSequence(tuple(row), 1, len(row)) for ids in written for row in ids]


def draw_text(texts: Sequence[ReplayText], key: str) -> ReplayText | None:
    """Draw one of the texts, the same for the same key; None if there are none."""
    return random.Random(key).choice(texts) if texts else None


def _write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, start: int, *, known: int, special: list[int], seed: int
) -> list[list[int]]:
    plain = torch.ones(known).index_fill(0, torch.tensor(special, dtype=torch.long), 0)
    # Seeded by batch, so that the texts do not depend on how many ranks share the batches.
    with random_stream(seed * 1_000_003 + start), plain_generation(model), torch.no_grad():
        first = torch.multinomial(plain, _BATCH).unsqueeze(1).to(model.device)
        written: Tensor = model.generate(  # type: ignore[operator] # (torch's __getattr__)
            input_ids=first,
            attention_mask=torch.ones_like(first),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            min_new_tokens=REPLAY_TOKENS - 1,
            max_new_tokens=REPLAY_TOKENS - 1,
            pad_token_id=tokenizer.pad_token_id or 0,
        )
    return written.tolist()
