"""Write conversations with a tokenizer's chat template, and find out how it begins and ends an answer."""

import re
from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from eavss.encoding import text_ids
from eavss.errors import EavssError

_ANSWER = "It is seven."
# The tag behind which a template lets the model think aloud before it answers.
_THINKING = re.compile(r"<(think|thinking|thought|reasoning)>\s*$")

# A role, and what it says.
Turn = tuple[str, str]


def render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], add_generation_prompt: bool = False) -> str:
    """Return the conversation as text, without thinking aloud where the template has Qwen's switch for that.

    Raises:
        EavssError: there is no template, or it refuses the conversation, as some refuse a system message.
    """
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
        )
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(role for role, _ in turns)
        reason = " ".join(str(error).split())
        raise EavssError(
            f"prompt_style: the tokenizer's chat template cannot write the messages ({roles}): {reason}; use 'plain'"
        ) from None
    return str(text)


def answer_opening(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what stands between the template's generation prompt and the words of an answer.

    It is empty for most templates. Some open a channel there (GPT-OSS), which an answer needs, and those of models that
    always think aloud open a thought (DeepSeek-R1), which is closed again.

    Raises:
        EavssError: see `render`.
    """
    asked = [("user", "How many?")]
    prompt = render(tokenizer, asked, add_generation_prompt=True)
    if thought := _THINKING.search(prompt):
        return f"\n</{thought[1]}>\n\n"
    before, answer, _ = render(tokenizer, [*asked, ("assistant", _ANSWER)]).rpartition(_ANSWER)
    opening = before.removeprefix(prompt) if answer and before.startswith(prompt) else ""
    return opening if opening.strip() else ""


def answer_prompt(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn]) -> str:
    """Return the text that the assistant's words follow after `turns`.

    Raises:
        EavssError: see `render`.
    """
    return render(tokenizer, turns, add_generation_prompt=True) + answer_opening(tokenizer)


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
