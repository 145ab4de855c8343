"""How sure a model is of its own answers, and the threshold under which it had better decline.

The confidences are the usual ones of a single greedy answer, made from the log-probabilities of its tokens (in nats, at
most 0; higher is surer). LM-Polygraph and UQLM have them under the names in brackets.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from eavss.choices import SHARES
from eavss.errors import EavssError
from eavss.reliability import (
    auroc,
    auroc_error,
    expected_calibration_error,
    risk_coverage,
    threshold_keeping,
)

Kind = Literal["summed", "per_token", "first_token", "least_token"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PROBE: Literal["probe"] = "probe"


class Confidence(NamedTuple):
    """The confidences of one answer.

    Args:
        summed: the log-probability of the whole answer (LM-Polygraph's MaximumSequenceProbability, negated; the
            logarithm of UQLM's sequence_probability without length_normalize).
        per_token: its mean over tokens (Perplexity; sequence_probability with length_normalize).
        first_token: that of the first token.
        least_token: that of the least likely token (min_probability).
    """

    summed: float
    per_token: float
    first_token: float
    least_token: float


@dataclass(frozen=True)
class Probe:
    """A linear confidence from a block's state on the answer and the answer's likelihoods (`eavss.probes.fit_probe`).

    Args:
        layer: the index of the block.
        state: (H,) weights of the mean state over the answer's tokens.
        likelihoods: the weights of the four likelihoods of `Confidence`.
        bias: what is added.
    """

    layer: int
    state: list[float]
    likelihoods: list[float]
    bias: float

    def __call__(self, state: Tensor, confidence: Confidence) -> float:
        """Return the confidence in an answer, higher is surer, from its state (H,)."""
        weights = torch.tensor(self.state, dtype=torch.float64)
        known = math.fsum(weight * value for weight, value in zip(self.likelihoods, confidence, strict=True))
        return float(weights @ state.double().cpu()) + known + self.bias


class FittedProbe(NamedTuple):
    """A probe, and the confidences that it gives in cross-validation to the answers that it was fitted on."""

    probe: Probe
    confidences: list[float]


def confidence_of(logprobs: Sequence[float]) -> Confidence:
    """Return the confidences of an answer from the log-probabilities of its tokens, at least one."""
    total = math.fsum(logprobs)
    return Confidence(total, total / len(logprobs), logprobs[0], min(logprobs))


@dataclass(frozen=True)
class Calibration:
    """What `confidence.json` holds: which confidence tells right answers from wrong ones, and its thresholds.

    Args:
        by: the confidence: one of `KINDS`, or `probe`.
        auroc: its AUROC on the calibration questions; None where all answers were right, or all wrong.
        ece: its expected calibration error.
        thresholds: by per cent of the right answers kept ("60", "80", "90"), the least confidence that is not declined.
        curve: see `risk_coverage`.
        asked, right: how many calibration questions there were, and how many answers were right.
        prompt: the text before "Question: ..." in the plain style; None where the chat template asks.
        system: the system message before it; empty for none.
        dataset: what the questions were from.
        aurocs: the AUROC of every confidence; the probe's is cross-validated.
        probe: the probe, where it is the confidence.
    """

    by: Kind | Literal["probe"]
    auroc: float | None
    ece: float
    thresholds: dict[str, float]
    curve: list[list[float]]
    asked: int
    right: int
    prompt: str | None
    dataset: str
    aurocs: dict[str, float | None]
    probe: Probe | None = None
    system: str = ""

    def value(self, confidence: Confidence, state: Tensor | None = None) -> float:
        """Return the calibrated confidence of an answer.

        Args:
            confidence: the likelihoods of the answer.
            state: (H,) the mean over the answer of what leaves the probe's block; needed by a probe alone.

        Raises:
            EavssError: a probe gets no state.
        """
        if self.probe is None:
            value: float = getattr(confidence, self.by)
            return value
        if state is None:
            raise EavssError(f"this calibration needs the state of block {self.probe.layer} on the answer")
        return self.probe(state, confidence)

    def declines(self, confidence: Confidence | None, keep: int = 80, state: Tensor | None = None) -> bool:
        """Return whether an answer of this confidence should be declined, so that `keep` per cent of right ones stay.

        An empty answer has no confidence, and is declined. See `value` for the state.
        """
        if str(keep) not in self.thresholds:
            raise EavssError(f"keep: {keep} should be one of {', '.join(self.thresholds)}")
        return confidence is None or self.value(confidence, state) < self.thresholds[str(keep)]

    @staticmethod
    def read(path: Path, dataset: str | None = None) -> "Calibration":
        """Read a `confidence.json`, or the one in a folder.

        Args:
            path: the file or the folder.
            dataset: the set whose calibration is wanted, where the file has those of several; None for its first.

        Raises:
            EavssError: there is none, or it is broken.
        """
        path = path / "confidence.json" if path.is_dir() else path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            sets = content.pop("sets", {})
            chosen = content if dataset is None else sets[dataset]
            probe = Probe(**chosen["probe"]) if chosen.get("probe") else None
            found = Calibration(**(chosen | {"probe": probe}))
            if not _is_whole(found):
                raise ValueError
        except OSError:
            raise EavssError(f"no file {path}; scripts/calibrate.py writes it") from None
        except KeyError:
            raise EavssError(f"{path} has no calibration on {dataset}; it has {', '.join(sets) or 'one'}") from None
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise EavssError(f"{path} is no confidence.json") from None
        return found


def _is_whole(found: Calibration) -> bool:
    """Return whether what was read is of the types that it should be."""

    def numbers(values: object, count: int | None = None) -> bool:
        right = isinstance(values, list) and all(type(value) in (int, float) for value in values)
        return right and count in (None, len(values))  # type: ignore[arg-type] # (a list by now)

    probe = found.probe
    of_probe = probe is None or (
        type(probe.layer) is int and probe.layer >= 0 and numbers(probe.state) and numbers([probe.bias])
    )
    return (
        (found.by in KINDS or (found.by == PROBE and probe is not None))
        and all(isinstance(threshold, float) for threshold in found.thresholds.values())
        and isinstance(found.prompt, str | None)
        and isinstance(found.system, str)
        and of_probe
        and (probe is None or numbers(probe.likelihoods, len(KINDS)))
    )


def _log_sigmoid(value: float) -> float:
    return min(value, 0.0) - math.log1p(math.exp(-abs(value)))


def calibrate(
    confidences: Sequence[Confidence],
    right: Sequence[bool],
    asked: int,
    *,
    prompt: str | None,
    dataset: str,
    system: str = "",
    fitted: FittedProbe | None = None,
) -> Calibration:
    """Choose a confidence and its thresholds.

    Another confidence than the summed one is chosen only if its AUROC is higher by more than the standard error of the
    summed one's. The highest of four AUROCs of few right answers is mostly chance, and so would its thresholds be.

    Args:
        confidences, right: of the answers that were given to calibration questions.
        asked: how many questions were asked.
        prompt, dataset, system: see `Calibration`.
        fitted: a probe that was fitted on these answers.

    Raises:
        EavssError: no answer is right.
    """
    columns: dict[Kind | Literal["probe"], list[float]] = {
        kind: [getattr(each, kind) for each in confidences] for kind in KINDS
    }
    if fitted is not None:
        columns[PROBE] = fitted.confidences
    aurocs = {kind: auroc(values, right) for kind, values in columns.items()}
    by = max(columns, key=lambda kind: aurocs[kind] or 0.0)
    summed, best = aurocs["summed"], aurocs[by]
    if summed is not None and best is not None and best - summed <= auroc_error(summed, sum(right), len(right)):
        by = "summed"
    values = columns[by]
    return Calibration(
        by=by,
        auroc=aurocs[by],
        ece=expected_calibration_error([_log_sigmoid(value) for value in values] if by == PROBE else values, right),
        thresholds={str(share): threshold_keeping(values, right, share / 100) for share in SHARES},
        curve=risk_coverage(values, right, asked),
        asked=asked,
        right=sum(right),
        prompt=prompt,
        system=system,
        dataset=dataset,
        aurocs={str(kind): value for kind, value in aurocs.items()},
        probe=fitted.probe if fitted is not None and by == PROBE else None,
    )
