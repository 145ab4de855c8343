"""Texts that the base writes of itself, on which training is held to what the base would have said.

Fine-tuning on short answers spoils what they do not need: perplexity on running text rises. No text of the user's is
there to hold it, so the base writes some, each from a random first token (after LLM-QAT, Liu et al., 2023,
arXiv 2305.17888), and a term of the loss is the divergence of the model's next-token distribution from the base's on
them (learning without forgetting, Li and Hoiem, 2016).
"""

import random
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.batches import TokenSequence
from train.distributed import map_sharded
from train.kept import kept

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
    """Let the base, whole on each rank and without an adapter, write 128 texts of 64 tokens at temperature 1.

    The texts are kept on disk.
    """
    model.eval()
    special = sorted(tokenizer.all_special_ids)
    starts = list(range(0, REPLAY_TEXTS, _BATCH))
    settings = [seed, starts, REPLAY_TOKENS, special, len(tokenizer)]

    def write() -> list[list[list[int]]]:
        batch = partial(_write, model, tokenizer, special, seed)
        return map_sharded(batch, starts, "writing texts to replay")

    batches = kept("replay", model, settings, write)
    read = map_sharded(lambda ids: _entering_head(model, ids), batches, "reading them")
    texts = [TokenSequence(tuple(row), 1, len(row)) for ids in batches for row in ids]
    return Replay(texts, dict(zip(texts, (states for batch in read for states in batch), strict=True)))


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
