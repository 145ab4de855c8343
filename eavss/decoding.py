"""Write texts for many prompts at once: each prompt is read once, and a text that has ended takes no further step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessorList, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from eavss.batches import group_by_length
from eavss.generation import padded_left
from eavss.prompt_cache import Beginning, PromptCache, can_share, read_beginning, read_prompts

# Prompts are read in parts of so many tokens, each part of like lengths, so that little of it is padding.
_READ_TOKENS = 1024

# The rows that got tokens, and the tokens of each of them.
Step = tuple[list[int], list[list[int]]]


@dataclass(frozen=True)
class Decoding:
    """How a model writes: it takes the likeliest token that the processors leave.

    Args:
        stops: a text ends with the first of these strings.
        ending: the tokens that end a text.
        processors: change the logits (B, V) of each step, in the model's dtype or in float32.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    stops: Sequence[str]
    ending: list[int]
    processors: LogitsProcessorList

    def at_once(self, prompts: Sequence[Sequence[int]], limit: int, copies: int = 1) -> Iterator[Step]:
        """Yield all rows and the tokens that one call of `generate` writes; see `in_steps`."""
        repeated = [prompt for prompt in prompts for _ in range(copies)]
        inputs = padded_left(repeated, self._pad_id, _device(self.model))
        written: Tensor = self.model.generate(  # type: ignore[operator] # (torch's __getattr__)
            **inputs,
            do_sample=False,
            logits_processor=self.processors,
            max_new_tokens=limit,
            pad_token_id=self._pad_id,
            eos_token_id=self.ending or None,
            **({"stop_strings": list(self.stops), "tokenizer": self.tokenizer} if self.stops else {}),
        )
        yield list(range(len(repeated))), written[:, inputs["input_ids"].shape[1] :].tolist()

    def in_steps(
        self, prompts: Sequence[Sequence[int]], limit: int, copies: int = 1, beginning: Beginning | None = None
    ) -> Iterator[Step]:
        """Yield the rows that are still written at each step, and the token that each of them got.

        Each prompt is read once, and what all of them begin with only once. A row that has ended takes no further step.
        One row alone, or a model whose cache cannot be shared, gets all tokens at once.

        Args:
            prompts: token ids, at least two in each prompt.
            limit: the most tokens that a text has.
            copies: how many texts to write to each prompt; those to the first prompt come first.
            beginning: what the prompts begin with, where it has been read already.
        """
        if len(prompts) * copies == 1 or not can_share(self.model):
            yield from self.at_once(prompts, limit, copies)
            return
        rows = _read(self.model, prompts, limit, copies, beginning)
        texts: dict[int, list[int]] = {row: [] for row in rows.numbers}
        for _ in range(limit):
            numbers, chosen = list(rows.numbers), self._choose(rows.logits(self.model))
            tokens: list[int] = chosen.tolist()
            yield numbers, [[token] for token in tokens]
            for row, token in zip(numbers, tokens, strict=True):
                texts[row].append(token)
            going = [place for place, row in enumerate(numbers) if not self._ended(texts[row])]
            if not going:
                return
            rows.go_on(chosen, going)

    def _choose(self, logits: Tensor) -> Tensor:
        # Our processors look at the logits alone.
        none = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
        scores: Tensor = self.processors(none, logits)  # type: ignore[arg-type] # (it wants a LongTensor)
        return scores.argmax(-1)

    def _ended(self, ids: list[int]) -> bool:
        if ids[-1] in self.ending:
            return True
        if not self.stops:
            return False
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return any(stop in text for stop in self.stops)

    @property
    def _pad_id(self) -> int:
        # Padding after the end is removed with the special tokens, so it has to be one of them.
        pad_id = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad_id is None else pad_id)


