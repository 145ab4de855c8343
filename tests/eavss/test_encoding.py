"""Prompts and answers as token ids. The toy tokenizer makes one token of each byte; the others are trained."""

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from eavss.batches import TokenSequence
from eavss.encoding import encode, encode_answers, encode_as_one, text_ids
from eavss.errors import EavssError
from tests.tokenizers import TOKENIZER_KINDS, trained_tokenizer
from tests.toys import EOS, tiny_tokenizer


def parts(tokenizer: PreTrainedTokenizerFast, sequence: TokenSequence) -> tuple[str, str, str]:
    """The texts before, in and after the answer's span."""
    ids = list(sequence.ids)
    spans = ids[: sequence.answer_start], ids[sequence.answer_start : sequence.answer_end], ids[sequence.answer_end :]
    before, answer, after = (tokenizer.decode(span) for span in spans)
    return before, answer, after


@pytest.mark.parametrize(("end", "after"), [(False, ""), (True, EOS)])
def test_answer_span(tokenizer: PreTrainedTokenizerFast, end: bool, after: str) -> None:
    """13 bytes of prompt, 6 of answer; the end-of-sequence token is not of the answer."""
    sequence = encode(tokenizer, "Question?\nA: ", " Zürich"[:5], end=end)
    assert parts(tokenizer, sequence) == ("Question?\nA: ", " Züri", after)
    assert (sequence.answer_start, sequence.answer_end, len(sequence)) == (13, 19, 19 + bool(end))


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Question: What is the capital of France?\nAnswer:", " Paris"),
        ("Say it: ", "Paris"),
        ("Say it:", "Paris"),
        ("They say (", "it is)"),
        ("how many? 12", "34567"),
        ("Answer:\n\n", "\nPa ris "),
    ],
)
def test_prompt_and_answer_are_one_text(kind: str, prompt: str, answer: str) -> None:
    """The tokens are those of the whole text, and the answer starts where they part from the prompt's own."""
    tokenizer = trained_tokenizer(kind)
    whole, alone = tokenizer(prompt + answer)["input_ids"], tokenizer(prompt)["input_ids"]
    start = next((i for i, pair in enumerate(zip(whole, alone, strict=False)) if len(set(pair)) > 1), len(alone))
    sequence = encode(tokenizer, prompt, answer)
    assert sequence.ids == tuple(whole)
    assert sequence.answer_start == start
    assert sequence.cut is None


def test_a_word_keeps_the_token_that_it_has_in_the_text() -> None:
    """Tokenised apart, " Paris" would begin with two marks: the tokenizer's own and that of the space."""
    tokenizer = trained_tokenizer("llama-2")
    apart = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Answer:", " Paris")]
    together = encode(tokenizer, "Answer:", " Paris", special_tokens=False).ids
    assert "".join(tokenizer.convert_ids_to_tokens([*apart[0], *apart[1]])) == "▁Answer:▁▁Paris"
    assert "".join(tokenizer.convert_ids_to_tokens(list(together))) == "▁Answer:▁Paris"


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_answers_that_are_compared_follow_equal_tokens(kind: str) -> None:
    """Where the tokens of one answer part from the prompt's earlier than those of another, both start there."""
    tokenizer = trained_tokenizer(kind)
    answers = ["Paris", " Paris", "123", ")", "it"]
    together = encode_answers(tokenizer, "Say it: ", answers)
    assert len({sequence.prompt for sequence in together}) == 1
    alone = [encode(tokenizer, "Say it: ", answer) for answer in answers]
    assert together[0].answer_start == min(sequence.answer_start for sequence in alone)
    assert [sequence.ids for sequence in together] == [sequence.ids for sequence in alone]


@pytest.mark.parametrize(
    ("max_length", "end", "expected", "cut"),
    [
        (14, False, ("0123456789", "abcd", ""), None),
        (13, False, ("123456789", "abcd", ""), "prompt"),
        (14, True, ("123456789", "abcd", EOS), "prompt"),
        (8, False, ("6789", "abcd", ""), "prompt"),
        (5, False, ("9", "abcd", ""), "prompt"),
        (6, True, ("9", "abcd", EOS), "prompt"),
        (4, False, ("9", "abc", ""), "answer"),
        (5, True, ("9", "abcd", ""), "answer"),
        (3, True, ("9", "ab", ""), "answer"),
        (2, False, ("9", "a", ""), "answer"),
    ],
)
def test_truncation(
    tokenizer: PreTrainedTokenizerFast, max_length: int, end: bool, expected: tuple[str, str, str], cut: str | None
) -> None:
    """10 + 4 tokens: the prompt loses its start down to a quarter of the limit, and only then the answer its end.

    A cut answer does not end, so no end-of-sequence follows it.
    """
    sequence = encode(tokenizer, "0123456789", "abcd", max_length=max_length, end=end)
    assert parts(tokenizer, sequence) == expected
    assert sequence.cut == cut


