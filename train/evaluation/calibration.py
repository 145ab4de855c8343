"""Calibrate a model's confidence on questions that it was neither trained nor evaluated on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from data.errors import DataError
from data.examples import Example, hash_fraction, normalise_question
from data.passages import with_passages
from data.sources import DataSource
from eavss.asking import FEW_SHOT
from eavss.confidence import KINDS, PROBE, Calibration, calibrate
from train.batching.encoding import Encoder
from train.evaluation.answered import Judged
from train.evaluation.benchmarks import Benchmark, asked_freely, own_name
from train.evaluation.free_answers import FreeAnswers
from train.evaluation.probing import attempts, fit_answers, judge_with_states
from train.evaluation.records import Carried, Kept
from train.recipe.settings import EvaluationSettings
from train.runtime.distributed import on_main_process, say
from train.runtime.files import write_text
from train.runtime.stages import clock

POOLED = "pooled"


def calibration_questions(
    source: DataSource, dataset: str, count: int, taken: set[str], passages: bool = False
) -> list[Example]:
    """Take questions from the training side of a set, in an order of their own.

    Args:
        count: how many at most.
        taken: the questions that are trained on, of conversations those that open them, normalised.
        passages: only those with a passage, where the set has some.

    Raises:
        DataError: the set has no training side here.
    """
    free = [example for example in source.split(dataset).train if normalise_question(example.opening) not in taken]
    if passages:
        free = with_passages(free)
    return sorted(free, key=lambda example: hash_fraction(f"calibration {example.conversation}"))[:count]


@clock.stage("calibration")
def calibrate_sets(
    free: FreeAnswers | None,
    benchmarks: Sequence[Benchmark],
    settings: EvaluationSettings,
    trained: Sequence[Example],
    layers: Sequence[int] = (),
) -> dict[str, Calibration]:
    """Calibrate the model on each set that it is asked freely, and on all of them pooled.

    Args:
        free: the model that answers; None to calibrate nothing.
        benchmarks: the sets that are evaluated.
        settings: where their rows come from, and how many questions of each set are asked.
        trained: the examples that the model was trained on.
        layers: the blocks that a probe may look at; none to calibrate likelihoods alone.
    """
    if free is None or not settings.calibration_questions:
        return {}
    if free.encoder.prompt_style == "harness" or settings.ask_to_decline:
        say("note: not calibrated: thresholds are for prompts: own and ask_to_decline: false")
        return {}
    evaluated = [question.example for benchmark in benchmarks for question in benchmark.questions]
    taken = {normalise_question(example.opening) for example in (*trained, *evaluated)}
    given: dict[str, list[Judged]] = {}
    for benchmark in asked_freely(benchmarks):
        try:
            examples = calibration_questions(
                settings.source,
                benchmark.dataset,
                settings.calibration_questions,
                taken,
                passages=settings.passages,
            )
        except DataError as error:
            say(f"note: {benchmark.name} is not calibrated: {error}")
            continue
        given[benchmark.name] = judge_with_states(
            free, examples, free(examples, f"calibrating on {benchmark.name}"), layers
        )
    free.kept.say_used("calibration")
    pooled = [each for answered in given.values() for each in answered]
    parts = {**given, **({POOLED: pooled} if len(given) > 1 else {})}
    found = {name: _calibrate(name, answered, free.encoder) for name, answered in parts.items()}
    return {name: calibration for name, calibration in found.items() if calibration is not None}


def _calibrate(name: str, answered: Sequence[Judged], encoder: Encoder) -> Calibration | None:
    attempted = attempts(answered)
    right = [each.verdict == "right" for each in attempted]
    if not any(right):
        say(f"note: {name} is not calibrated: none of {len(answered)} answers is right")
        return None
    confidences = [each.confidence for each in attempted if each.confidence is not None]
    return calibrate(
        confidences,
        right,
        len(answered),
        prompt=None if encoder.prompt_style == "chat" else FEW_SHOT,
        system=encoder.system,
        dataset=name,
        fitted=fit_answers(attempted),
    )


@clock.stage("calibration")
def answer_evaluated(
    free: FreeAnswers | None, benchmarks: Sequence[Benchmark], calibrations: Mapping[str, Calibration]
) -> dict[str, list[Judged]]:
    """Let the model answer the questions that are evaluated, and read the states that the calibrations' probes need.

    What it has answered before is kept on disk.

    Args:
        free: the model that answers; None for no answers.
    """
    if free is None or not calibrations:
        return {}
    layers = sorted({each.probe.layer for each in calibrations.values() if each.probe is not None})
    asked = {each.name: [question.example for question in each.questions] for each in asked_freely(benchmarks)}
    return {
        name: judge_with_states(free, examples, free(examples, f"asking {name}"), layers)
        for name, examples in asked.items()
    }


def kept_by(calibration: Calibration, answers: Sequence[Judged]) -> dict[str, Kept]:
    """Return what each threshold does on the answers to other questions, by the per cent that it should keep."""
    found: dict[str, Kept] = {}
    right = sum(answer.verdict == "right" for answer in answers)
    for keep in calibration.thresholds:
        given = [answer.verdict for answer in answers if not _declines(calibration, answer, int(keep))]
        found[keep] = {
            "kept": given.count("right") / right if right else None,
            "wrong": given.count("wrong") / len(answers),
            "answered": (given.count("right") + given.count("wrong")) / len(answers),
        }
    return found


def _declines(calibration: Calibration, answer: Judged, keep: int) -> bool:
    layer = None if calibration.probe is None else calibration.probe.layer
    state = None if layer is None or answer.states is None else answer.states[layer]
    return calibration.declines(answer.confidence, keep, state)


def carried(calibrations: Mapping[str, Calibration], answers: Mapping[str, Sequence[Judged]]) -> Carried:
    """Return what the thresholds of each calibration do on each evaluated set: {calibrated on: {set: {keep: ...}}}."""
    return {
        name: {other: kept_by(calibration, of_set) for other, of_set in answers.items()}
        for name, calibration in calibrations.items()
    }


def carried_table(calibrations: Mapping[str, Calibration], found: Carried) -> str:
    """Return what the thresholds do as text."""
    head = f"{'calibrated on':<14} {'by':<12} {'AUROC':>6} {'asked':<12} {'keep':>5} {'kept':>6}"
    lines = [f"{head} {'answered':>9} {'wrong':>6}"]
    for name, of_sets in found.items():
        by, auroc = calibrations[name].by, calibrations[name].auroc
        for other, kept in of_sets.items():
            for keep, values in kept.items():
                right = "-" if values["kept"] is None else f"{values['kept']:.2f}"
                shown = "-" if auroc is None else f"{auroc:.3f}"
                lines.append(
                    f"{name:<14} {by:<12} {shown:>6} {other:<12} {keep:>4}% {right:>6} {values['answered']:>9.3f} "
                    f"{values['wrong']:>6.3f}"
                )
    return "\n".join(lines)


@on_main_process
def write_confidence(folders: Sequence[Path], calibrations: Mapping[str, Calibration], dataset: str) -> None:
    """Write `confidence.json` to each folder: the calibration on `dataset`, or on all sets pooled, then all of them.

    Without a calibration nothing is written.
    """
    if not calibrations:
        return
    own = calibrations.get(own_name(dataset)) or calibrations.get(POOLED) or next(iter(calibrations.values()))
    sets = {name: asdict(calibration) for name, calibration in calibrations.items()}
    for folder in folders:
        write_text(folder / "confidence.json", json.dumps(asdict(own) | {"sets": sets}, indent=2) + "\n")


def aurocs(calibrations: Mapping[str, Calibration]) -> str:
    """Return the AUROC of each confidence on each set's calibration questions as text."""
    probed = any(PROBE in calibration.aurocs for calibration in calibrations.values())
    kinds = [*KINDS, PROBE] if probed else [*KINDS]
    lines = [f"{'AUROC':<14}" + "".join(f"{kind:>13}" for kind in kinds)]
    for name, calibration in calibrations.items():
        values = [calibration.aurocs.get(kind) for kind in kinds]
        lines.append(f"{name:<14}" + "".join(f"{'-':>13}" if v is None else f"{v:>13.3f}" for v in values))
    return "\n".join(lines)
