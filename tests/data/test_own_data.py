"""Rows are drawn while they are read, whole prompts at a time, whatever their order and number."""

import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from data import preferences
from data.conversations import Prompt
from data.own_data import drawn
from data.sources import DataSource

# 300 prompts of one to five rows each.
ROWS = [(Prompt(f"Question {n}?"), answer) for n in range(300) for answer in range(n % 5 + 1)]


def kept(rows: list[tuple[Prompt, int]], limit: int | None) -> set[tuple[Prompt, int]]:
    return set(drawn(rows, limit))


def test_all_rows_are_kept_in_their_order_without_a_limit_and_under_a_large_one() -> None:
    assert list(drawn(ROWS, None)) == ROWS
    assert list(drawn(ROWS, len(ROWS))) == ROWS


@pytest.mark.parametrize("limit", [10, 100, 500])
def test_the_rows_that_are_kept_do_not_depend_on_their_order(limit: int) -> None:
    found = kept(ROWS, limit)
    assert limit - 5 < len(found) <= limit
    for seed in range(5):
        assert kept(random.Random(seed).sample(ROWS, len(ROWS)), limit) == found


def test_a_prompt_is_kept_with_all_its_rows_or_not_at_all() -> None:
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    prompts = {prompt for prompt, _ in kept(shuffled, 100)}
    assert kept(shuffled, 100) == {row for row in ROWS if row[0] in prompts}


def test_a_smaller_draw_is_part_of_a_larger_one() -> None:
    assert kept(ROWS, 50) < kept(ROWS, 200)


def test_the_draw_is_even() -> None:
    """Of each tenth of the file about as many rows are kept: 100 of 1000, give or take four standard deviations."""
    rows = [(Prompt(f"Question {n}?"), n) for n in range(10_000)]
    tenths = [0] * 10
    for _, n in drawn(rows, 1000):
        tenths[n // 1000] += 1
    assert sum(tenths) == 1000
    assert all(60 < count < 140 for count in tenths)


def test_conversations_that_open_alike_stay_together() -> None:
    openings = [f"Question {n}?" for n in range(50)]
    rows = [(Prompt("Why?", history=((said, "So."),)), n) for n in range(4) for said in openings]
    rows += [(Prompt(said), 0) for said in openings]
    counts: dict[str, int] = {}
    for prompt, _ in drawn(rows, 100):
        counts[prompt.opening] = counts.get(prompt.opening, 0) + 1
    assert set(counts.values()) == {5}


def test_a_prompt_with_more_rows_than_the_limit_is_kept_where_it_is_alone() -> None:
    assert len(kept([(Prompt("Who?"), n) for n in range(20)], 10)) == 20


def test_memory_holds_the_rows_that_are_kept_alone() -> None:
    def many() -> Iterator[tuple[Prompt, str]]:
        for n in range(3000):
            yield Prompt(f"Question {n}?"), "x" * 10_000 + str(n)

    tracemalloc.start()
    assert len(list(drawn(many(), 20))) == 20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000  # of 30 MB; other threads of the process allocate too


def test_a_share_of_the_rows_that_are_kept_is_evaluated_on(tmp_path: Path) -> None:
    """The draw has a hash of its own: the lowest by the split's hash would all be on one side."""
    path = tmp_path / "own.jsonl"
    rows = [{"prompt": f"Question {n}?", "chosen": " yes", "rejected": " no"} for n in range(2000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = DataSource(evaluation_share=0.2, row_limit=300)
    split = source.split(str(path))
    assert len(split.train) + len(split.evaluation) == 300
    assert 30 < len(split.evaluation) < 90
    assert source.split(str(path)) == split
    path.write_text("".join(json.dumps(row | {"chosen": " yes!"}) + "\n" for row in rows))
    assert source.split(str(path)).train[0].truthful == (" yes!",)  # a changed file is read again


def test_repeated_rows_are_counted() -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    data = preferences.FORM.collect([row, row, row, row | {"chosen": "c"}], "own")
    assert (data.rows, data.repeated) == (4, 2)
