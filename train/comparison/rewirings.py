"""The trials of a sweep of rewirings (`eavss.rewiring`), the file with their figures, and their table."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypedDict, cast

from eavss.choices import REWIRINGS, Rewiring, RewiringKind
from eavss.rewiring import Step, middle_blocks, rewiring_order
from train.evaluation.retained import Kept, average_kept, shown
from train.runtime.errors import RecipeError

# One block dropped is skipped, and two neighbours swapped are reversed.
_GROUPS_OF_ONE_AND_TWO: dict[RewiringKind, Rewiring] = {"dropped": "skipped", "swapped": "reversed"}


@dataclass(frozen=True)
class Trial:
    """One rewiring of one group of blocks.

    Args:
        kind: the rewiring.
        group: the indices of the blocks.
        seed: of a shuffle; None for the others.
        loops: of looped-parallel; None for the others.
    """

    kind: RewiringKind
    group: tuple[int, ...]
    seed: int | None = None
    loops: int | None = None

    def order(self, total: int) -> list[Step]:
        """Return the order for `eavss.rewiring.rewired`."""
        rewiring = _GROUPS_OF_ONE_AND_TWO.get(self.kind, cast(Rewiring, self.kind))
        return rewiring_order(rewiring, self.group, total, seed=self.seed or 0, loops=self.loops or 1)

    def __str__(self) -> str:
        detail = f" x{self.loops}" if self.loops else f" by seed {self.seed}" if self.seed is not None else ""
        return f"{self.kind}{detail}: {show_blocks(self.group)}"


class RewiredFigures(TypedDict):
    """What one rewiring left of one model.

    Args:
        model: `base`, or the adapter on top of it.
        kind, group, seed, loops: see `Trial`.
        kept: each figure beside that of the same model in its own order.
        average, above_chance: `train.evaluation.retained.average_kept`, and `average_above_chance`.
    """

    model: str
    kind: RewiringKind
    group: list[int]
    seed: int | None
    loops: int | None
    kept: list[Kept]
    average: float
    above_chance: float


class SimilarityFigures(TypedDict):
    """How alike the states that leave a model's blocks are (`eavss.similarity`).

    Args:
        model: `base`, or the adapter on top of it.
        matrix: (L, L).
        groups: the first, the middle and the last blocks.
        means: the mean similarity of each two groups, None where there are no two blocks.
        explained: the share of the variance that the three groups explain.
    """

    model: str
    matrix: list[list[float]]
    groups: list[list[int]]
    means: list[list[float | None]]
    explained: float


class Sweep(TypedDict):
    """Everything in the file.

    Args:
        settings: what the figures depend on, as text, by key.
        blocks: how many blocks the model has.
        similarity, trials: the figures.
    """

    settings: dict[str, str]
    blocks: int
    similarity: list[SimilarityFigures]
    trials: list[RewiredFigures]


@dataclass(frozen=True)
class Plan:
    """What to try.

    Args:
        kinds: the rewirings.
        starts: the starts of the middle spans (`eavss.rewiring.middle_blocks`). One block is dropped, and two are
            swapped, at each start and as far from the end; empty for none.
        groups: other groups of blocks.
        seeds: of the shuffles.
        loops: of looped-parallel.
    """

    kinds: Sequence[RewiringKind]
    starts: Sequence[int]
    groups: Sequence[Sequence[int]]
    seeds: Sequence[int]
    loops: int

    def trials(self, total: int) -> list[Trial]:
        """Return the trials for a model of L blocks, none twice.

        Raises:
            EavssError: a start leaves no middle, or a group is none.
        """
        middles = [tuple(middle_blocks(start, total)) for start in self.starts]
        groups = [*middles, *(tuple(sorted(group)) for group in self.groups)]
        found = [
            trial for kind in self.kinds if kind in REWIRINGS for group in groups for trial in self._of(kind, group)
        ]
        for kind, width in (("dropped", 1), ("swapped", 2)):
            if kind in self.kinds:
                firsts = sorted({first for start in self.starts for first in (start, total - width - start)})
                found += [Trial(kind, tuple(range(first, first + width))) for first in firsts]  # type: ignore[arg-type]
        for trial in found:
            trial.order(total)  # raises before anything is computed
        return list(dict.fromkeys(found))

    def _of(self, kind: RewiringKind, group: tuple[int, ...]) -> list[Trial]:
        if kind == "shuffled":
            return [Trial(kind, group, seed=seed) for seed in self.seeds]
        return [Trial(kind, group, loops=self.loops if kind == "looped_parallel" else None)]


def read_sweep(path: Path, settings: dict[str, str], blocks: int) -> Sweep:
    """Read the figures that are there already; an empty sweep if there is no file.

    Raises:
        RecipeError: the file holds something else, or figures of other settings.
    """
    if not path.is_file():
        return {"settings": settings, "blocks": blocks, "similarity": [], "trials": []}
    try:
        found: Sweep = json.loads(path.read_text(encoding="utf-8"))
        if found.keys() != Sweep.__annotations__.keys():
            raise ValueError
        whole = [trial.keys() == RewiredFigures.__annotations__.keys() for trial in found["trials"]]
        other = next((key for key, value in settings.items() if found["settings"].get(key) != value), None)
    except (ValueError, AttributeError, TypeError, KeyError):
        whole, other = [False], None
    if not all(whole):
        raise RecipeError(f"--json: {path} holds no figures of rewirings; name another file")
    if other is not None:
        values = f"{found['settings'].get(other)}, here it is {settings[other]}"
        raise RecipeError(f"--json: {path} holds figures with {other} {values}; name another file")
    return found


def trial_of(figures: RewiredFigures) -> Trial:
    """Return the trial that some figures are of."""
    return Trial(figures["kind"], tuple(figures["group"]), figures["seed"], figures["loops"])


def average_above_chance(rows: Sequence[Kept]) -> float:
    """Return what is kept of the whole model's accuracy above chance, summed over the sets; 1 if it has none.

    Perplexities and free answers do not count.
    """
    counted = [(row, row["chance"]) for row in rows if row["chance"] is not None and row["metric"] != "right"]
    whole = sum(row["whole"] - chance for row, chance in counted)
    return sum(row["changed"] - chance for row, chance in counted) / whole if whole > 0 else 1.0


def over_seeds(trials: Sequence[RewiredFigures]) -> list[RewiredFigures]:
    """Average the shuffles of a group over their seeds: means of accuracies, geometric means of perplexities."""
    found: dict[tuple[object, ...], list[RewiredFigures]] = {}
    for trial in trials:
        found.setdefault((trial["model"], trial["kind"], *trial["group"], trial["loops"]), []).append(trial)
    return [_average(group) for group in found.values()]


def _average(trials: list[RewiredFigures]) -> RewiredFigures:
    kept = [cast(Kept, {**rows[0], "changed": _mean(rows)}) for rows in zip(*(t["kept"] for t in trials), strict=True)]
    return {**trials[0], "kept": kept, "average": average_kept(kept), "above_chance": average_above_chance(kept)}


def _mean(rows: Sequence[Kept]) -> float:
    values = [row["changed"] for row in rows]
    return math.exp(fmean(map(math.log, values))) if rows[0]["chance"] is None else fmean(values)


def columns_of(trial: RewiredFigures) -> list[Kept]:
    """Return the figures that tables and pictures show: the word perplexity says nothing that the other does not."""
    return [row for row in trial["kept"] if row["metric"] != "word_perplexity"]


def show_blocks(blocks: Sequence[int]) -> str:
    """Show neighbours as 4-25, others as 1, 3, 6."""
    first, last = blocks[0], blocks[-1]
    if len(blocks) > 2 and list(blocks) == list(range(first, last + 1)):
        return f"{first}-{last}"
    return ", ".join(map(str, blocks))


def rewiring_table(trials: Sequence[RewiredFigures]) -> str:
    """Return the trials as a table in Markdown, each model in its own order first and shuffles averaged."""
    if not trials:
        return ""
    names = [f"{row['set']} {row['metric']}" for row in columns_of(trials[0])]
    lines = [
        f"| model | rewired | blocks | kept | above chance | {' | '.join(names)} |",
        "|---" * (5 + len(names)) + "|",
    ]
    for model in dict.fromkeys(trial["model"] for trial in trials):
        own = over_seeds([trial for trial in trials if trial["model"] == model])
        lines.append(f"| {model} | (none) | | | | {' | '.join(shown(row['whole']) for row in columns_of(own[0]))} |")
        for trial in own:
            kind = f"{trial['kind']} x{trial['loops']}" if trial["loops"] else trial["kind"]
            shares = f"{trial['average']:.0%} | {trial['above_chance']:.0%}"
            figures = " | ".join(shown(row["changed"]) for row in columns_of(trial))
            lines.append(f"| {model} | {kind} | {show_blocks(trial['group'])} | {shares} | {figures} |")
    return "\n".join(lines)


def similarity_text(figures: SimilarityFigures) -> str:
    """Say which blocks form the three groups, and how alike they are."""
    names = ("first", "middle", "last")
    groups = ", ".join(
        f"{n} {show_blocks(g) if g else '(none)'}" for n, g in zip(names, figures["groups"], strict=True)
    )
    means = ", ".join(
        f"{names[a]}-{names[b]} {figures['means'][a][b]:.2f}"
        for a in range(3)
        for b in range(a, 3)
        if figures["means"][a][b] is not None
    )
    share = f"the groups explain {figures['explained']:.0%} of the variance"
    return f"{figures['model']}: {groups}; mean similarity {means}; {share}"
