"""Pairs are shown as training encodes them, and what is cut or merged is seen."""

import pytest

from data.examples import Example, wrong_answers
from tests.tokenizers import trained_tokenizer
from tests.toys import tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.inspection import encode_all, shown_answers
from train.batching.pairs import make_pairs

EXAMPLE = Example("own", "Who wrote it?", ("Jane", "I"), wrong_answers(["Emma"], "dataset"))
ALONE = Example("own", "Who?", ("she", "her"))


def test_pairs_are_those_of_training() -> None:
    for limit in (256, 30):
        encoder = Encoder(tiny_tokenizer(), "plain", limit)
        pairs = make_pairs([EXAMPLE], encoder, 4, with_positive=False, seed=0)
        found = list(encode_all([EXAMPLE], encoder))
        assert {tuple(each.kept) for each in found} == {(pair.chosen, pair.rejected) for pair in pairs}
        assert {each.cut for each in found} == ({""} if limit == 256 else {"prompt"})
        # One token a byte: " Jane" and " Emma" with their ends are 6 tokens after a prompt of 31.
        assert max(len(sequence) for each in found for sequence in each.whole) == 37


def test_right_answers_alone_are_no_pair() -> None:
    (found,) = encode_all([ALONE], Encoder(tiny_tokenizer(), "plain", 64))
    assert (found.is_pair, found.is_equal, len(found.kept)) == (False, False, 2)
    assert [line.split(":")[0].strip() for line in shown_answers(tiny_tokenizer(), found)[1:]] == ["right", "right"]


def test_answers_that_are_equal_once_cut_are_seen() -> None:
    example = Example("own", "Who?", ("a" * 60 + "b",), wrong_answers(["a" * 60 + "c"], "dataset"))
    (found,) = encode_all([example], Encoder(tiny_tokenizer(), "plain", 32))
    assert (found.is_equal, found.cut) == (True, "answer")
    assert shown_answers(tiny_tokenizer(), found)[1].endswith("'a' 'a' | (cut)")


def test_an_answer_that_begins_inside_the_prompt_is_seen() -> None:
    """The tokenizer has a token for ": ", so that the prompt "Say:" has other tokens before " it" than alone."""
    tokenizer = trained_tokenizer("bytes")
    examples = [
        Example("own", "Say:", (answer,), wrong_answers([f"{answer}!"], "dataset"), verbatim=True)
        for answer in (" it", "it")
    ]
    assert [each.merged for each in encode_all(examples, Encoder(tokenizer, "plain", 64))] == [True, False]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("llama-2", "'est' 'ion: ' 'Is' ' it' '?\\nA' 'nswer' | ': ' 'Paris' | '</s>'"),
        ("llama-3", "' I' 's' ' it' '?\\n' 'Answer' ':' | ' Paris' | '</s>'"),
        ("metaspace", "' it' '?' '\\n' 'A' 'nswer' ':' | ' Paris' | '</s>'"),
    ],
)
def test_tokens_are_shown_at_the_joints(kind: str, shown: str) -> None:
    """As what they add to the text: alone, some tokenizers lose the space before " Paris"."""
    tokenizer = trained_tokenizer(kind)
    (found,) = encode_all([Example("own", "Is it?", ("Paris",))], Encoder(tokenizer, "plain", 64))
    assert shown_answers(tokenizer, found)[1] == f"   right: ... {shown}"


def test_long_prompts_and_answers_are_shown_in_part() -> None:
    example = Example("own", "x" * 1000, ("abcdefghijklmnopqrstuvwxyz",))
    (found,) = encode_all([example], Encoder(tiny_tokenizer(), "plain", 2000))
    prompt, answer = shown_answers(tiny_tokenizer(), found)
    assert "prompt, 1018 tokens: 'Question: xxx" in prompt
    assert len(prompt) < 600
    assert "' ' 'a' 'b' 'c' 'd' 'e' ... (15 tokens) ... 'u' 'v' 'w' 'x' 'y' 'z' | '<eos>'" in answer
