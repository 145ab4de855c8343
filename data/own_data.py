"""A user's own rows, in one of three forms, become examples; a large set is drawn from while it is read.

Each form has a module: `data.preferences`, `data.labelled` and `data.questions`.
"""

import heapq
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from data.conversations import Prompt
from data.examples import Example, hash_fraction

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=Hashable)

# What the rows of each prompt say, and how many rows say it, in the order of the rows.
Grouped = Mapping[Prompt, Counter[R]]


class Finding(NamedTuple):
    """How many rows or answers something was found in."""

    number: int
    what: str


@dataclass(frozen=True)
class OwnData:
    """Examples, and what was found in the rows that they are made from.

    Args:
        examples: one for each prompt that is left.
        rows: how many rows were kept.
        repeated: how many of these say what another one says.
        findings: what is left out and why, and what is worth a look.
    """

    examples: list[Example]
    rows: int
    repeated: int
    findings: list[Finding]

    def warn(self, name: str) -> None:
        """Warn of what was found."""
        for number, what in self.findings:
            if number:
                logger.warning("%s: %d %s", name, number, what)


@dataclass(frozen=True)
class Form(Generic[R]):
    """One of the forms that rows may have.

    Args:
        read: returns the prompt of a row, and what the row says of it.
        combine: makes the examples of a data set of this name.
    """

    read: Callable[[Mapping[str, Any]], tuple[Prompt, R]]
    combine: Callable[[Grouped[R], str], tuple[list[Example], list[Finding]]]

    def collect(self, rows: Iterable[Mapping[str, Any]], name: str, limit: int | None = None) -> OwnData:
        """Make one example from all rows of a prompt.

        Args:
            name: the path or Hub id of the data, for `Example.dataset`.
            limit: keep at most so many rows (`drawn`).

        Raises:
            KeyError, ValueError: a row is not of this form, or no example is left.
        """
        grouped: dict[Prompt, Counter[R]] = {}
        for prompt, record in drawn(map(self.read, rows), limit):
            grouped.setdefault(prompt, Counter())[record] += 1
        found, findings = self.combine(grouped, name)
        kept = [count for records in grouped.values() for count in records.values()]
        return OwnData(found, sum(kept), sum(kept) - len(kept), findings)

    def examples(self, rows: Iterable[Mapping[str, Any]], name: str, limit: int | None = None) -> list[Example]:
        """Make the examples, and warn of what is left out (`collect`)."""
        data = self.collect(rows, name, limit)
        data.warn(name)
        return data.examples


def drawn(rows: Iterable[tuple[Prompt, R]], limit: int | None) -> Iterator[tuple[Prompt, R]]:
    """Keep at most `limit` rows of any number, and hold no more than these in memory.

    Prompts have a random order, which is fixed by the words that a conversation opens with, and the rows of as many
    prompts are kept as fit, from the first on. So the rows of a prompt stay together, as do conversations that begin
    alike, and the rows that are kept do not depend on the order in which they are read.

    Args:
        limit: None to keep all; then the rows stay in their order.
    """
    if limit is None:
        yield from rows
        return
    kept: dict[float, list[tuple[Prompt, R]]] = {}
    last_first: list[float] = []  # the places of the prompts in their order, negative, as a heap
    count, end = 0, 1.0
    for prompt, record in rows:
        place = hash_fraction(f"drawn {prompt.opening}")
        # A prompt that had to go once would come back without the rows that were read before.
        if place >= end:
            continue
        if place not in kept:
            kept[place] = []
            heapq.heappush(last_first, -place)
        kept[place].append((prompt, record))
        count += 1
        while count > limit and len(kept) > 1:
            end = -heapq.heappop(last_first)
            count -= len(kept.pop(end))
    for place in kept:
        yield from kept[place]
