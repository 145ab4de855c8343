"""Rows of preferences in TRL's forms; TRL's own functions say what the prompt of an implicit form is."""

from typing import Any

import pytest
from trl import maybe_extract_prompt

from data.conversations import Preference, Prompt, preference

Row = dict[str, Any]


def turns(*messages: str) -> list[Row]:
    """Messages written as "user: Who?"."""
    return [dict(zip(("role", "content"), message.split(": ", 1), strict=True)) for message in messages]


ASKED = Prompt("Who?")
INSTRUCTED = Prompt("Who?", system="Be brief.")
LATER = Prompt("Who?", system="Be brief.", history=(("Is it?", "It is."), ("Was it?", "It was.")))
TURNS = ("system: Be brief.", "user: Is it?", "assistant: It is.", "user: Was it?", "assistant: It was.", "user: Who?")


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Q: Who?\nA:", "chosen": "I", "rejected": "he"}, Prompt("Q: Who?\nA:", verbatim=True)),
        ({"prompt": turns("user: Who?"), "chosen": turns("assistant: I"), "rejected": turns("assistant: he")}, ASKED),
        (
            {
                "prompt": turns("system: Be brief.", "user: Who?"),
                "chosen": turns("assistant: I"),
                "rejected": turns("assistant: he"),
            },
            INSTRUCTED,
        ),
        ({"chosen": turns("user: Who?", "assistant: I"), "rejected": turns("user: Who?", "assistant: he")}, ASKED),
        (
            {
                "chosen": turns("system: Be brief.", "user: Who?", "assistant: I"),
                "rejected": turns("system: Be brief.", "user: Who?", "assistant: he"),
                "score": 0.5,
            },
            INSTRUCTED,
        ),
        ({"prompt": "Who?", "chosen": turns("assistant: I"), "rejected": turns("assistant: he")}, ASKED),
        (
            {
                "prompt": "Who?",
                "chosen": turns("user: Who?", "assistant: I"),
                "rejected": turns("user: Who?", "assistant: he"),
            },
            ASKED,
        ),
        (
            {
                "prompt": turns("developer: Be brief.", "user: Who?"),
                "chosen": turns("developer: Be brief.", "user: Who?", "assistant: I"),
                "rejected": turns("developer: Be brief.", "user: Who?", "assistant: he"),
            },
            INSTRUCTED,
        ),
        (
            {
                "prompt": [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}],
                "chosen": [{"role": "assistant", "content": "I", "tool_calls": None}],
                "rejected": turns("assistant: he"),
            },
            ASKED,
        ),
        ({"prompt": turns(*TURNS), "chosen": turns("assistant: I"), "rejected": turns("assistant: he")}, LATER),
        ({"chosen": turns(*TURNS, "assistant: I"), "rejected": turns(*TURNS, "assistant: he")}, LATER),
        (
            {
                "prompt": turns(*TURNS[:2]),
                "chosen": turns(*TURNS[2:], "assistant: I"),
                "rejected": turns(*TURNS[2:], "assistant: he"),
            },
            LATER,
        ),
        (
            {
                "prompt": "Is it?",
                "chosen": turns(*TURNS, "assistant: I"),
                "rejected": turns(*TURNS, "assistant: he"),
            },
            LATER,
        ),
    ],
)
def test_a_row_may_have_each_of_trls_forms(row: Row, prompt: Prompt) -> None:
    assert preference(row) == Preference(prompt, "I", "he")


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("Human: Who? Assistant: I do", "Human: Who? Assistant: he does"),
        ("The sky is blue.", "The sky is black."),
        ("Say it: yes", "Say it: yes, please"),
        ("12 is even", "12 is  even"),
    ],
)
def test_the_prompt_of_two_texts_is_what_they_begin_with(chosen: str, rejected: str) -> None:
    theirs = maybe_extract_prompt({"chosen": chosen, "rejected": rejected})
    ours = preference({"chosen": chosen, "rejected": rejected})
    assert ours.prompt.verbatim
    assert {"prompt": ours.prompt.text, "chosen": ours.chosen, "rejected": ours.rejected} == theirs


