"""The one place where a model, training questions and a selection of blocks become a trainer."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from data.examples import Example
from eavss.profile import PairedBatch
from eavss.selectors import Selection
from train.base.reading import BaseReader
from train.base.replay_texts import write_replay_texts
from train.base.training_examples import training_examples
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import ContrastPairs, make_pairs
from train.batching.scored_answers import paired_batches
from train.declining.own_answers import OwnAnswer
from train.declining.pairs import declining_pairs
from train.evaluation.free_answers import asking_encoder
from train.model.adapter_files import save_adapter
from train.model.loading import choose_training_attention
from train.model.lora import add_lora
from train.plan import Plan, TrainFigures, cached_block, make_plan, pair_costs, pairs_in_run
from train.recipe.arguments import EavssArguments
from train.recipe.provenance import recipe_text
from train.resuming.finding import require_blocks, steps_made
from train.runtime.errors import RecipeError
from train.runtime.hardware import peak_memory_bytes
from train.runtime.seeding import random_stream
from train.runtime.stages import clock
from train.trainer import ContrastiveTrainer


@clock.stage("mining")
def make_training_examples(
    pools: list[list[Example]],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    args: EavssArguments,
    seed: int,
) -> list[Example]:
    """Draw the training questions of a recipe, each with hallucinated answers.

    Args:
        pools: `DataSource.training_pools` of the recipe's data set.

    Raises:
        RecipeError: InfoNCE has a weight, and no question has two truthful answers.
    """
    examples = training_examples(
        pools, model, tokenizer, count=args.questions_to_draw, mined_answers=args.mined_answers, seed=seed
    )
    if args.infonce_weight and not any(len(example.truthful) > 1 for example in examples):
        raise RecipeError("infonce_weight: no training question has two truthful answers; it should be 0")
    return examples


def make_scoring_batches(
    examples: list[Example], encoder: Encoder, args: EavssArguments, seed: int
) -> list[PairedBatch]:
    """Make the batches that the recipe's profile is made from."""
    return paired_batches(examples[: args.score_questions], encoder, args.score_answers, args.eval_token_budget, seed)


