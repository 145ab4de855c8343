"""What the base knows of the training questions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from data.examples import Example
from eavss.confidence import confidence_of
from tests.toys import tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.evaluation.free_answers import FreeAnswer, FreeAnswers
from train.evaluation.knowledge import probe_knowledge, summary, write_knowledge
from train.model.kept_figures import KeptFigures

EXAMPLES = [
    Example("nq", "which is known?", ("Paris",), aliases=("Paris", "Paname")),
    Example("nq", "which is half known?", ("Rome",), aliases=("Rome",)),
    Example("nq", "which is unknown?", ("Oslo",), aliases=("Oslo",)),
    Example("truthfulqa", "which has no rule?", ("x",), aliases=("x",)),
]
SAID = {
    "which is known?": ("The answer is Paris.", ["Paname", "Paris", "Lyon"]),
    "which is half known?": ("Milan", ["rome", "Milan", "milan"]),
    "which is unknown?": ("", ["Bergen", "I don't know", ""]),
}


@dataclass
class Scripted:
    """Says what is written above, and counts how often it is asked."""

    encoder: Encoder
    token_budget: int = 64
    asked: int = 0
    kept: KeptFigures = field(default_factory=KeptFigures)

    def __call__(self, examples: Sequence[Example], _description: str) -> list[FreeAnswer]:
        self.asked += 1
        texts = [SAID[example.question][0] for example in examples]
        return [FreeAnswer(text, confidence_of([-float(len(text))]) if text else None) for text in texts]

    def samples(self, examples: Sequence[Example], count: int, _seed: int, _description: str) -> list[list[str]]:
        return [SAID[example.question][1][:count] for example in examples]


def scripted() -> Scripted:
    return Scripted(Encoder(tiny_tokenizer(), "plain", 256))


def test_a_question_is_known_by_its_share_of_right_answers(tmp_path: Path) -> None:
    found = probe_knowledge(tiny_model("llama"), cast(Any, scripted()), EXAMPLES, 3, seed=0)
    assert [(each["label"], each["right_share"], each["greedy_right"]) for each in found] == [
        ("known", 0.75, True),
        ("between", 0.25, False),
        ("unknown", 0.0, False),
    ]
    assert [each["agreement"] for each in found] == [0.0, 2 / 3, 0.0]
    assert [each["confidence"] for each in found] == [-20.0, -5.0, None]
    write_knowledge(tmp_path, found)
    lines = [json.loads(line) for line in (tmp_path / "knowledge.jsonl").read_text().splitlines()]
    assert lines == found
    assert "1 known, 1 between, 1 unknown" in summary(found)


def test_answers_are_kept_on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))
    model, free = tiny_model("llama"), scripted()
    first = probe_knowledge(model, cast(Any, free), EXAMPLES, 3, seed=0)
    assert probe_knowledge(model, cast(Any, free), EXAMPLES, 3, seed=0) == first
    assert free.asked == 1
    probe_knowledge(model, cast(Any, free), EXAMPLES, 3, seed=1)
    assert free.asked == 2


def test_samples_depend_on_their_seed_alone() -> None:
    free = FreeAnswers(tiny_model("llama"), Encoder(tiny_tokenizer(), "plain", 256), 512)
    first, again, other = (free.samples(EXAMPLES[:2], 3, seed, "") for seed in (0, 0, 1))
    assert first == again != other
    assert [len(answers) for answers in first] == [3, 3]


def test_sets_without_a_rule_are_not_asked() -> None:
    assert probe_knowledge(tiny_model("llama"), cast(Any, scripted()), EXAMPLES[3:], 3, seed=0) == []