I_SAY, HE_SAYS = turns("assistant: I"), turns("assistant: he")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Who?", "chosen": "I"}, "no rejected; each row needs chosen and rejected, and a prompt"),
        ({"prompt": [], "chosen": I_SAY, "rejected": HE_SAYS}, "no prompt"),
        ({"chosen": "I", "rejected": "he"}, "there is no prompt, and chosen and rejected do not begin alike"),
        ({"prompt": "Who?", "chosen": I_SAY, "rejected": "he"}, "some columns are strings and some are lists"),
        ({"prompt": turns("user: Who?"), "chosen": "I", "rejected": "he"}, "some columns are strings"),
        (
            {"chosen": turns("user: Who?", "assistant: I"), "rejected": turns("user: What?", "assistant: he")},
            "the messages of chosen and rejected differ before the last one",
        ),
        (
            {"chosen": turns("user: Who?", "user: I"), "rejected": turns("user: Who?", "assistant: he")},
            "chosen ends with a message of 'user', where 'assistant' would be right",
        ),
        ({"chosen": I_SAY, "rejected": HE_SAYS}, "the prompt has no message of the user, where a last one of 'user'"),
        (
            {"prompt": turns("user: Who?", "user: Who?"), "chosen": I_SAY, "rejected": HE_SAYS},
            "message 2 of the conversation has the role 'user', where 'assistant' would be right; user and",
        ),
        (
            {"prompt": turns("system: A", "system: B", "user: Who?"), "chosen": I_SAY, "rejected": HE_SAYS},
            "message 2 of the conversation has the role 'system', where 'user' would be right",
        ),
        (
            {"prompt": turns("user: Who?", "assistant: What?"), "chosen": I_SAY, "rejected": HE_SAYS},
            "the prompt ends with a message of 'assistant', where a last one of 'user' would be right",
        ),
        (
            {"prompt": turns("human: Who?"), "chosen": I_SAY, "rejected": HE_SAYS},
            "message 1 of the conversation has the role 'human', where 'user' would be right",
        ),
        (
            {"prompt": turns("user: Who?", "tool: 7", "user: Who?"), "chosen": I_SAY, "rejected": HE_SAYS},
            "message 2 of prompt is of a tool or calls one, which is not supported; user and assistant take turns",
        ),
        (
            {
                "prompt": turns("user: Who?"),
                "chosen": [{"role": "assistant", "content": "I", "tool_calls": [{"name": "f"}]}],
                "rejected": HE_SAYS,
            },
            "message 1 of chosen is of a tool or calls one",
        ),
        (
            {"prompt": turns("user: Who?"), "chosen": I_SAY, "rejected": HE_SAYS, "tools": [{"name": "f"}]},
            "the row has tools, which are not supported",
        ),
        (
            {
                "prompt": "What?",
                "chosen": turns("user: Who?", "assistant: I"),
                "rejected": turns("user: Who?", "assistant: he"),
            },
            "the prompt is no message of the user that chosen and rejected begin with",
        ),
        (
            {
                "prompt": turns("user: What?"),
                "chosen": turns("user: Who?", "assistant: I"),
                "rejected": turns("user: Who?", "assistant: he"),
            },
            "the messages of prompt are not those that chosen and rejected begin with",
        ),
        (
            {"prompt": turns("user: Who?"), "chosen": [{"role": "assistant"}], "rejected": HE_SAYS},
            "the content of message 1 of chosen is missing (null)",
        ),
        (
            {"prompt": turns("user: Who?"), "chosen": ["I"], "rejected": HE_SAYS},
            "message 1 of chosen is 'I', of type str, where {'role': ..., 'content': ...} would be right",
        ),
        (
            {
                "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]}],
                "chosen": I_SAY,
                "rejected": HE_SAYS,
            },
            "the content of message 1 of prompt is [",
        ),
        ({"prompt": 7, "chosen": "I", "rejected": "he"}, "prompt is 7, of type int, where a string or a list"),
    ],
)
def test_another_form_is_told_in_a_line(row: Row, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is what is tested)
        preference(row)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
