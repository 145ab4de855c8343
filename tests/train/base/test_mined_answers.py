"""The model's own answers: seeded, kept on disk, and used where a set has no wrong ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.examples import Example
from data.hallucinations import with_model_answers
from tests.toys import origins_of, tiny_model, tiny_tokenizer
from train.base.mined_answers import AnswerWriter

ASKED = [Example("nq", f"what is number {i}", (f"n{i}",), aliases=(f"n{i}",)) for i in range(5)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))
    return tmp_path


def writer(answers: int = 3, seed: int = 0) -> AnswerWriter:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return AnswerWriter(tiny_model("llama"), tokenizer, ASKED, answers, seed)


def test_the_prompt_shows_other_questions_with_their_answers() -> None:
    prompt = writer()._prompt(ASKED[0])
    assert prompt.count("Answer: n") == 4
    assert prompt.endswith("Answer: n4\n\nQuestion: what is number 0\nAnswer:")


def test_the_prompt_shows_the_earlier_turns_of_a_conversation() -> None:
    asked = replace(ASKED[0], history=(("is it?", "it is"),))
    assert (
        writer()._prompt(asked).endswith("n4\n\nQuestion: is it?\nAnswer: it is\n\nQuestion: what is number 0\nAnswer:")
    )


def test_answers_are_kept_and_read_back(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = writer()(ASKED)
    assert len(first) == len(ASKED)
    assert all(len(answers) <= 3 for answers in first)
    assert len(list(cache.glob("answers/*.json"))) == 1
    monkeypatch.setattr(AnswerWriter, "_write", lambda *_: pytest.fail("the kept answers were not used"))
    assert writer()(ASKED) == first


def test_another_seed_or_model_or_question_is_another_entry(cache: Path) -> None:
    writer()(ASKED)
    writer(seed=1)(ASKED)
    writer()(ASKED[:2])
    assert len(list(cache.glob("answers/*.json"))) == 3


def test_answers_do_not_depend_on_what_was_drawn_before(cache: Path, tmp_path: Path) -> None:
    first = writer()(ASKED)
    for kept in cache.glob("answers/*.json"):
        kept.unlink()
    writer(seed=7)(ASKED)
    assert writer()(ASKED) == first


@pytest.mark.parametrize(
    ("text", "kept"), [(" Paris\nQuestion", "Paris"), (" Paris.<eos>", "Paris"), (" it never ends", ""), ("\nx", "")]
)
def test_only_an_answer_that_ends_is_kept_and_only_its_first_line(text: str, kept: str) -> None:
    one = writer()
    ids = torch.tensor([one.tokenizer(text)["input_ids"]])
    assert one._texts(ids, 0) == [kept]


def test_mined_answers_are_marked(cache: Path) -> None:
    written = [["n0", "zero", "zero"], ["one"], [], ["n3"], ["four"]]
    found = with_model_answers(ASKED, 2, lambda _examples: written)
    assert [example.hallucinated for example in found] == [("zero",), ("one",), (), (), ("four",)]
    assert origins_of(found[0]) == ("model",)
