"""Which questions a run learns from."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from data.examples import Example
from data.sources import SETS
from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.recipe.arguments import EavssArguments
from train.selection.scoring import training_examples


def of_all(folder: Path, *words: str) -> EavssArguments:
    return arguments(folder, "--dataset", "all", "--datasets_root", "samples", "--mined_answers", "0", *words)[0]


def chosen(args: EavssArguments, seed: int = 0) -> list[Example]:
    return training_examples(args.training_pools(), tiny_model("llama"), tiny_tokenizer(), args, seed)


def test_of_all_sets_as_many_questions_of_each_are_taken_mixed_by_the_seed(tmp_path: Path) -> None:
    args = of_all(tmp_path, "--train_questions", "50", "--score_questions", "2")
    first, again, other = chosen(args), chosen(args), chosen(args, seed=1)
    assert Counter(example.dataset for example in first) == dict.fromkeys(SETS, 10)
    assert len({example.dataset for example in first[:20]}) > 3
    assert first == again
    assert [e.question for e in first] != [e.question for e in other]
    assert all(example.hallucinated for example in first)


def test_no_question_that_any_set_evaluates_on_is_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of one set's training side that another set asks in evaluation, in other letters, is left out."""
    args = of_all(tmp_path)
    original = EavssArguments.sides
    asked = original(args, "sciq").evaluation[0].question

    def with_shared_question(self: EavssArguments, dataset: str):
        sides = original(self, dataset)
        if dataset != "nq":
            return sides
        return replace(sides, train=[replace(sides.train[0], question=asked.upper()), *sides.train[1:]])

    monkeypatch.setattr(EavssArguments, "sides", with_shared_question)
    pools = dict(zip(SETS, args.training_pools(), strict=True))
    assert asked.upper() not in [example.question for example in pools["nq"]]
    assert len(pools["nq"]) == len(original(args, "nq").train) - 1
    only_nq = replace(args, dataset="nq")
    assert asked.upper() in [example.question for example in only_nq.training_pools()[0]]
