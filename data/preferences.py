"""A user's own data, in TRL's preference formats: an answer that is preferred to another."""

import logging
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from data.conversations import Prompt, preference
from data.examples import Example, wrong_answers

logger = logging.getLogger(__name__)

# Preferred and other answer. A dictionary is an ordered set here, because rows may be repeated.
Pairs = dict[tuple[str, str], None]


def examples(rows: Iterable[Mapping[str, Any]], name: str) -> list[Example]:
    """Make one example from all rows {"prompt": ..., "chosen": ..., "rejected": ...} of a prompt.

    `data.conversations` has the forms that a row may have. Plain strings are joined as they stand, as TRL joins them;
    `prompt_style` formats conversations. Each row stays a pair. A row whose answers are equal teaches nothing, and two
    rows that contradict each other teach nothing either, so these are left out, and a warning counts them.

    Args:
        name: the path or Hub id of the data, for `Example.dataset`.

    Raises:
        ValueError: an answer is missing or empty, a conversation has more than one turn, or no row is left.
    """
    by_prompt: dict[Prompt, Pairs] = {}
    equal = 0
    for row in rows:
        prompt, chosen, rejected = preference(row)
        if chosen == rejected:
            equal += 1
            continue
        Example(name, prompt.text, (chosen,), wrong_answers([rejected], "dataset"))  # reports an empty one with its row
        by_prompt.setdefault(prompt, {})[chosen, rejected] = None
    kept = {prompt: _without_contradictions(pairs) for prompt, pairs in by_prompt.items()}
    contradictory = sum(len(pairs) - len(kept[prompt]) for prompt, pairs in by_prompt.items())
    found = [_example(name, prompt, pairs) for prompt, pairs in kept.items() if pairs]
    if not found and (equal or contradictory):
        raise ValueError(f"of {equal + contradictory} rows none has a chosen answer that is preferred to another one")
    in_both = sum(len(set(example.truthful) & set(example.hallucinated)) for example in found)
    for count, what in (
        (equal, "rows have equal answers in chosen and rejected, and were left out"),
        (contradictory, "rows prefer an answer that another row rejects for the same one, and were left out"),
        (in_both, "answers are chosen in one row and rejected in another of the same prompt; these rows stay pairs"),
    ):
        if count:
            logger.warning("%s: %d %s", name, count, what)
    return found


def _without_contradictions(pairs: Pairs) -> Pairs:
    return {pair: None for pair in pairs if pair[::-1] not in pairs}


def _example(name: str, prompt: Prompt, pairs: Pairs) -> Example:
    right, wrong = (tuple(dict.fromkeys(side)) for side in zip(*pairs, strict=True))
    every = set(product(right, wrong)) == pairs.keys()
    return Example(
        name,
        prompt.text,
        truthful=right,
        wrong_answers=wrong_answers(wrong, "dataset"),
        aliases=right,
        verbatim=prompt.verbatim,
        system=prompt.system,
        pairs=() if every else tuple(pairs),
    )
