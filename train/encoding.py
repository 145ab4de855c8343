"""How an example's question and answer become tokens: the recipe's prompt style, in one place."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from data.examples import Example
from eavss.batches import TokenSequence, encode
from train.errors import ModelError


@dataclass(frozen=True)
class Encoder:
    """Turns (example, answer) into a `TokenSequence`.

    Args:
        tokenizer: the model's.
        prompt_style: `plain`, "Question: ...\\nAnswer:" and " " + answer; or `chat`, the tokenizer's template with the
            question as the user's message. Verbatim examples are joined as they stand in either style.
        max_length: see `eavss.batches.encode`.
    """

    tokenizer: PreTrainedTokenizerBase
    prompt_style: str
    max_length: int

    def __post_init__(self) -> None:
        if self.prompt_style == "chat" and not self.tokenizer.chat_template:
            raise ModelError("prompt_style: the tokenizer has no chat template; use 'plain'")

    def __call__(self, example: Example, answer: str, end: bool = False) -> TokenSequence:
        if example.verbatim:
            return encode(self.tokenizer, example.question, answer, self.max_length, end)
        if self.prompt_style == "plain":
            prompt = f"Question: {example.question}\nAnswer:"
            return encode(self.tokenizer, prompt, f" {answer}", self.max_length, end)
        message = [{"role": "user", "content": example.question}]
        prompt = str(self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
        return encode(self.tokenizer, prompt, answer, self.max_length, end, special_tokens=False)
