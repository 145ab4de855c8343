"""Texts that the base writes of itself, on which training is held to what the base would have said.

Fine-tuning on short answers spoils what they do not need: perplexity on running text rises. No text of the user's is
there to hold it, so the base writes some, each from a random first token (after LLM-QAT, Liu et al., 2023,
arXiv 2305.17888), and a term of the loss is the divergence of the model's next-token distribution from the base's on
them (learning without forgetting, Li and Hoiem, 2016).
"""

import random
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.batches import TokenSequence
from train.base.written_store import kept
from train.runtime.distributed import map_sharded

REPLAY_TEXTS = 64
REPLAY_TOKENS = 64
_BATCH = 32


def write_texts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> list[TokenSequence]:
    """Let the base, whole on each rank and without an adapter, write 64 texts of 64 tokens at temperature 1.

    The texts are kept on disk.

    Returns:
        Sequences whose first token stands for a prompt, and the others for its answer.
    """
    model.eval()
    special = sorted(tokenizer.all_special_ids)
    starts = list(range(0, REPLAY_TEXTS, _BATCH))
    settings = [seed, starts, REPLAY_TOKENS, special, len(tokenizer)]

    def write() -> list[list[list[int]]]:
        batch = partial(_write, model, tokenizer, special, seed)
        return map_sharded(batch, starts, "writing texts to replay")

    return [TokenSequence(tuple(row), 1, len(row)) for ids in kept("replay", model, settings, write) for row in ids]


def draw_text(texts: list[TokenSequence], key: str) -> list[TokenSequence]:
    """One of them, the same for the same key; none if there are none."""
    return [random.Random(key).choice(texts)] if texts else []


@torch.no_grad()
def _write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, special: list[int], seed: int, start: int
) -> list[list[int]]:
    torch.manual_seed(seed * 1_000_003 + start)  # the texts do not depend on how many ranks share the batches
    plain = torch.ones(len(tokenizer)).index_fill(0, torch.tensor(special, dtype=torch.long), 0)
    first = torch.multinomial(plain, _BATCH).unsqueeze(1).to(model.device)
    written: Tensor = model.generate(  # type: ignore[operator] # (torch's __getattr__)
        input_ids=first,
        attention_mask=torch.ones_like(first),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        min_new_tokens=REPLAY_TOKENS - 1,
        max_new_tokens=REPLAY_TOKENS - 1,
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    return written.tolist()
