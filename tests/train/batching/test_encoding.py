"""Examples become tokens in the recipe's prompt style."""

import pytest

from data.examples import Example
from tests.toys import EXAMPLES, tiny_tokenizer
from train.batching.encoding import Encoder
from train.runtime.errors import ModelError


def test_plain() -> None:
    tokenizer = tiny_tokenizer()
    plain = Encoder(tokenizer, "plain", 128)(EXAMPLES[0], "yes", end=True)
    assert tokenizer.decode(plain.ids[: plain.answer_start]) == "Question: which number follows 0?\nAnswer:"
    assert tokenizer.decode(plain.ids[plain.answer_start : plain.answer_end]) == " yes"
    assert plain.ids[plain.answer_end :] == (tokenizer.eos_token_id,)


def test_verbatim_is_joined_as_it_stands() -> None:
    tokenizer = tiny_tokenizer()
    verbatim = Encoder(tokenizer, "plain", 128)(Example("own", "Say: ", ("x",), verbatim=True), "x")
    assert tokenizer.decode(verbatim.ids) == "Say: x"


def test_chat() -> None:
    tokenizer = tiny_tokenizer()
    with pytest.raises(ModelError, match="no chat template"):
        Encoder(tokenizer, "chat", 128)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    chat = Encoder(tokenizer, "chat", 128)(EXAMPLES[0], "yes")
    assert tokenizer.decode(chat.ids) == "<user>which number follows 0?<assistant>yes"
