"""A row of preferences is one pair, and stays one in scoring, training and evaluation."""

import json
import logging
import random
from pathlib import Path

import pytest

from data import preferences
from data.examples import Example
from data.sources import DataSource
from tests.toys import tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.pairs import make_pairs
from train.batching.scored_answers import paired_batches
from train.evaluation.benchmarks import load_benchmarks
from train.recipe.settings import EvaluationSettings

ENCODER = Encoder(tiny_tokenizer(), "plain", 256)
GRADES = ("good", "fair", "poor")


def row(prompt: str, chosen: str, rejected: str) -> dict[str, str]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def ranked(questions: int) -> list[dict[str, str]]:
    """Three rows a prompt: good > fair, fair > poor, good > poor, in an order of its own."""
    rows = []
    for number in range(questions):
        prompt, (a, b, c) = f"Question {number}?", (f" a {grade} answer" for grade in GRADES)
        rows += random.Random(number).sample([row(prompt, a, b), row(prompt, b, c), row(prompt, a, c)], 3)
    return rows


def text(ids: tuple[int, ...]) -> str:
    return str(ENCODER.tokenizer.decode(ids))


def test_a_ranking_stays_its_pairs() -> None:
    (example,) = preferences.examples(ranked(1), "own")
    assert set(example.contrasts) == {
        (" a good answer", " a fair answer"),
        (" a fair answer", " a poor answer"),
        (" a good answer", " a poor answer"),
    }


def test_every_pair_that_is_trained_on_is_a_row() -> None:
    rows = ranked(29)
    pairs = make_pairs(preferences.examples(rows, "own"), ENCODER, 4, with_positive=True, seed=0)
    found = [(text(pair.chosen.prompt), text(pair.chosen.answer), text(pair.rejected.answer)) for pair in pairs]
    assert sorted(found) == sorted((each["prompt"], each["chosen"], each["rejected"]) for each in rows)
    # "good" is a second truth beside "fair"; what a row rejects is none.
    assert {text(pair.positive.answer) for pair in pairs if pair.positive} == {" a good answer"}
    one_each = make_pairs(preferences.examples(rows, "own"), ENCODER, 1, with_positive=False, seed=0)
    assert len(one_each) == 29


def test_every_pair_that_is_scored_is_a_row() -> None:
    """All three rows of two prompts: "good" is truthful twice, "fair" once on each side, "poor" hallucinated twice."""
    (batch,) = paired_batches(preferences.examples(ranked(2), "own"), ENCODER, 4, 10_000, seed=0)
    assert batch.pairs == 6
    counts: dict[tuple[str, bool], int] = {}
    for ids, mask, wrong in zip(batch.batch.input_ids, batch.batch.answer_mask, batch.hallucinated, strict=True):
        key = (text(tuple(ids[mask].tolist())), bool(wrong))
        counts[key] = counts.get(key, 0) + 1
    assert counts == {
        (" a good answer", False): 4,
        (" a fair answer", False): 2,
        (" a fair answer", True): 2,
        (" a poor answer", True): 4,
    }


def test_every_pair_that_is_evaluated_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "ranked.jsonl"
    rows = ranked(60)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    settings = EvaluationSettings((str(path),), DataSource(evaluation_share=0.5))
    (benchmark,) = load_benchmarks(settings, seed=0)
    asked = {(question.example.question, question.right, question.wrong) for question in benchmark.questions}
    assert len(asked) > 20
    assert asked <= {(each["prompt"], each["chosen"], each["rejected"]) for each in rows}
    assert not any("poor" in right for _, right, _ in asked)


@pytest.mark.parametrize(
    ("rows", "pairs", "said"),
    [
        ([row("p", "a", "b"), row("p", "b", "c")], {("a", "b"), ("b", "c")}, ["1 answers are chosen in one row and"]),
        ([row("p", "a", "b"), row("p", "c", "c")], {("a", "b")}, ["1 rows have equal answers in chosen and rejected"]),
        (
            [row("p", "a", "b"), row("p", "b", "a"), row("p", "a", "c")],
            {("a", "c")},
            ["2 rows prefer an answer that another row rejects"],
        ),
        (
            [row("p", "a", "b"), row("p", "b", "c"), row("p", "c", "a"), row("q", "x", "x"), row("q", "x", "y")],
            {("a", "b"), ("b", "c"), ("c", "a"), ("x", "y")},
            ["1 rows have equal answers", "3 answers are chosen in one row and rejected in another"],
        ),
        ([row("p", "a", "b"), row("p", "a", "b")], {("a", "b")}, []),
        ([row("p", "a", "b"), row("q", "b", "a")], {("a", "b"), ("b", "a")}, []),
    ],
)
def test_what_is_left_out_or_in_both_roles_is_counted(
    rows: list[dict[str, str]], pairs: set[tuple[str, str]], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        examples = preferences.examples(rows, "own.jsonl")
    assert {pair for example in examples for pair in example.contrasts} == pairs
    assert len(caplog.messages) == len(said)
    for message, part in zip(caplog.messages, said, strict=True):
        assert message.startswith(f"own.jsonl: {part}")


def test_rows_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="of 3 rows none has a chosen answer that is preferred"):
        preferences.examples([row("p", "a", "a"), row("q", "a", "b"), row("q", "b", "a")], "own")


def test_equal_conversations_and_texts_without_a_prompt_are_counted_too(caplog: pytest.LogCaptureFixture) -> None:
    same = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I"}]
    rows = [{"chosen": same, "rejected": same}, {"chosen": "It is.\n", "rejected": "It is.\n"}, row("p", "a", "b")]
    assert len(preferences.examples(rows, "own")) == 1
    assert "2 rows have equal answers" in caplog.text


def test_prompts_with_other_system_messages_are_other_prompts() -> None:
    rows = [
        {
            "prompt": [{"role": "system", "content": system}, {"role": "user", "content": "Who?"}],
            "chosen": [{"role": "assistant", "content": "I"}],
            "rejected": [{"role": "assistant", "content": "he"}],
        }
        for system in ("Be brief.", "Be kind.")
    ]
    found = preferences.examples(rows, "own")
    assert [example.system for example in found] == ["Be brief.", "Be kind."]
    assert isinstance(found[0], Example)
