"""A user's own data, in TRL's preference formats: an answer that is preferred to another.

`data.conversations` has the forms that a row may have. Plain strings are joined as they stand, as TRL joins them;
`prompt_style` formats conversations. Each row stays a pair. A row whose answers are equal teaches nothing, and two rows
that contradict each other teach nothing either, so these are left out.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

from data.conversations import Prompt, preference
from data.examples import Example, wrong_answers
from data.own_data import Finding, Form, Grouped

# A preferred answer and another one.
Pair = tuple[str, str]


def _read(row: Mapping[str, Any]) -> tuple[Prompt, Pair]:
    prompt, chosen, rejected = preference(row)
    if chosen != rejected:
        prompt.example("", (chosen,), wrong_answers([rejected], "dataset"))  # reports an empty one with its row
    return prompt, (chosen, rejected)


def _combine(grouped: Grouped[Pair], name: str) -> tuple[list[Example], list[Finding]]:
    equal = sum(count for pairs in grouped.values() for pair, count in pairs.items() if pair[0] == pair[1])
    contradictory = sum(
        count
        for pairs in grouped.values()
        for pair, count in pairs.items()
        if pair[0] != pair[1] and pair[::-1] in pairs
    )
    kept = {prompt: [pair for pair in pairs if pair[::-1] not in pairs] for prompt, pairs in grouped.items()}
    found = [_example(name, prompt, pairs) for prompt, pairs in kept.items() if pairs]
    if not found and (equal or contradictory):
        raise ValueError(f"of {equal + contradictory} rows none has a chosen answer that is preferred to another one")
    in_both = sum(len(set(example.truthful) & set(example.hallucinated)) for example in found)
    return found, [
        Finding(equal, "rows have equal answers in chosen and rejected, and were left out"),
        Finding(contradictory, "rows prefer an answer that another row rejects for the same one, and were left out"),
        Finding(
            in_both, "answers are chosen in one row and rejected in another of the same prompt; these rows stay pairs"
        ),
    ]


def _example(name: str, prompt: Prompt, pairs: list[Pair]) -> Example:
    right, wrong = (tuple(dict.fromkeys(side)) for side in zip(*pairs, strict=True))
    every = set(product(right, wrong)) == set(pairs)
    return prompt.example(name, right, wrong_answers(wrong, "dataset"), () if every else tuple(pairs))


FORM = Form(_read, _combine)
examples = FORM.examples
