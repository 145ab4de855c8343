"""Texts that are written step by step are, token by token, those that one call of `generate` writes."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList, PreTrainedModel

from eavss import decoding
from eavss.decoding import Decoding
from eavss.generation import plain_generation
from eavss.prompt_cache import can_share, read_beginning
from scripts.families.configs import tiny
from tests.toys import tiny_tokenizer
from train.model.lora import add_lora
from train.recipe.settings import LoraSettings

BEGINNING = list(range(30, 50))
# Of many lengths, so that they are read in several parts.
PROMPTS = [[*BEGINNING, *range(50, 52 + 7 * (number % 5)), 200 + number] for number in range(12)]
LIMIT = 12
# Families whose keys and values cannot be shared, so that `generate` writes.
PLAIN = ("Mistral, with a window", "Gemma 3", "Jamba", "MPT")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_READ_TOKENS", 64)


def writer(model: PreTrainedModel, ending: list[int], stops: tuple[str, ...] = ()) -> Decoding:
    return Decoding(model, tiny_tokenizer(), stops, ending, LogitsProcessorList())


@torch.no_grad()
def generated(model: nn.Module, prompts: list[list[int]], ending: int) -> list[list[int]]:
    """Return what plain, batched `generate` of transformers writes."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    how = {"do_sample": False, "max_new_tokens": LIMIT, "eos_token_id": ending, "pad_token_id": 256}
    written: list[list[int]] = model.generate(input_ids=ids, attention_mask=mask, **how)[:, width:].tolist()  # type: ignore[operator]
    return [row[: row.index(ending) + 1] if ending in row else row for row in written]


def in_steps(model: nn.Module, prompts: list[list[int]], ending: int, copies: int = 1) -> list[list[int]]:
    written: list[list[int]] = [[] for _ in range(len(prompts) * copies)]
    with torch.no_grad():
        for rows, tokens in writer(model, [ending]).in_steps(prompts, LIMIT, copies):  # type: ignore[arg-type]
            for row, new in zip(rows, tokens, strict=True):
                written[row] += new
    return [row[: row.index(ending) + 1] if ending in row else row for row in written]


@pytest.mark.parametrize("family", ["Llama", "GPT-2", "Falcon", "Falcon, with ALiBi", "OLMoE", "Phi", *PLAIN])
def test_tokens_are_those_of_generate(family: str) -> None:
    model = tiny(family)
    with plain_generation(model):
        freely = generated(model, PROMPTS, 299)
        # A token that some texts have early, others late or never, so that rows end at different steps.
        counts = Counter(token for row in freely for token in dict.fromkeys(row[1:]))
        ending = min(counts, key=lambda token: abs(counts[token] - len(PROMPTS) // 2))
        expected = generated(model, PROMPTS, ending)
        assert in_steps(model, PROMPTS, ending) == expected
    assert len({len(row) for row in expected}) > 1
    assert can_share(model) == (family not in PLAIN)


def test_an_adapter_and_copies_change_nothing() -> None:
    model = add_lora(tiny("Llama"), [1, 2], LoraSettings())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    expected = generated(model, PROMPTS[:4], 299)
    assert expected != generated(tiny("Llama"), PROMPTS[:4], 299)
    assert in_steps(model, PROMPTS[:4], 299, copies=2) == [row for row in expected for _ in range(2)]


def test_a_beginning_that_was_read_for_more_prompts() -> None:
    model = tiny("Llama")
    assert can_share(model)
    read: list[int] = []
    with torch.no_grad():
        beginning = read_beginning(model, PROMPTS)
        model.model.register_forward_pre_hook(
            lambda _module, _args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
        )
        steps = writer(model, [299]).in_steps([PROMPTS[0], PROMPTS[1]], 1, beginning=beginning)
        written = [new for _, tokens in steps for new in tokens]
    assert beginning is not None
    assert beginning.ids == tuple(PROMPTS[0][: len(beginning.ids)])
    assert max(read) < 2 * (len(PROMPTS[1]) - len(BEGINNING))
    assert sorted(written) == sorted(row[:1] for row in generated(model, PROMPTS[:2], 299))


def test_a_row_that_has_ended_takes_no_further_step() -> None:
    model = tiny("Llama")
    freely = generated(model, PROMPTS, 299)
    ending = freely[0][1]
    rows: list[int] = []

    def count(_module: nn.Module, _args: object, kwargs: dict[str, Tensor]) -> None:
        rows.append(len(kwargs["input_ids"]))

    steps = writer(model, [ending]).in_steps(PROMPTS, LIMIT)
    with torch.no_grad():
        handle = model.register_forward_pre_hook(count, with_kwargs=True)
        numbers = [len(numbers) for numbers, _ in steps]
        handle.remove()
    lengths = [row.index(ending) + 1 if ending in row else LIMIT for row in freely]
    assert numbers == [sum(length > step for length in lengths) for step in range(max(lengths))]
    assert rows[-len(numbers) :] == numbers


def test_a_stop_string_ends_a_row_once_its_text_holds_it() -> None:
    model, tokenizer = tiny("Llama"), tiny_tokenizer()
    freely = generated(model, PROMPTS, 299)
    stop = str(tokenizer.decode(freely[0][1:3]))
    written: dict[int, list[int]] = {}
    with torch.no_grad():
        for rows, tokens in writer(model, [299], (stop,)).in_steps(PROMPTS, LIMIT):
            for row, new in zip(rows, tokens, strict=True):
                written.setdefault(row, []).extend(new)
    for row, ids in enumerate(freely):
        counts = [count for count in range(1, len(ids) + 1) if stop in str(tokenizer.decode(ids[:count]))]
        assert written[row] == ids[: counts[0] if counts else len(ids)]
