"""Ask the base the training questions before anything is trained."""

from pathlib import Path

from transformers import PreTrainedModel, TrainingArguments

from data.examples import Example
from train.batching.encoding import Encoder
from train.declining.own_answers import OwnAnswer, own_answers, write_own_answers
from train.declining.passages import answers_by_passage
from train.evaluation.free_answers import FreeAnswers, asking_encoder
from train.evaluation.knowledge import probe_knowledge, write_knowledge
from train.model.kept_figures import KeptFigures
from train.model.kept_tensors import KeptTensors
from train.recipe.arguments import EavssArguments
from train.runtime.stages import clock


@clock.stage("own answers")
def ask_base(
    model: PreTrainedModel,
    encoder: Encoder,
    examples: list[Example],
    args: EavssArguments,
    training: TrainingArguments,
) -> list[OwnAnswer]:
    """Ask the base the training questions, where the recipe wants to know what it knows or trains it to decline.

    Returns:
        Its answers to be trained beside declining; none where nothing is learnt from them.
    """
    output, free = Path(str(training.output_dir)), base_asker(model, encoder, args)
    if args.knowledge_samples:
        write_knowledge(output, probe_knowledge(model, free, examples, args.knowledge_samples, training.seed))
    if not args.declines:
        free.kept.say_used("training questions")
        return []
    answers = answers_to_learn_from(free, examples, args, training.seed)
    write_own_answers(output, answers, args.passages)
    return answers


def answers_to_learn_from(
    free: FreeAnswers, examples: list[Example], args: EavssArguments, seed: int
) -> list[OwnAnswer]:
    """Let the base answer the training questions, and say which of its answers it should give, as the recipe wants it.

    Raises:
        RecipeError: see `own_answers` and `answers_by_passage`.
    """
    examples = examples[: args.train_questions]
    if args.decline_labels == "passage":
        answers = answers_by_passage(free, examples, seed)
    else:
        answers = own_answers(free, examples, args.decline_labels)
    free.kept.say_used("training questions")
    return answers


def base_asker(model: PreTrainedModel, encoder: Encoder, args: EavssArguments) -> FreeAnswers:
    """Return what asks the base, and keeps its answers and its states on them for later runs."""
    kept, states = KeptFigures(args.fresh), KeptTensors(args.cache_bytes, args.fresh)
    return FreeAnswers(model, asking_encoder(encoder), args.eval_token_budget, kept, kept_states=states)
