"""Write conversations with a tokenizer's chat template."""

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from data.conversations import Message
from train.runtime.errors import ModelError

_ANSWER = "It is seven."


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
    """Return the conversation as text.

    Raises:
        ModelError: the template refuses the conversation, as some refuse a system message.
    """
    turns = [message._asdict() for message in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt))
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(message.role for message in messages)
        raise ModelError(
            f"prompt_style: the tokenizer's chat template cannot write the messages ({roles}): {error}; use 'plain'"
        ) from None


def turn_end(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text with which the template ends the assistant's turn; it need not be the end-of-sequence token.

    Raises:
        ModelError: the template leaves the assistant's words out, or see `render`.
    """
    text = render(tokenizer, [Message("user", "How many?"), Message("assistant", _ANSWER)])
    _, answer, end = text.rpartition(_ANSWER)
    if not answer:
        raise ModelError(
            "prompt_style: the tokenizer's chat template does not show the assistant's answer; use 'plain'"
        )
    return end
