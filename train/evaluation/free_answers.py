"""Let a model answer questions in its own words, greedily, with the questions divided among the ranks."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from data.examples import Example
from data.sets import SETS
from eavss.batches import group_by_length
from eavss.generation import ending_ids, padded_left, plain_generation
from train.batching.encoding import Encoder
from train.runtime.distributed import map_sharded

_HARNESS_NEW_TOKENS = 256
_NEW_TOKENS = 32
_STOPS = ("\n",)


@dataclass(frozen=True)
class FreeAnswers:
    """Lets a model answer greedily, until a stop string or the end-of-sequence.

    In the harness style, prompts, stop strings and the limit of 256 tokens are lm-evaluation-harness's; otherwise an
    answer ends with its line, after 32 tokens at most.

    Args:
        model: a whole causal LM.
        encoder: makes the prompts.
        token_budget: padded prompt tokens in a batch, room for the answer included.
    """

    model: PreTrainedModel | PeftModel
    encoder: Encoder
    token_budget: int

    def __call__(self, examples: Sequence[Example], description: str) -> list[str]:
        """Return the answer to each example, without the space around it."""
        harness = self.encoder.prompt_style == "harness"
        limit = _HARNESS_NEW_TOKENS if harness else _NEW_TOKENS
        prompts = [self.encoder.prompt_ids(example) for example in examples]
        stops = [_harness_stops(example) if harness else _STOPS for example in examples]
        groups = list(group_by_length([len(prompt) + limit for prompt in prompts], self.token_budget))
        self.model.eval()
        answered = map_sharded(
            lambda group: self._answer([prompts[i] for i in group], stops[group[0]], limit), groups, description
        )
        found = dict(zip(chain(*groups), chain(*answered), strict=True))
        return [found[i] for i in range(len(examples))]

    @torch.no_grad()
    def _answer(self, prompts: list[list[int]], stops: Sequence[str], limit: int) -> list[str]:
        tokenizer = self.encoder.tokenizer
        # Padding after the end is removed with the special tokens, so it has to be one of them.
        pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        inputs = padded_left(prompts, pad_id, next(self.model.parameters()).device)
        # The harness keeps the settings of the model's folder, such as a repetition penalty.
        harness = self.encoder.prompt_style == "harness"
        with nullcontext() if harness else plain_generation(self.model):
            generated = self.model.generate(  # type: ignore[operator] # (torch's __getattr__)
                **inputs,
                do_sample=False,
                max_new_tokens=limit,
                pad_token_id=pad_id,
                eos_token_id=ending_ids(self.model, tokenizer, self.encoder.end_ids[-1:]) or None,
                stop_strings=list(stops),
                tokenizer=tokenizer,
            )
        texts = tokenizer.batch_decode(generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [_until(text, stops).strip() for text in texts]


def generation_settings(prompt_style: str) -> str:
    """Say, for the record, which settings free answers were written with."""
    if prompt_style == "harness":
        return "greedy, with the other settings of the model's generation_config, as in lm-evaluation-harness"
    return "greedy, with no setting of the model's generation_config but its special tokens"


def _harness_stops(example: Example) -> tuple[str, ...]:
    rule = SETS[example.dataset].free_answers if example.dataset in SETS else None
    return rule.stops if rule else _STOPS


def _until(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0]
    return text
