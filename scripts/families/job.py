"""The tiny job that a family's model goes through: load, score, select, train, save, load afresh, say answers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast, TrainingArguments

from data.examples import Example, wrong_answers
from eavss.batches import TokenSequence
from eavss.blocks import find_blocks
from train.batching.encoding import Encoder
from train.batching.pairs import ContrastPairs
from train.evaluation.likelihood import AnswerScorer
from train.model.loading import load_adapted, load_model
from train.model.sharding import free_weights
from train.model.tokenizer import load_tokenizer
from train.model.trial import require_trainable
from train.recipe.arguments import EavssArguments
from train.recipe.parse import parse
from train.selection.scoring import score, select
from train.training import TrainingSetup, fine_tune, make_scoring_batches, make_training_pairs

SELECTED = [2, 3]
TOKEN_BUDGET = 512
_EXAMPLES = [
    Example("toy", f"which number follows {n}?", (f"it is {n + 1}", f"{n + 1}"), wrong_answers([f"{n + 2}"], "dataset"))
    for n in range(6)
]
_STEPS = ("--dtype", "float32", "--max_steps", "2", "--per_device_train_batch_size", "3", "--logging_steps", "1")
# A step has so many batches, each with a text to replay of its own: in turn on one rank, or at once on as many.
PARTS = 2
_QUIET = ("--report_to", "none", "--disable_tqdm", "true", "--save_strategy", "no", "--replay_weight", "0.1")


@dataclass(frozen=True)
class Loaded:
    """A tiny model that is ready to be scored and trained, whole or divided among the ranks."""

    args: EavssArguments
    training: TrainingArguments
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def encoder(self) -> Encoder:
        return Encoder.of(self.tokenizer, self.args)

    def pairs(self) -> ContrastPairs:
        return make_training_pairs(_EXAMPLES, self.encoder, self.args, self.training)

    def sequences(self) -> list[TokenSequence]:
        """Return each sequence of the pairs once."""
        return list(dict.fromkeys(self.pairs().sequences()))


@dataclass(frozen=True)
class Outcome:
    """What a job left.

    Args:
        losses: of the two steps.
        replay: the term of the texts to replay, of the two steps.
        answers: the log-probability of each sequence's answer after training, in nats.
    """

    losses: list[float]
    replay: list[float]
    answers: list[float]


def save_base(model: PreTrainedModel, folder: Path) -> None:
    """Save a tiny model, and a tokenizer with one token a byte and an end-of-sequence token, 256."""
    model.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(folder)


def words(base: Path, ranks: int) -> list[str]:
    """Return the command line of the job on so many ranks, without its output folder."""
    where = ["--model_name_or_path", str(base), "--layers", *map(str, SELECTED)]
    return [*where, *_STEPS, *_QUIET, "--gradient_accumulation_steps", str(PARTS // ranks)]


def load(argv: Sequence[str]) -> Loaded:
    """Load the model that the command line names, and require that it can be trained, with its fused experts if any."""
    args, training = parse(argv)
    model = load_model(args.base_model, training).eval()
    blocks = find_blocks(model)
    args = replace(args, lora_experts=any(blocks.fused_experts(layer) for layer in SELECTED))
    require_trainable(model, args.lora)
    return Loaded(args, training, model, load_tokenizer(args.base_model))


def run(loaded: Loaded) -> Outcome:
    """Score, select, train and save; then load the model afresh with its adapter, and score the answers."""
    args, training, model = loaded.args, loaded.training, loaded.model
    batches = make_scoring_batches(_EXAMPLES, loaded.encoder, args, 0)
    choice = select(score(model, batches), args.selection, 0)
    setup = TrainingSetup(model, loaded.tokenizer, loaded.pairs(), args, 0)
    log = fine_tune(setup, choice.selection, training, None)["log"]
    free_weights(model)
    adapted: PeftModel = load_adapted(args.base_model, training, adapter_of(Path(str(training.output_dir))))
    scores = AnswerScorer(adapted, loaded.encoder, TOKEN_BUDGET).score_sequences(loaded.sequences(), "after")
    return Outcome(
        losses=[entry["loss"] for entry in log],
        replay=[entry["loss/replay"] for entry in log],
        answers=[found.total for found in scores],
    )


def adapter_of(output: Path) -> Path:
    return output / "adapter"


def adapter_weights(output: Path) -> dict[str, Tensor]:
    """Read the weights of the adapter that a job has saved."""
    return load_file(adapter_of(output) / "adapter_model.safetensors")
