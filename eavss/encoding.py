"""Texts become token ids: a prompt and the answers that follow it."""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from eavss.batches import Cut, TokenSequence
from eavss.errors import EavssError


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str, special_tokens: bool = True) -> list[int]:
    """Tokenise a text that goes on, without what the tokenizer puts after a text.

    Args:
        special_tokens: add the tokens that the tokenizer puts before a text, unless the text begins with them. A chat
            template brings its own.
    """
    begun = bool(tokenizer.bos_token) and text.startswith(str(tokenizer.bos_token))
    encoded = tokenizer(text, add_special_tokens=special_tokens and not begun, return_special_tokens_mask=True)
    ids: list[int] = encoded["input_ids"]
    added: list[int] = encoded["special_tokens_mask"]
    end = len(ids)
    while end and added[end - 1]:
        end -= 1
    return ids[:end]


def common_length(texts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all texts begin with."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


class TokenisedText(NamedTuple):
    """A text and its token ids."""

    text: str
    ids: list[int]


def encode_answers(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    answers: Sequence[str],
    max_length: int = 512,
    end: bool = False,
    special_tokens: bool = True,
) -> list[TokenSequence]:
    """Tokenise the prompt together with each answer, and find where the answers start (`join`).

    Args:
        end: add the end-of-sequence token after each answer.
        special_tokens: see `text_ids`.

    Raises:
        EavssError: see `join`.
    """
    whole, *wholes = (
        TokenisedText(text, text_ids(tokenizer, text, special_tokens))
        for text in (prompt, *(f"{prompt}{answer}" for answer in answers))
    )
    eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
    return join(whole, wholes, end=(eos,) if end and eos is not None else (), max_length=max_length, bos=bos)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    answer: str,
    max_length: int = 512,
    end: bool = False,
    special_tokens: bool = True,
) -> TokenSequence:
    """Encode one answer alone, see `encode_answers`."""
    return encode_answers(tokenizer, prompt, [answer], max_length, end=end, special_tokens=special_tokens)[0]


def join(
    prompt: TokenisedText,
    wholes: Sequence[TokenisedText],
    *,
    end: tuple[int, ...],
    max_length: int,
    bos: int | None = None,
) -> list[TokenSequence]:
    """Divide texts that consist of one prompt and an answer each.

    The answers start where the tokens of the prompt part from those of any of the texts, because a tokenizer may merge
    the prompt's last characters with an answer's first. This is TRL's rule for the two answers of a pair. So answers
    that are compared follow equal tokens.

    Where a text is longer than `max_length`, the start of the prompt is cut for all of them, but for a beginning-of-
    sequence token, down to a quarter of `max_length`. If that is not enough, the end of the answer is cut too, and
    what ends an answer does not follow it.

    Args:
        prompt: the prompt alone.
        wholes: the prompt with each of the answers.
        end: the tokens that end an answer; () for none.
        max_length: tokens of prompt, answer and end; at least 2 more than the end has.
        bos: the beginning-of-sequence token.

    Raises:
        EavssError: the prompt or an answer has no token, or `max_length` leaves no room for both.
    """
    if max_length < 2 + len(end):
        raise EavssError(f"max_length: {max_length} leaves no room for a prompt and an answer")
    # At least one token stays in the prompt, because the first token of an answer is predicted from it.
    start = max(1, common_length([prompt.ids, *(whole.ids for whole in wholes)]))
    lacking = next((whole for whole in wholes if len(whole.ids) <= start), None)
    if not prompt.ids or lacking:
        raise EavssError(f"no token in the {'answer' if prompt.ids else 'prompt'} of {(lacking or prompt).text!r}")
    longest = max(len(whole.ids) for whole in wholes) - start + len(end)
    kept = min(start, max(max_length - longest, max_length // 4, 1))
    prompt_ids = tuple(wholes[0].ids[:start])
    if kept < start:
        first = prompt_ids[:1] if kept > 1 and prompt_ids[0] == bos else ()
        prompt_ids = (*first, *prompt_ids[start - kept + len(first) :])
    found = []
    for whole in wholes:
        answer, ending = tuple(whole.ids[start:]), end
        lost: Cut | None = "prompt" if kept < start else None
        if kept + len(answer) + len(end) > max_length:
            answer, ending, lost = answer[: max_length - kept], (), "answer"
        found.append(TokenSequence((*prompt_ids, *answer, *ending), kept, kept + len(answer), lost))
    return found


def encode_as_one(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, max_length: int) -> TokenSequence:
    """Tokenise prompt and answer as one text, as lm-evaluation-harness does.

    The answer's tokens are those of the whole text after as many as the prompt alone has, and they follow the prompt's
    own. White space at the prompt's end belongs to the answer. A sequence longer than `max_length` loses its start.

    Raises:
        EavssError: the whole text has no more tokens than the prompt.
    """
    prompt_ids = text_ids(tokenizer, prompt.rstrip())
    answer_ids = text_ids(tokenizer, prompt + answer)[len(prompt_ids) :]
    if not answer_ids:
        raise EavssError(f"no token in the answer of {prompt + answer!r}")
    start, ids = len(prompt_ids), [*prompt_ids, *answer_ids]
    cut = max(0, len(ids) - max_length)
    lost: Cut | None = None if not cut else "prompt" if cut < start else "answer"
    # An answer too long for the limit still leaves the first token kept to predict the rest from.
    return TokenSequence(tuple(ids[cut:]), max(1, start - cut), len(ids) - cut, lost)