def test_a_long_answer_leaves_a_quarter_to_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    sequence = encode(tokenizer, "0123456789" * 10, "x" * 100, max_length=40, end=True)
    assert parts(tokenizer, sequence) == ("0123456789", "x" * 30, "")


def test_compared_answers_lose_the_same_start_of_their_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    """The longest answer decides, and only what is longer than the rest of the room is cut."""
    short, long = encode_answers(tokenizer, "0123456789", ["ab", "abcdefghij"], max_length=16)
    assert [parts(tokenizer, sequence) for sequence in (short, long)] == [
        ("456789", "ab", ""),
        ("456789", "abcdefghij", ""),
    ]
    assert [short.cut, long.cut] == ["prompt", "prompt"]


def test_a_beginning_of_sequence_token_survives_the_cut() -> None:
    tokenizer = trained_tokenizer("llama-3")
    sequence = encode(tokenizer, "Question: What is the capital of France?\nAnswer:", " Paris", max_length=12)
    assert len(sequence) == 12
    assert sequence.ids[0] == tokenizer.bos_token_id
    assert str(tokenizer.decode(sequence.prompt[1:])).endswith("\nAnswer:")


@pytest.mark.parametrize(
    ("prompt", "answer", "what"),
    [("Q:", "", "no token in the answer of 'Q:'"), ("", " x", "no token in the prompt of ''"), ("", "", "the prompt")],
)
def test_nothing_to_tokenise_is_an_error(
    tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str, what: str
) -> None:
    with pytest.raises(EavssError, match=what):
        encode(tokenizer, prompt, answer, end=True)


def test_no_room_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(EavssError, match="max_length: 2 leaves no room"):
        encode(tokenizer, "ab", "cd", max_length=2, end=True)


def tokenizer_that_adds(template: str) -> PreTrainedTokenizerFast:
    """The toy, with special tokens around every text."""
    made = tiny_tokenizer()
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(EOS, made.eos_token_id)]
    )
    return made


@pytest.mark.parametrize(("special_tokens", "before"), [(True, f"{EOS}ab"), (False, "ab")])
def test_token_that_starts_a_text_starts_the_prompt_alone(special_tokens: bool, before: str) -> None:
    starting = tokenizer_that_adds(f"{EOS} $A")
    assert parts(starting, encode(starting, "ab", " c", special_tokens=special_tokens)) == (before, " c", "")


@pytest.mark.parametrize("template", [f"$A {EOS}", f"$A {EOS} {EOS}"])
@pytest.mark.parametrize("end", [False, True])
def test_tokens_that_end_a_text_end_neither_prompt_nor_answer(template: str, end: bool) -> None:
    ending = tokenizer_that_adds(template)
    assert parts(ending, encode(ending, "ab", " c", end=end)) == ("ab", " c", EOS * end)
    assert parts(ending, encode_as_one(ending, "ab", " c", 64)) == ("ab", " c", "")
    assert ending.decode(text_ids(ending, f"ab{EOS}")) == f"ab{EOS}"  # what the text itself says stays


def test_a_text_that_begins_with_the_beginning_gets_no_second_one() -> None:
    tokenizer = trained_tokenizer("llama-2")
    ids = text_ids(tokenizer, "<s>Say it")
    assert ids.count(tokenizer.bos_token_id) == 1


def test_end_that_a_chat_template_writes_stays(tokenizer: PreTrainedTokenizerFast) -> None:
    sequence = encode(tokenizer, f"ab{EOS}", "c", special_tokens=False)
    assert parts(tokenizer, sequence) == (f"ab{EOS}", "c", "")


def test_tokenizer_without_an_end_adds_none() -> None:
    endless = tiny_tokenizer()
    endless.eos_token = None
    assert parts(endless, encode(endless, "ab", "c", end=True)) == ("ab", "c", "")
