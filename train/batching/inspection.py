"""Look at examples as the model will see them: how long they are, what is cut, and where prompt and answer meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from transformers import PreTrainedTokenizerBase

from data.examples import Example
from eavss.batches import TokenSequence
from train.batching.encoding import Encoder

_NO_LIMIT = 2**31
# Tokens that are shown before a joint, and after it.
_BEFORE, _AFTER = 6, 6
_CHARACTERS = 400


@dataclass(frozen=True)
class EncodedAnswers:
    """A pair of answers to an example, or its right answers where it has no wrong ones, with what ends them.

    Args:
        whole: the sequences without a limit.
        kept: the sequences as `max_length` leaves them, the truthful answer first.
        merged: the answers begin inside the last token of the prompt.
    """

    example: Example
    whole: list[TokenSequence]
    kept: list[TokenSequence]
    merged: bool

    @property
    def is_pair(self) -> bool:
        return bool(self.example.wrong_answers)

    @property
    def is_equal(self) -> bool:
        """Whether a pair's two answers have equal tokens, so that training leaves it out."""
        return self.is_pair and self.kept[0] == self.kept[1]

    @property
    def cut(self) -> str:
        """What is lost: "prompt" for the start of the prompt alone, "answer" for the end of an answer, else ""."""
        lost = {sequence.cut for sequence in self.kept}
        return "answer" if "answer" in lost else "prompt" if "prompt" in lost else ""


def encode_all(examples: Sequence[Example], encoder: Encoder) -> Iterator[EncodedAnswers]:
    """Encode every pair of every example as training does.

    Raises:
        EavssError: a prompt or an answer has no token, or the chat template refuses a conversation.
    """
    unlimited = replace(encoder, max_length=_NO_LIMIT)
    for example in examples:
        prompt = len(unlimited.prompt_ids(example))
        groups: Sequence[Sequence[str]] = example.contrasts or [example.truthful]
        for answers in groups:
            whole = unlimited(example, answers, end=True)
            fits = max(map(len, whole)) <= encoder.max_length
            kept = whole if fits else encoder(example, answers, end=True)
            yield EncodedAnswers(example, whole, kept, merged=whole[0].answer_start < prompt)


def shown_answers(tokenizer: PreTrainedTokenizerBase, encoded: EncodedAnswers) -> list[str]:
    """Return a prompt as text, and after it the tokens of each answer with those before and after it, in lines."""
    first = encoded.kept[0]
    text = str(tokenizer.decode(list(first.prompt)))
    middle = f" ... ({len(text) - _CHARACTERS} characters) ... "
    shown = text if len(text) <= _CHARACTERS else middle.join((text[: _CHARACTERS // 2], text[-_CHARACTERS // 2 :]))
    kinds = ["right", "wrong"] if encoded.is_pair else ["right"] * len(encoded.kept)
    answers = [f"   {kind}: {_joints(tokenizer, each)}" for kind, each in zip(kinds, encoded.kept, strict=True)]
    return [f"   prompt, {len(first.prompt)} tokens: {shown!r}", *answers]


def _joints(tokenizer: PreTrainedTokenizerBase, sequence: TokenSequence) -> str:
    """Return the tokens around the joints: 'Answer' ':' | ' Paris' | '<eos>'."""
    ids, start, end = list(sequence.ids), sequence.answer_start, sequence.answer_end
    before = _pieces(tokenizer, ids, max(0, start - _BEFORE), start)
    answer = _pieces(tokenizer, ids, start, min(end, start + _AFTER))
    if end - start > 2 * _AFTER:
        answer += [f"... ({end - start - 2 * _AFTER} tokens) ...", *_pieces(tokenizer, ids, end - _AFTER, end)]
    else:
        answer += _pieces(tokenizer, ids, start + _AFTER, end)
    after = _pieces(tokenizer, ids, end, len(ids)) or ["(cut)" if sequence.cut == "answer" else "(nothing)"]
    return " | ".join(" ".join(part) for part in (before if start <= _BEFORE else ["...", *before], answer, after))


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int], start: int, end: int) -> list[str]:
    # Each as what it adds to the text before it: alone, a token may lose the space that it begins with.
    texts = [str(tokenizer.decode(ids[:stop])) for stop in range(start, max(start, end) + 1)]
    return [repr(after[len(before) :]) for before, after in pairwise(texts)]
