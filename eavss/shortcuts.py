"""Whether a shortcut gives what the plain path gives: it is tried on a few random tokens before it is used.

Shared prompts, packed answers and a start in the middle of the blocks are right only for models that take a token's
place and sight from their position ids and attention masks, and whose blocks pass on nothing but hidden states. No
list of names can tell that of an architecture of next year, so each shortcut is compared with the plain path.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from eavss.batches import TokenSequence, pad
from eavss.blocks import capture_block_input, evaluating, find_blocks, require_states, start_at_block

_LOGGER = logging.getLogger(__name__)
# Relative to the spread of log-probabilities over the vocabulary, in float32; elsewhere as many rounding errors.
TOLERANCE = 1e-4
# How often above the plain path's own rounding a difference is still taken for rounding.
_ROUNDING = 4
# All prompts begin with so many tokens, long enough to be read once for all of them.
_COMMON = 20
# The tokens of two prompts after that, and of their answers. The prompts' lengths differ, and the first answer is long,
# so that a model that counts columns finds the others far from where they are.
_PROMPTS = ((40, (24, 6)), (6, (5, 9)))
# Keys of a config that hold how far a token sees, and the furthest that is tried.
_WINDOWS = ("window", "local", "chunk", "block")
_FURTHEST = 1024

# Computes the logits that predict the answers of some sequences, one after another: (N, V).
Shortcut = Callable[[Sequence[TokenSequence]], Tensor]


@dataclass(frozen=True)
class Trial:
    """What a trial of a shortcut found.

    Args:
        difference: between the shortcut's log-probabilities and the plain path's, in nats: the root mean square over an
            answer's tokens and the vocabulary, of the answer that differs most; infinite where the shortcut failed.
        allowed: the difference up to which it counts as rounding; see `Plain.allowed`.
        error: what the shortcut failed with; "" where it ran.
    """

    difference: float
    allowed: float
    error: str = ""

    @property
    def passed(self) -> bool:
        return self.difference <= self.allowed  # False for NaN

    @property
    def reason(self) -> str:
        """Say why the shortcut is not used."""
        if self.error:
            return f"this model does not run with them ({self.error})"
        off = f"{self.difference:.2g} nats off, where {self.allowed:.2g} is rounding"
        return f"with them this model's log-probabilities come out {off}"


class Plain:
    """What a model says of the trial's sequences without any shortcut."""

    def __init__(self, model: nn.Module) -> None:
        self.sequences = trial_sequences(model)
        self._logprobs = [_alone(model, sequence) for sequence in self.sequences]
        batch = pad(self.sequences).to(_device(model))
        padded = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        rows, columns = batch.answer_mask.nonzero(as_tuple=True)
        self._padded = self.difference(padded[rows, columns - 1])
        first, second = self.sequences[:2]
        ids = (*first.ids, *second.answer)
        seen = _alone(model, TokenSequence(ids, len(first), len(ids)))
        self._leak = _root_mean_square(seen - self._logprobs[1])
        self._eps = torch.finfo(padded.dtype).eps

    def difference(self, logits: Tensor) -> float:
        """Return how far the logits (N, V) are from these, as log-probabilities, in the sequence that differs most."""
        parts = _logprobs(logits).split([len(sequence.answer) for sequence in self.sequences])
        return max(_root_mean_square(a - b) for a, b in zip(parts, self._logprobs, strict=True))

    @cached_property
    def allowed(self) -> float:
        """The difference up to which a shortcut is right.

        A fixed tolerance would let a leak pass where the weights are small, as at initialisation: attention then
        hardly changes a log-probability. So two things are measured: the rounding of the plain path, as the difference
        between a sequence alone and in a padded batch (at least the dtype's precision), and what a leak changes, as the
        difference that it makes if an answer sees another one. The bound is their geometric mean: where a leak is ten
        thousand times as large as rounding, one that is a hundredth as strong is still found. It is never above
        `TOLERANCE`, nor below a few times the rounding, where a leak would not matter either.
        """
        spread = max(float(logprobs.std(-1).mean()) for logprobs in self._logprobs)
        rounding = max(self._padded, spread * self._eps)
        tolerance = TOLERANCE * spread * self._eps / torch.finfo(torch.float32).eps
        return max(_ROUNDING * rounding, min(tolerance, (rounding * self._leak) ** 0.5))


_FOUND: WeakKeyDictionary[nn.Module, dict[str, Trial]] = WeakKeyDictionary()


