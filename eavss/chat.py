"""Write conversations with a tokenizer's chat template, and find out how it ends a turn."""

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from eavss.encoding import text_ids
from eavss.errors import EavssError

_ANSWER = "It is seven."

# A role, and what it says.
Turn = tuple[str, str]


def render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], add_generation_prompt: bool = False) -> str:
    """Return the conversation as text.

    Raises:
        EavssError: there is no template, or it refuses the conversation, as some refuse a system message.
    """
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt))
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(role for role, _ in turns)
        reason = " ".join(str(error).split())
        raise EavssError(
            f"prompt_style: the tokenizer's chat template cannot write the messages ({roles}): {reason}; use 'plain'"
        ) from None


def turn_end(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text with which the template ends the assistant's turn; it need not be the end-of-sequence token.

    Raises:
        EavssError: the template leaves the assistant's words out, or see `render`.
    """
    text = render(tokenizer, [("user", "How many?"), ("assistant", _ANSWER)])
    _, answer, end = text.rpartition(_ANSWER)
    if not answer:
        raise EavssError(
            "prompt_style: the tokenizer's chat template does not show the assistant's answer; use 'plain'"
        )
    return end


def turn_end_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the tokens that end the assistant's turn: those up to the template's first special token.

    Where the template ends a turn with white space alone, it is the end-of-sequence token.
    """
    end, eos = turn_end(tokenizer), tokenizer.eos_token_id
    if not end.strip():
        return () if eos is None else (int(eos),)
    ids = text_ids(tokenizer, end, special_tokens=False)
    first = next((place for place, token in enumerate(ids) if token in tokenizer.added_tokens_decoder), None)
    return tuple(ids) if first is None else tuple(ids[: first + 1])