@clock.stage("pairs")
def make_training_pairs(
    examples: list[Example],
    encoder: Encoder,
    args: EavssArguments,
    training: TrainingArguments,
    answers: Sequence[OwnAnswer] = (),
) -> ContrastPairs:
    """Draw the contrast pairs of a recipe; where the number of steps is fixed, no more than the steps take.

    Args:
        answers: the base's own answers, to be trained beside declining. Half of the pairs are theirs, or all of them
            where no other term has a weight.
    """
    count = pairs_in_run(training)
    if answers and not args.prefers:
        return _declining(answers, encoder, args, count, training.seed)
    pairs = make_pairs(
        examples[: args.train_questions],
        encoder,
        args.pairs_per_question,
        with_positive=args.infonce_weight > 0,
        seed=training.seed,
    )
    if not answers:
        return pairs.at_most(count, training.seed)
    pairs = pairs.at_most(None if count is None else count // 2, training.seed)
    return pairs.joined(_declining(answers, encoder, args, len(pairs), training.seed))


def pairs_of_run(
    examples: list[Example], encoder: Encoder, args: EavssArguments, count: int, seed: int
) -> ContrastPairs:
    """Draw again the pairs that a finished run has trained on, as TRL takes them: without InfoNCE's second answers.

    Args:
        examples: those that the run wrote down (`train.publishing.run_folder.read_training_examples`).
        count: the pairs of its `results.json`, which depend on the number of ranks too.
        seed: the run's.
    """
    asked = examples[: args.train_questions]
    return make_pairs(asked, encoder, args.pairs_per_question, with_positive=False, seed=seed).at_most(count, seed)


def _declining(
    answers: Sequence[OwnAnswer], encoder: Encoder, args: EavssArguments, count: int | None, seed: int
) -> ContrastPairs:
    """Draw the pairs of own answers and declining, posed as questions are asked."""
    asking, wordings = asking_encoder(encoder), args.decline_wordings
    return declining_pairs(answers, asking, wordings, share=args.decline_share, count=count, seed=seed)


class TrainingSetup:
    """A base model and the pairs to train it on, with everything that does not depend on which blocks are chosen.

    Args:
        model: the base, whole or divided among the ranks. `trainer` puts an adapter into it.
        tokenizer: its tokenizer.
        pairs: the training pairs.
        args: the recipe.
        seed: the seed of the texts to replay.
    """

    @clock.stage("pairs")
    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: ContrastPairs,
        args: EavssArguments,
        seed: int,
    ) -> None:
        self.started = time.perf_counter()
        choose_training_attention(model, args.base_model, args.max_length)
        self.model = model
        self.tokenizer = tokenizer
        self.pairs = pairs
        self.args = args
        sequences = pairs.sequences()
        self._packer = Packer.of(model, args.pack_answers, sequences)
        texts = write_replay_texts(model, tokenizer, seed) if args.replay_weight else []
        self._reader = BaseReader(model, self._packer, sequences, texts, args.eval_token_budget)
        self.costs = pair_costs(model, pairs, texts, self._packer, args.lora)

    def cached_at(self, selection: Selection) -> int | None:
        """Return the block whose input is cached for this selection, or None."""
        return cached_block(self.model, selection, self.costs, self.args.cache_bytes)

    def plan(self, selection: Selection, training: TrainingArguments) -> Plan:
        """Count what training on this selection costs."""
        return make_plan(self.model, selection, self.costs, self.args.cache_bytes, training)

    @clock.stage("reference pass")
    def read_base(self, selection: Selection) -> None:
        """Compute what the frozen base says of the pairs; later calls for the same lowest block reuse it.

        Raises:
            ModelError: see `train.base.reading.BaseReader.read`.
        """
        self._reader.read(self.cached_at(selection), self.args.cache_bytes)

    def trainer(
        self,
        selection: Selection,
        training: TrainingArguments,
        trainer_class: type[ContrastiveTrainer] = ContrastiveTrainer,
    ) -> ContrastiveTrainer:
        """Put LoRA on the selected blocks, initialised by the training seed, and return the trainer of this adapter.

        Raises:
            ModelError: see `read_base`; or other blocks than the selected ones became trainable.
        """
        base = self._reader.read(self.cached_at(selection), self.args.cache_bytes)
        with random_stream(training.seed):
            adapted = add_lora(self.model, selection.blocks, self.args.lora, selection.ranks)
        return trainer_class(
            model=adapted,
            selection=selection,
            weights=self.args.loss_weights,
            training=training,
            pairs=self.pairs,
            base=base,
            packer=self._packer,
            tokenizer=self.tokenizer,
            token_budget=self.args.train_token_budget,
        )


@clock.stage("train")
def fine_tune(
    setup: TrainingSetup, selection: Selection, training: TrainingArguments, checkpoint: str | None
) -> TrainFigures:
    """Train an adapter on the selected blocks, save it to `<output_dir>/adapter`, and return what it took.

    Args:
        checkpoint: a Trainer's checkpoint to resume from, or None.

    Raises:
        RecipeError: the checkpoint has adapters on other blocks.
        Terminated: somebody has asked the process to end. A checkpoint is written.
    """
    require_blocks(checkpoint, selection.blocks)
    plan = setup.plan(selection, training)
    plan.announce(setup.args.prefix_cache_gb)
    setup.read_base(selection)
    reading_seconds = time.perf_counter() - setup.started
    trainer = setup.trainer(selection, training)
    steps_before = steps_made(checkpoint)  # whose folder may make room for a newer one
    start = time.perf_counter()
    state = trainer.train_from(checkpoint, recipe_text(setup.args, training), selection.blocks)
    seconds = time.perf_counter() - start
    own_steps = state.global_step - steps_before
    clock.count(own_steps * plan.step_flops)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    trainer.save_state()
    save_adapter(trainer.adapted, Path(str(training.output_dir)) / "adapter")
    training.distributed_state.wait_for_everyone()  # rank 0 writes the adapter that all ranks load again
    return {
        "steps": state.global_step,
        "seconds": seconds,
        "pairs_per_second": own_steps * plan.step_pairs / seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        "loss": state.training_loss if own_steps or not log else fmean(entry["loss"] for entry in log),
        "log": log,
        "loss_weights": setup.args.loss_weights.by_name(),
        "pairs": len(setup.pairs),
        "reading_seconds": reading_seconds,
        **plan.flops_of(state.global_step),
    }