def agrees(model: nn.Module, name: str, shortcut: Shortcut) -> bool:
    """Return whether a shortcut gives the model's plain log-probabilities; where it does not, warn of it.

    It is tried once for each model, dtype and attention implementation, on the weights as they are. An adapter on the
    model makes no difference. Ranks that divide work must all take the answer of one of them.

    Args:
        name: in words, for the warning, as "packed answers".
    """
    base = _base(model)
    found = _FOUND.setdefault(base, {})
    key = f"{name} {_kind(base)}"
    if key not in found:
        found[key] = trial(model, shortcut)
        if not found[key].passed:
            _LOGGER.warning("%s are switched off: %s", name, found[key].reason)
    return found[key].passed


@torch.no_grad()
def trial(model: nn.Module, shortcut: Shortcut) -> Trial:
    """Compare a shortcut with the plain path on `trial_sequences`."""
    with evaluating(model):
        expected = Plain(model)
        try:
            return Trial(expected.difference(shortcut(expected.sequences)), expected.allowed)
        except Exception as error:  # whatever an unknown architecture raises
            words = " ".join(str(error).split())[:150]
            return Trial(float("inf"), expected.allowed, f"{type(error).__name__}: {words}")


def trial_sequences(model: nn.Module) -> list[TokenSequence]:
    """Return random token sequences, the same at each call: two prompts that begin alike, with two answers each.

    The first prompt is longer than the longest window in the model's config, up to 1024 tokens, so that local attention
    of a kind that the cache does not know changes what the model says.
    """
    vocabulary: int = _config(model).vocab_size
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[int, ...]:
        # From the middle of the vocabulary, since special tokens are the first or the last ones.
        drawn = torch.randint(vocabulary // 4, vocabulary * 3 // 4, (count,), generator=generator)
        return tuple(drawn.tolist())

    common, further = draw(_COMMON), _window(model)
    sequences = []
    for own, answers in _PROMPTS:
        prompt = (*common, *draw(own + further))
        further = 0
        for size in answers:
            ids = (*prompt, *draw(size))
            sequences.append(TokenSequence(ids, len(prompt), len(ids)))
    return sequences


def can_start_at(model: nn.Module, layer: int) -> bool:
    """Return whether the model computes the same if it starts at block `layer` with what has entered it before."""
    name = f"forward passes that start at block {layer}"
    return agrees(model, name, lambda sequences: started_logits(model, sequences, layer))


def started_logits(model: nn.Module, sequences: Sequence[TokenSequence], layer: int) -> Tensor:
    """Return the logits of the answers from a pass that starts at a block, with the states of an earlier pass.

    Raises:
        EavssError: what enters the block is not one state for each token.
    """
    blocks, entering = find_blocks(model), list[Tensor]()
    batch = pad(list(sequences)).to(_device(model))
    # The rows stand in another order in the earlier pass, so that nothing fits which the model keeps from it.
    ids, mask = batch.input_ids.flip(0), batch.attention_mask.flip(0)
    with capture_block_input(blocks, layer, entering.append):
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    require_states(entering[0], ids.shape, layer)
    with start_at_block(blocks, layer, entering[0].flip(0)):
        logits: Tensor = model(input_ids=ids.flip(0), attention_mask=mask.flip(0), use_cache=False).logits
    rows, columns = batch.answer_mask.nonzero(as_tuple=True)
    return logits[rows, columns - 1]


def _alone(model: nn.Module, sequence: TokenSequence) -> Tensor:
    """Return the log-probabilities (T, V) that predict the answer of a sequence without padding."""
    logits = model(input_ids=torch.tensor([sequence.ids], device=_device(model)), use_cache=False).logits
    return _logprobs(logits[0, sequence.answer_start - 1 : sequence.answer_end - 1])


def _logprobs(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.float(), -1)


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _window(model: nn.Module) -> int:
    """Return the longest window that the config names and that is tried, in tokens; 0 for none."""
    config = _config(model)
    room = getattr(config, "max_position_embeddings", None) or _FURTHEST
    named = [value for key, value in config.to_dict().items() if any(word in key for word in _WINDOWS)]
    sizes = [size for size in named if type(size) is int and size <= min(_FURTHEST, room - 96)]
    return max(sizes, default=0)


def _config(model: nn.Module) -> PreTrainedConfig:
    config: PreTrainedConfig = model.config.get_text_config(decoder=True)  # type: ignore[union-attr, operator]
    return config


def _base(model: nn.Module) -> nn.Module:
    """Return the model without PEFT's wrapper."""
    base: nn.Module = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    return base


def _kind(model: nn.Module) -> str:
    return f"{next(model.parameters()).dtype} {model.config._attn_implementation}"  # type: ignore[union-attr]


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
