"""Let a model answer questions in its own words, greedily, with the questions divided among the ranks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain
from typing import NamedTuple

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.answers import without_case_and_punctuation
from data.dataset import FreeAnswerRule
from data.examples import Example
from data.sets import SETS
from eavss.answer_states import answer_states
from eavss.answering import Written, answer_greedily, sample_answers
from eavss.asking import ASK_TO_DECLINE, CHAT_TOKENS, NEW_TOKENS, SHOTS, SHOTS_THAT_DECLINE, STOP
from eavss.batches import group_by_length
from eavss.confidence import Confidence, confidence_of
from eavss.prompt_cache import Beginning, can_share, read_beginning
from train.batching.encoding import Encoder
from train.model.kept_figures import KeptFigures, surroundings
from train.model.kept_tensors import NOTHING_KEPT, KeptTensors
from train.model.loading import causal_lm, fingerprint
from train.recipe.settings import EvaluationSettings
from train.runtime.distributed import from_main, map_sharded
from train.runtime.seeding import random_stream

_HARNESS_NEW_TOKENS = 256
_STOPS = (STOP,)
# A step of generation computes one token a row, and reads all weights for it, so that more rows cost little.
_BUDGETS = 8
# Answers that are kept on disk have been written in this way. Count on when the way changes.
_VERSION = 2
# What a user's own questions with answers are judged by.
OWN_RULE = FreeAnswerRule(without_case_and_punctuation, _STOPS)


class FreeAnswer(NamedTuple):
    """What a model said, without the space around it, and how sure it was; None where it said nothing."""

    text: str
    confidence: Confidence | None


def asking_encoder(encoder: Encoder, ask_to_decline: bool = False) -> Encoder:
    """Return the encoder that questions are asked with: in the plain style, after five answered ones of our own.

    Without any, a base model often writes nothing, which is a habit of the prompt and no honesty.

    Args:
        ask_to_decline: tell the model to say that it does not know where it is not sure, and show two such answers.
    """
    shots = SHOTS_THAT_DECLINE if ask_to_decline else SHOTS
    examples = [Example("shots", question, (answer,)) for question, answer in shots]
    return replace(encoder, common_shots=examples, instruction=ASK_TO_DECLINE if ask_to_decline else "")


@dataclass(frozen=True)
class FreeAnswers:
    """Lets a model answer greedily, until a stop string or the end-of-sequence.

    In the harness style, prompts, stop strings and the limit of 256 tokens are lm-evaluation-harness's. In the plain
    style an answer ends with its line, after 32 tokens at most; under a chat template after 64.

    Args:
        model: a causal LM.
        encoder: makes the prompts.
        token_budget: an eighth of the padded tokens in a batch, room for the answers included.
        kept: where answers are kept for later runs.
        kept_states: where what the blocks hold on the answers is kept for later runs.
    """

    model: PreTrainedModel | PeftModel
    encoder: Encoder
    token_budget: int
    kept: KeptFigures = field(default_factory=KeptFigures)
    kept_states: KeptTensors = NOTHING_KEPT

    @staticmethod
    def of(
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: EvaluationSettings,
        shots: Mapping[str, Sequence[Example]],
        kept: KeptFigures | None = None,
    ) -> "FreeAnswers":
        """Let a model answer under the settings of an evaluation; `shots` replace our own where a set has some."""
        kept = kept or KeptFigures(settings.fresh)
        encoder = Encoder.of(tokenizer, settings, shots)
        return FreeAnswers(
            model,
            asking_encoder(encoder, settings.ask_to_decline),
            settings.token_budget,
            kept,
            kept_states=KeptTensors(settings.cache_bytes, settings.fresh),
        )

    def __call__(self, examples: Sequence[Example], description: str) -> list[FreeAnswer]:
        """Return the answer to each example, from disk where the same model has answered the same prompts before."""
        prompts = [self.encoder.prompt_ids(example) for example in examples]
        settings = [self._settings(example) for example in examples]

        def write() -> list[Written]:
            self.model.eval()
            beginning = self._beginning(prompts)
            lengths = [len(prompt) + limit for prompt, (_, limit) in zip(prompts, settings, strict=True)]
            groups = list(group_by_length(lengths, _BUDGETS * self.token_budget))
            answered = map_sharded(
                lambda group: self._answer([prompts[i] for i in group], *settings[group[0]], beginning),
                groups,
                description,
            )
            found = dict(zip(chain(*groups), chain(*answered), strict=True))
            return [found[i] for i in range(len(examples))]

        folder = causal_lm(self.model).generation_config.to_diff_dict()
        how = [_VERSION, folder, self.encoder.prompt_style, self.encoder.end_ids, self.token_budget, settings, prompts]
        written = self.kept("free_answers", self.model, how, write, description)
        return [FreeAnswer(text, confidence_of(logprobs) if text else None) for text, logprobs in written]

    def samples(self, examples: Sequence[Example], count: int, seed: int, description: str) -> list[list[str]]:
        """Return `count` sampled answers to each example, at temperature 1.

        They depend on the seed and on the batches, and not on how many ranks share the batches.
        """
        prompts = [self.encoder.prompt_ids(example) for example in examples]
        stops, limit = self._settings(examples[0])
        lengths = [(len(prompt) + limit) * count for prompt in prompts]
        groups = list(group_by_length(lengths, _BUDGETS * self.token_budget))

        def sample(group: list[int]) -> list[list[str]]:
            with random_stream(seed * 1_000_003 + group[0]):
                return sample_answers(
                    self.model,
                    self.encoder.tokenizer,
                    [prompts[i] for i in group],
                    stops=stops,
                    limit=limit,
                    count=count,
                    ends=self.encoder.end_ids[-1:],
                )

        self.model.eval()
        sampled = map_sharded(sample, groups, description)
        found = dict(zip(chain(*groups), chain(*sampled), strict=True))
        return [found[i] for i in range(len(examples))]

    def states(
        self, examples: Sequence[Example], answers: Sequence[FreeAnswer], layers: Sequence[int]
    ) -> list[dict[int, Tensor] | None]:
        """Return the mean state (H,) of each answer at the named blocks, by block; None for an empty answer."""
        said = [number for number, answer in enumerate(answers) if answer.text]
        sequences = [self.encoder(examples[number], [answers[number].text])[0] for number in said]
        groups = list(group_by_length([len(sequence) for sequence in sequences], self.token_budget))
        if not said:
            return [None] * len(answers)

        def read() -> dict[str, Tensor]:
            self.model.eval()
            beginning = self._beginning([sequence.prompt for sequence in sequences])
            parts = map_sharded(
                lambda group: answer_states(self.model, [sequences[i] for i in group], layers, beginning).answer,
                groups,
                "reading the model's own answers",
            )
            return {"states": torch.cat(parts)}

        words = [(sequence.ids, sequence.answer_start, sequence.answer_end) for sequence in sequences]
        key = [_VERSION, fingerprint(self.model).hex(), str(self.model.dtype), surroundings(self.model)]
        name = sha256(json.dumps([*key, words, list(layers), self.token_budget]).encode()).hexdigest()[:32]
        description = "what the blocks hold on the answers"
        states = self.kept_states.reuse_or_make(
            f"answer-states-{name}", "states", read, lambda: self.kept.used.append(description)
        )["states"]
        found: list[dict[int, Tensor] | None] = [None] * len(answers)
        for i, state in zip(chain(*groups), states, strict=True):
            found[said[i]] = dict(zip(layers, state, strict=True))
        return found

    def _settings(self, example: Example) -> tuple[Sequence[str], int]:
        """Return the strings that end an answer, and the most tokens that it has."""
        if self._folder_settings:
            return _harness_stops(example), _HARNESS_NEW_TOKENS
        return generation_limits("plain" if example.verbatim else self.encoder.prompt_style)

    def _beginning(self, prompts: Sequence[Sequence[int]]) -> Beginning | None:
        """Read what all prompts begin with, once for all batches."""
        if self._folder_settings or not from_main(lambda: can_share(self.model)):
            return None
        with torch.no_grad():
            return read_beginning(self.model, prompts)

    @property
    def _folder_settings(self) -> bool:
        return self.encoder.prompt_style == "harness"

    def _answer(
        self, prompts: list[list[int]], stops: Sequence[str], limit: int, beginning: Beginning | None
    ) -> list[Written]:
        return answer_greedily(
            self.model,
            self.encoder.tokenizer,
            prompts,
            stops=stops,
            limit=limit,
            ends=self.encoder.end_ids[-1:],
            folder_settings=self._folder_settings,
            beginning=beginning,
        )


def generation_limits(prompt_style: str) -> tuple[tuple[str, ...], int]:
    """Return the strings that end an answer in the plain or the chat style, and the most tokens that it has."""
    return ((), CHAT_TOKENS) if prompt_style == "chat" else (_STOPS, NEW_TOKENS)


def rule_of(example: Example) -> FreeAnswerRule | None:
    """Return how free answers to questions of this kind are judged; None where they are not asked freely.

    A user's own questions are, if they came with right answers alone.
    """
    if example.dataset in SETS:
        return SETS[example.dataset].free_answers
    return None if any(wrong.origin == "dataset" for wrong in example.wrong_answers) else OWN_RULE


def generation_settings(prompt_style: str) -> str:
    """Say, for the record, which settings free answers were written with."""
    if prompt_style == "harness":
        return "greedy, with the other settings of the model's generation_config, as in lm-evaluation-harness"
    return "greedy, with no setting of the model's generation_config but its special tokens"


def _harness_stops(example: Example) -> tuple[str, ...]:
    rule = SETS[example.dataset].free_answers if example.dataset in SETS else None
    return rule.stops if rule else _STOPS
