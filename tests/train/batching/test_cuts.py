"""What is cut from long texts is said, and nothing is trained on that teaches nothing once it is cut."""

import pytest

from data.examples import Example, wrong_answers
from eavss.batches import TokenSequence
from tests.toys import tiny_model, tiny_tokenizer
from train.batching.cuts import say_cuts
from train.batching.encoding import Encoder
from train.batching.pairs import make_pairs
from train.batching.scored_answers import paired_batches
from train.evaluation.benchmarks import Benchmark, Question
from train.evaluation.evaluate import Evaluator
from train.evaluation.likelihood import AnswerScorer
from train.runtime.errors import RecipeError

LIMIT = 64
ENCODER = Encoder(tiny_tokenizer(), "plain", LIMIT)


def example(name: str, right: str, wrong: str) -> Example:
    return Example("own", f"{name} ", (right,), wrong_answers([wrong], "dataset"), verbatim=True)


SHORT = example("short", "yes", "no")
LONG_PROMPT = example("prompt " * 20, "yes", "no")
LONG_ANSWER = example("answer", "x" * 100, "y" * 10)
# They differ after the cut: one token a byte, 7 of the prompt, so 57 of the answer stay.
EQUAL_ONCE_CUT = example("equal", "z" * 80 + "yes", "z" * 80 + "no")


def test_pairs_that_are_equal_once_cut_are_counted_and_not_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = make_pairs([SHORT, LONG_PROMPT, LONG_ANSWER, EQUAL_ONCE_CUT], ENCODER, 1, with_positive=False, seed=0)
    assert len(pairs) == 3
    assert all(pair.chosen != pair.rejected for pair in pairs)
    assert capsys.readouterr().out == (
        "training pairs: of 4, cut to max_length 64: 1 lost the start of the prompt; 2 lost the end of an answer too; "
        "1 were left out, because both answers have equal tokens\n"
    )


def test_a_cut_answer_is_not_followed_by_an_end() -> None:
    eos = ENCODER.tokenizer.eos_token_id
    (pair,) = make_pairs([LONG_ANSWER], ENCODER, 1, with_positive=False, seed=0)
    assert pair.chosen.ids[-1] != eos
    assert pair.rejected.ids[-1] == eos


def test_what_is_scored_leaves_them_out_too(capsys: pytest.CaptureFixture[str]) -> None:
    batches = paired_batches([SHORT, LONG_PROMPT, EQUAL_ONCE_CUT], ENCODER, 2, 10_000, seed=0)
    assert sum(int(batch.question.max()) + 1 for batch in batches) == 2
    assert "questions to score: of 3, cut to max_length 64: " in capsys.readouterr().out


def test_what_is_evaluated_leaves_them_out_too(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [Question(each, each.truthful[0], each.hallucinated[0], SHORT) for each in (SHORT, EQUAL_ONCE_CUT)]
    scorer = AnswerScorer(tiny_model("llama"), ENCODER, 1024)
    records = Evaluator(scorer, hidden=True, free=None).run([Benchmark("own", "own", "train", asked)], "")
    assert [record["question"] for record in records["own"]] == [SHORT.question]
    assert "questions of own: of 2, cut to max_length 64: 1 lost the end of an answer too" in capsys.readouterr().out


def test_nothing_is_said_where_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    make_pairs([SHORT], ENCODER, 1, with_positive=False, seed=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([EQUAL_ONCE_CUT], r"in all 1 the two answers have equal tokens once cut; raise max_length \(max_length: 64\)"),
        ([example("same", "yes", "yes")], r"in all 1 the two answers have equal tokens \(max_length: 64\)"),
    ],
)
def test_a_run_without_a_pair_is_refused(examples: list[Example], message: str) -> None:
    for make in (
        lambda: make_pairs(examples, ENCODER, 1, with_positive=False, seed=0),
        lambda: paired_batches(examples, ENCODER, 1, 1000, seed=0),
    ):
        with pytest.raises(RecipeError, match=message):
            make()


def test_a_group_counts_once() -> None:
    cut = TokenSequence((1, 2), 1, 2, "answer")
    with pytest.raises(RecipeError, match="pairs: in all 1"):
        say_cuts("pairs", [[cut, cut]], 8, equal=1)
