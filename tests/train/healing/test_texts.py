"""What a cut model learns from, with a tiny model that writes and the samples."""

from pathlib import Path

import pytest

from data.examples import Example
from data.sources import DataSource
from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.healing.texts import TEXT_TOKENS, Lessons


@pytest.fixture(scope="module")
def lessons(tmp_path_factory: pytest.TempPathFactory) -> Lessons:
    folder: Path = tmp_path_factory.mktemp("lessons")
    args, _ = arguments(folder, "--datasets_root", "samples", "--dataset", "sciq", "--train_questions", "5")
    return Lessons.of(tiny_model("llama"), tiny_tokenizer(), args, 7, seed=3)


def test_as_many_texts_and_questions_as_asked_for(lessons: Lessons) -> None:
    assert [len(text) for text in lessons.written] == [TEXT_TOKENS] * 7
    assert len(set(lessons.written)) == 7
    assert len(lessons.answered) == 5


def test_each_question_stands_with_its_true_answer(lessons: Lessons) -> None:
    def shown(example: Example) -> str:
        return f"Question: {example.question}\nAnswer: {example.truthful[0]}"

    known = {shown(example) for example in DataSource("samples").split("sciq").train}
    for sequence in lessons.answered:
        assert tiny_tokenizer().decode(sequence.ids, skip_special_tokens=True) in known


def test_both_kinds_are_mixed_by_seed(lessons: Lessons) -> None:
    mixed = lessons.mixed(0)
    assert sorted(mixed, key=lambda s: s.ids) == sorted([*lessons.written, *lessons.answered], key=lambda s: s.ids)
    assert mixed == lessons.mixed(0) != lessons.mixed(1)
    assert mixed[:7] != lessons.written
