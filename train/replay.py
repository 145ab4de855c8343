"""Texts that the base writes of itself, on which training is held to what the base would have said.

Fine-tuning on short answers spoils what they do not need: perplexity on running text rises. No text of the user's is
there to hold it, so the base writes some, each from a random first token (after LLM-QAT, Liu et al., 2023,
arXiv 2305.17888), and a term of the loss is the divergence of the model's next-token distribution from the base's on
them (learning without forgetting, Li and Hoiem, 2016).
"""

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.batches import TokenSequence
from train.distributed import map_sharded

REPLAY_TEXTS = 128
REPLAY_TOKENS = 64
_BATCH = 64


@dataclass(frozen=True)
class Replay:
    """What the base wrote.

    Args:
        texts: their first token stands for a prompt, and the others for its answer.
        states: of each text what enters the base's head before each of those others, (T - 1, H), on the CPU.
    """

    texts: list[TokenSequence]
    states: dict[TokenSequence, Tensor]

    def draw(self, key: str) -> list[TokenSequence]:
        """One text, the same for the same key; none if there are none."""
        return [random.Random(key).choice(self.texts)] if self.texts else []


NONE = Replay([], {})


def write_replay(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> Replay:
    """Let the base, whole on each rank and without an adapter, write 128 texts of 64 tokens at temperature 1."""
    model.eval()
    starts = list(range(0, REPLAY_TEXTS, _BATCH))
    parts = map_sharded(lambda start: _batch(model, tokenizer, seed, start), starts, "writing texts to replay")
    return Replay([text for part in parts for text in part], {text: s for part in parts for text, s in part.items()})


def _batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int, start: int
) -> dict[TokenSequence, Tensor]:
    """Some texts with their states."""
    ids = _write(model, tokenizer, seed, start)
    return {
        TokenSequence(tuple(row), 1, len(row)): states
        for row, states in zip(ids, _entering_head(model, ids), strict=True)
    }


@torch.no_grad()
def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int, start: int) -> list[list[int]]:
    torch.manual_seed(seed * 1_000_003 + start)  # the texts do not depend on how many ranks share the batches
    special = torch.tensor(sorted(tokenizer.all_special_ids), dtype=torch.long)
    plain = torch.ones(len(tokenizer)).index_fill(0, special, 0)
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


@torch.no_grad()
def _entering_head(model: PreTrainedModel, ids: list[list[int]]) -> list[Tensor]:
    """What enters the head for each token but the last, (T - 1, H) for each text."""
    entering: list[Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _head, args: entering.append(args[0]))
    try:
        model(input_ids=torch.tensor(ids, device=model.device), use_cache=False)
    finally:
        hook.remove()
    # Apart, since a view would take all of them along when it is sent to another rank.
    return [states.clone() for states in entering[0][:, :-1].cpu()]
