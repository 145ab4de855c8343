"""Examples become a profile, and the profile a choice of blocks with what can be said for it."""

import math
import random
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from data.examples import Example
from data.hallucinations import with_model_answers, with_similar_answers
from eavss.plots import plot_profile
from eavss.probes import probe_accuracy
from eavss.profile import LayerProfile, profile_batch
from eavss.selectors import count_to_select, select_layers
from eavss.stability import stability
from eavss.verdict import stability_record
from train.base.mined_answers import AnswerWriter
from train.batching.encoding import Encoder
from train.batching.pairs import paired_batches
from train.recipe.arguments import EavssArguments
from train.runtime.distributed import map_sharded
from train.runtime.errors import RecipeError
from train.runtime.files import write_json, write_whole


def training_examples(
    pools: list[list[Example]],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    args: EavssArguments,
    seed: int,
) -> list[Example]:
    """The training questions that this run uses, in a seeded order, each with hallucinated answers.

    Args:
        pools: of `EavssArguments.training_pools`; as many questions are taken from each, as far as it has them.
    """
    wanted = None if args.train_questions is None else max(args.train_questions, args.score_questions)
    share = None if wanted is None else math.ceil(wanted / len(pools))
    found = [example for pool in pools for example in _from_pool(pool, share, model, tokenizer, args, seed)]
    if len(pools) > 1:
        random.Random(seed).shuffle(found)
    if args.infonce_weight and not any(len(example.truthful) > 1 for example in found):
        raise RecipeError("infonce_weight: no training question has two truthful answers; it should be 0")
    return found


def _from_pool(
    pool: list[Example],
    wanted: int | None,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    args: EavssArguments,
    seed: int,
) -> list[Example]:
    examples = random.Random(seed).sample(pool, len(pool) if wanted is None else min(wanted, len(pool)))
    writer = AnswerWriter(model, tokenizer, examples, args.mined_answers, seed)
    examples = with_model_answers(examples, args.mined_answers, writer)
    lacking = any("dataset" not in example.origins for example in examples)
    return with_similar_answers(examples, pool, args.mined_answers + 1 if lacking else 1, seed)


def score(
    model: PreTrainedModel, examples: list[Example], encoder: Encoder, args: EavssArguments, seed: int
) -> LayerProfile:
    """The profile of `model` on training questions, the batches divided among the ranks."""
    batches = paired_batches(examples, encoder, args.score_answers, args.eval_token_budget, seed)
    return LayerProfile.merge(map_sharded(lambda batch: profile_batch(model, batch), batches, "scoring blocks"))


def block_scores(profile: LayerProfile) -> list[dict[str, Any]]:
    """Every score of every block that a selector may ask for, one dict a block."""
    accuracies = probe_accuracy(profile.states)
    return [layer | {"probe": accuracy} for layer, accuracy in zip(profile.layer_scores(), accuracies, strict=True)]


def layers_record(profile: LayerProfile, chosen: list[int] | None, args: EavssArguments, seed: int) -> dict[str, Any]:
    """What `layers.json` holds: every block's scores, and the blocks selected by them or named in the recipe."""
    scores = block_scores(profile)
    # Of the contrast form, whichever score selects: it is the claim that the others are compared with.
    found = stability(profile.differences, count_to_select(args.select_fraction, len(scores)), seed=seed)
    selected = chosen or select_layers(
        scores, args.selector, args.select_fraction, args.form, args.estimator, seed, found.draws
    )
    record = stability_record(found, selected)
    for layer, more in zip(scores, record.pop("layers"), strict=True):
        layer["bootstrap"] = more
    return {
        "model": args.model_name_or_path,
        "dataset": args.dataset,
        "questions": profile.questions,
        "pairs": profile.pairs,
        "tokens": int(profile.all_tokens.tokens[0]),
        "seed": seed,
        "layers": scores,
        "selector": "layers" if chosen else args.selector,
        "form": args.form,
        "selected": selected,
        "stability": record,
    }


def write_profile(output: Path, layers: dict[str, Any], profile: LayerProfile) -> None:
    """Write `layers.json`, `layers.png` and `pairs.safetensors`."""
    write_whole(output / "pairs.safetensors", lambda path: save_file({"states": profile.states.contiguous()}, path))
    title = f"{layers['model']} on {layers['dataset']}, {layers['questions']} questions"
    write_whole(output / "layers.png", lambda path: plot_profile(layers["layers"], layers["selected"], title, path))
    write_json(output / "layers.json", layers)
