"""What is measured of a model's active parameters (`eavss.activation`), and the file with the figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, get_args

from data.sets import SETS
from eavss.choices import Threshold
from train.runtime.errors import RecipeError
from train.runtime.records import read_record

Part = Literal["activity", "similarity", "sentences", "ratios", "calibration"]
PARTS: tuple[Part, ...] = get_args(Part)
# The kinds of texts: three text sets, and questions.
DOMAINS = ("wikitext", "lambada", "sst2", *SETS)
# What ranks the weights that are set to zero, and how the blocks' prune ratios differ.
Score = Literal["magnitude", "activation", "wanda"]
Shape = Literal["uniform", "active", "reversed", "shuffled"]


class Activity(TypedDict):
    """How active a domain's texts make the parameters.

    Args:
        domain, n: the texts.
        mean: (L,) the mean activation of each block's weights.
        thresholds: by kind, the activation above which a weight is active.
        active: by kind of threshold, (L,) the share of each block's weights that are active.
        matrices: by kind of threshold and by the matrix's name in a block, (L,); None where a block lacks it.
    """

    domain: str
    n: int
    mean: list[float]
    thresholds: dict[Threshold, float]
    active: dict[Threshold, list[float]]
    matrices: dict[Threshold, dict[str, list[float | None]]]


class PatternFigures(TypedDict):
    """How alike the patterns of two texts are, one of each domain (`eavss.activation.pattern_similarity`).

    Args:
        one, other: the domains; they may be the same, and the texts are never.
        n: how many pairs of texts.
        blocks: (L,) the mean similarity.
    """

    one: str
    other: str
    n: int
    blocks: list[float]


class SentenceFigures(TypedDict):
    """Whether two sentences' patterns are the more alike, the more alike people find their meanings.

    Args:
        set, n: the pairs of sentences.
        blocks: (L,) Spearman's rank correlation of each block's similarity with the judgements.
        deep, shallow: that of the similarity summed over the deep blocks, and over the first half of the blocks.
        intervals: the 95% intervals of both, by bootstrap over pairs.
        overlap: that of the share of tokens which the two sentences have in common.
        deep_beyond_overlap: the partial rank correlation of `deep` and the judgements, given that share.
    """

    set: str
    n: int
    blocks: list[float]
    deep: float
    shallow: float
    intervals: dict[str, list[float]]
    overlap: float
    deep_beyond_overlap: float


class Judged(TypedDict):
    """What a model is worth in one domain.

    Args:
        domain: the texts.
        losses: the cross-entropy of each text's answer in nats a token.
        greedy: the share of the answers that greedy decoding would write.
    """

    domain: str
    losses: list[float]
    greedy: float


@dataclass(frozen=True)
class PruneTrial:
    """One way to set weights to zero.

    Args:
        score: what ranks them.
        shape: the blocks' ratios: all equal; more where fewer parameters are active; less there; or those ratios dealt
            to the blocks at random.
        sparsity: the share of all weights in the blocks' linear layers; 0 is the whole model.
        spread: how far a block's ratio is from it at most.
        calibrated: the domain that the scores are measured on; None for magnitudes.
    """

    score: Score = "magnitude"
    shape: Shape = "uniform"
    sparsity: float = 0.0
    spread: float = 0.0
    calibrated: str | None = None

    def __str__(self) -> str:
        if not self.sparsity:
            return "whole"
        on = f" on {self.calibrated}" if self.calibrated else ""
        wide = f" (up to {self.spread:g} away)" if self.spread else ""
        return f"{self.sparsity:.0%} by {self.score}{on}, {self.shape}{wide}"


class PrunedFigures(TypedDict):
    """What a trial left.

    Args:
        score, shape, sparsity, spread, calibrated: see `PruneTrial`.
        ratios: (L,) the share of its weights that each block lost.
        judged: in each domain.
    """

    score: Score
    shape: Shape
    sparsity: float
    spread: float
    calibrated: str | None
    ratios: list[float]
    judged: list[Judged]


class Study(TypedDict):
    """Everything in the file.

    Args:
        settings: what the figures depend on, as text, by key.
        blocks: how many blocks the model has.
        activity, similarity, sentences, pruned: the figures.
    """

    settings: dict[str, str]
    blocks: int
    activity: list[Activity]
    similarity: list[PatternFigures]
    sentences: list[SentenceFigures]
    pruned: list[PrunedFigures]


def deep_blocks(blocks: int) -> range:
    """Return the second half of the blocks without the last two, as in the authors' code, which names no reason."""
    return range(blocks // 2, max(blocks // 2 + 1, blocks - 2))


def prune_trials(
    parts: Sequence[Part], domains: Sequence[str], sparsities: Sequence[float], spreads: Sequence[float]
) -> list[PruneTrial]:
    """Return the trials of the parts `ratios` and `calibration`, the whole model first.

    Args:
        parts: those asked for.
        domains: the calibration sets.
        sparsities: the shares of weights that are set to zero.
        spreads: of ratios that are not uniform.
    """
    found = [PruneTrial()] if {"ratios", "calibration"} & set(parts) else []
    for sparsity in sparsities:
        if "ratios" in parts:
            shapes = [shape for shape in get_args(Shape) if shape != "uniform"]
            found.append(PruneTrial(sparsity=sparsity))
            found += [PruneTrial("magnitude", shape, sparsity, spread) for spread in spreads for shape in shapes]
        if "calibration" in parts:
            scores: tuple[Score, Score] = ("activation", "wanda")
            found += [PruneTrial(score, "uniform", sparsity, 0.0, domain) for score in scores for domain in domains]
    return list(dict.fromkeys(found))


def trial_of(figures: PrunedFigures) -> PruneTrial:
    """Return the trial that some figures are of."""
    keys = ("score", "shape", "sparsity", "spread", "calibrated")
    return PruneTrial(**{key: figures[key] for key in keys})  # type: ignore[literal-required]


def read_study(path: Path, settings: dict[str, str], blocks: int) -> Study:
    """Read the figures that are there already; an empty study if there is no file.

    Raises:
        RecipeError: the file holds something else, or figures of other settings.
    """
    if not path.is_file():
        return {"settings": settings, "blocks": blocks, "activity": [], "similarity": [], "sentences": [], "pruned": []}
    try:
        found = read_record(path, Study)
        lists: list[tuple[Sequence[object], type]] = [
            ([found], Study),
            (found["activity"], Activity),
            (found["similarity"], PatternFigures),
            (found["sentences"], SentenceFigures),
            (found["pruned"], PrunedFigures),
        ]
        if not all(entry.keys() == kind.__annotations__.keys() for own, kind in lists for entry in own):  # type: ignore[attr-defined]
            raise ValueError("an entry has other keys")
    except (ValueError, KeyError) as error:
        raise RecipeError(f"--json: {path} holds no figures of activation; name another file: {error}") from None
    if found["blocks"] != blocks:
        raise RecipeError(
            f"--json: {path} holds figures of a model of {found['blocks']} blocks, here they are {blocks}; name "
            "another file"
        )
    other = next((key for key, value in settings.items() if found["settings"].get(key) != value), None)
    if other is not None:
        values = f"{found['settings'].get(other)}, here it is {settings[other]}"
        raise RecipeError(f"--json: {path} holds figures with {other} {values}; name another file")
    return found