class _RoomyLayer(DynamicLayer):
    """A block's keys and values in memory for all columns, so that a step copies none but its own.

    `keys` and `values` are views of the rows and columns in use, (B, heads, C, size of a head).
    """

    def __init__(self, all_keys: Tensor, all_values: Tensor) -> None:
        super().__init__()
        self._all = all_keys, all_values
        self.is_initialized, self.dtype, self.device = True, all_keys.dtype, all_keys.device

    def show(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Take so many rows and columns into use, and return the views."""
        keys, values = (each[:rows, :, :columns] for each in self._all)
        self.keys, self.values = keys, values
        return keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the next columns beside those in use."""
        rows, start = len(key_states), self.get_seq_length()
        end = start + key_states.shape[2]
        for whole, new in zip(self._all, (key_states, value_states), strict=True):
            whole[:rows, :, start:end] = new
        return self.show(rows, end)

    def move(self, sources: Tensor, places: Tensor) -> None:
        """Copy some rows over others."""
        for whole in self._all:
            whole[places] = whole[sources]


class _Rows:
    """The B texts that are still written.

    Args:
        numbers: their row numbers.
        tokens: (B,) the last token of each, which is not read yet.
        mask: (B, all columns), 1 for tokens that are read or will be.
        layers: the keys and values of what is read.
        columns: how many columns are read.
    """

    def __init__(
        self, numbers: list[int], tokens: Tensor, mask: Tensor, layers: list[_RoomyLayer], columns: int
    ) -> None:
        self.numbers = numbers
        self._tokens = tokens
        self._mask = mask
        self._cache = DynamicCache()
        self._cache.layers = list(layers)
        self._layers = layers
        self._columns = columns
        self._show()

    def logits(self, model: nn.Module) -> Tensor:
        """Read the last token of each text, and return the logits of the next one, (B, V)."""
        self._columns += 1
        mask = self._mask[:, : self._columns]
        found: Tensor = model(
            input_ids=self._tokens.unsqueeze(1),
            position_ids=mask.sum(1, keepdim=True) - 1,
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        return found[:, -1]

    def go_on(self, tokens: Tensor, going: list[int]) -> None:
        """Go on with some of the texts, after the tokens (B,) that all have got.

        Args:
            going: the places of these texts, ascending. The last of them take the places of those that have ended.
        """
        count, left = len(going), set(going)
        self._tokens = tokens
        if count < len(tokens):
            free = [place for place in range(count) if place not in left]
            moved = [place for place in going if place >= count]
            for source, place in zip(moved, free, strict=True):
                self.numbers[place] = self.numbers[source]
            sources, places = (torch.tensor(each, dtype=torch.long, device=tokens.device) for each in (moved, free))
            for tensor in (self._tokens, self._mask):
                tensor[places] = tensor[sources]
            for layer in self._layers:
                layer.move(sources, places)
            self.numbers, self._tokens, self._mask = self.numbers[:count], self._tokens[:count], self._mask[:count]
            self._show()

    def _show(self) -> None:
        for layer in self._layers:
            layer.show(len(self.numbers), self._columns)


def _read(
    model: nn.Module, prompts: Sequence[Sequence[int]], limit: int, copies: int, beginning: Beginning | None
) -> _Rows:
    """Read the prompts without their last tokens, the longest first."""
    device = _device(model)
    beginning = beginning or read_beginning(model, prompts)
    begun = len(beginning.ids) if beginning else 0
    groups = list(group_by_length([len(prompt) - begun for prompt in prompts], _READ_TOKENS))
    order = list(chain(*groups))
    columns = len(prompts[order[0]]) - 1
    mask = torch.zeros(len(order) * copies, columns + limit, dtype=torch.long, device=device)
    mask[:, columns:] = 1
    whole: list[tuple[Tensor, Tensor]] = []
    start = 0
    for group in groups:
        read = read_prompts(model, [prompts[index] for index in group], beginning)
        part = read.take(torch.arange(len(group), device=device).repeat_interleave(copies))
        whole = whole or [_rooms(part, layer, mask.shape) for layer in range(len(part.layers))]
        place = slice(start, start + len(part.mask)), slice(part.mask.shape[1])
        mask[place] = part.mask
        for (all_keys, all_values), (keys, values) in zip(whole, part.layers, strict=True):
            all_keys[place[0], :, place[1]], all_values[place[0], :, place[1]] = keys, values
        start += len(part.mask)
    numbers = [index * copies + copy for index in order for copy in range(copies)]
    tokens = torch.tensor([prompts[index][-1] for index in order for _ in range(copies)], device=device)
    return _Rows(numbers, tokens, mask, [_RoomyLayer(*each) for each in whole], columns)


def _rooms(part: PromptCache, layer: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return room for a block's keys and values of all rows and columns, 0 where nothing is written yet."""
    keys, values = ((shape[0], each.shape[1], shape[1], each.shape[3]) for each in part.layers[layer])
    like = part.layers[layer][0]
    return like.new_zeros(keys), like.new_zeros(values)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
