"""The parts of a recipe: each room of `train` is given the part that it needs, and none the whole."""

from dataclasses import dataclass
from typing import Literal

from data.sources import DataSource
from eavss.selectors import Estimator, Form, Selector

Dtype = Literal["auto", "bfloat16", "float32"]
Bits4 = Literal["nf4", "fp4"]
PromptStyle = Literal["auto", "plain", "chat", "harness"]
Labels = Literal["judged", "probe", "passage"]


@dataclass(frozen=True)
class Quantization:
    """How bitsandbytes holds the weights of linear layers.

    Args:
        bits: 4 or 8.
        kind: the values that 4 bits stand for.
        nested: hold the scales of 4 bits in 8 bits.
    """

    bits: Literal[4, 8]
    kind: Bits4 = "nf4"
    nested: bool = False

    def __str__(self) -> str:
        return f"4 bits ({self.kind}{', nested' if self.nested else ''})" if self.bits == 4 else "8 bits"


@dataclass(frozen=True)
class BaseModel:
    """Where the base model is, and how it is loaded.

    Args:
        name: a Hub id, or a folder with a causal LM and its tokenizer.
        revision: the branch, tag or commit of a Hub model.
        trust_remote_code: run code that the model's repo brings.
        dtype: `auto` is bfloat16 where this machine computes it fast, else float32.
        attn_implementation: as in `from_pretrained`.
        quantization: how its linear layers are held; None for their own precision.
    """

    name: str
    revision: str = "main"
    trust_remote_code: bool = False
    dtype: Dtype = "auto"
    attn_implementation: str | None = None
    quantization: Quantization | None = None


@dataclass(frozen=True)
class SelectionSettings:
    """How the blocks to train are chosen.

    Args:
        selector: which score or rule selects (`eavss.selectors.select_layers`).
        fraction: the share of the blocks to select, rounded down, at least one.
        form: which EAVSS.
        estimator: which AVSS.
        layers: train these blocks, whatever the scores; None to let the selector choose.
    """

    selector: Selector = "eavss"
    fraction: float = 0.25
    form: Form = "contrast"
    estimator: Estimator = "paper"
    layers: list[int] | None = None


@dataclass(frozen=True)
class LoraSettings:
    """The shape of the adapter, in PEFT's terms.

    Args:
        r: rank.
        alpha: the update is scaled by alpha / r.
        dropout: on the adapter's input.
        target_modules: names of linear layers inside a block; None for all of them.
        experts: adapt the fused experts of a mixture too.
    """

    r: int = 8
    alpha: int = 16
    dropout: float = 0.0
    target_modules: list[str] | None = None
    experts: bool = False


@dataclass(frozen=True)
class EvaluationSettings:
    """What is evaluated before and after training, and how.

    Args:
        sets: names of data sets (`data.sets.SETS`), and of the user's own data.
        source: where their rows come from.
        seed: draws the questions; None for the seed of training.
        limit: evaluate at most so many questions of each set; None for all.
        prompt_style: how a question is posed (`train.batching.encoding.Encoder`).
        system_prompt: the system message of questions that bring none.
        max_length: tokens of prompt and answer.
        num_fewshot: training questions shown before each.
        passages: show the passage that comes with a question before it, and leave out questions of the set without.
        question_hidden: also score the answers under another question's prompt.
        free_answers: let the model answer in its own words, where a set has a rule to judge that.
        ask_to_decline: tell the model to say that it does not know where it is not sure, in free answers alone.
        calibration_questions: questions of each set that calibrate the confidence in such answers.
        retention: the text sets that show what training cost, among `RETENTION`.
        retention_limit: at most so many windows of their text; None for all.
        token_budget: padded tokens in a batch.
        cache_bytes: how much disk the states that enter a block may take, those of training included; 0 for none.
        fresh: measure anew what earlier runs have kept (`train.model.kept_figures`).
    """

    sets: tuple[str, ...]
    source: DataSource
    seed: int | None = None
    limit: int | None = None
    prompt_style: PromptStyle = "plain"
    system_prompt: str | None = None
    max_length: int = 512
    num_fewshot: int = 0
    passages: bool = False
    question_hidden: bool = True
    free_answers: bool = True
    ask_to_decline: bool = False
    calibration_questions: int = 0
    retention: tuple[str, ...] = ()
    retention_limit: int | None = 100
    token_budget: int = 2048
    cache_bytes: float = 0.0
    fresh: bool = False
