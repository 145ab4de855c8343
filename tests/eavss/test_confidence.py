"""How sure a model is, against scikit-learn and values worked by hand."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from eavss.confidence import (
    KINDS,
    Calibration,
    Confidence,
    FittedProbe,
    Probe,
    calibrate,
    confidence_of,
)
from eavss.errors import EavssError
from eavss.reliability import expected_calibration_error

TOY = Calibration(
    by="per_token",
    auroc=0.75,
    ece=0.1,
    thresholds={"60": -0.5, "80": -1.0, "90": -2.0},
    curve=[[0.0, 0.0], [1.0, 0.5]],
    asked=4,
    right=2,
    prompt="Question: a\nAnswer: b\n\n",
    dataset="nq",
    aurocs={"summed": 0.5, "per_token": 0.75, "first_token": None, "least_token": 0.5},
)
OTHER = replace(TOY, by="summed", dataset="sciq", prompt=None)


def confidence(value: float) -> Confidence:
    return Confidence(value, value, value, value)


def test_the_confidences_of_an_answer() -> None:
    assert confidence_of([-0.5, -2.0, -0.5]) == Confidence(-3.0, -1.0, -0.5, -2.0)


@pytest.mark.parametrize("best", KINDS)
def test_the_confidence_with_the_highest_auroc_is_chosen(best: str) -> None:
    right = [True, True, False, True, False]
    others = [-1.0, -5.0, -3.0, -2.0, -4.0]  # 4 of 6 pairs are in order
    own = [-1.0, -2.0, -4.0, -3.0, -5.0]
    rows = [Confidence(*((own if kind == best else others)[i] for kind in KINDS)) for i in range(5)]
    found = calibrate(rows, right, 6, prompt="shots", dataset="nq")
    assert (found.by, found.auroc) == (best, 1.0)
    assert found.aurocs == {kind: 1.0 if kind == best else pytest.approx(4 / 6) for kind in KINDS}
    assert found.thresholds == {"60": -2.0, "80": -3.0, "90": -3.0}
    assert found.ece == pytest.approx(expected_calibration_error(own, right))
    assert found.curve[-1] == pytest.approx([5 / 6, 2 / 6])
    assert (found.asked, found.right, found.prompt, found.dataset) == (6, 3, "shots", "nq")


@pytest.mark.parametrize(("times", "by"), [(1, "summed"), (20, "per_token")])
def test_a_difference_within_the_standard_error_does_not_choose(times: int, by: str) -> None:
    summed, per_token = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], [-1.0, -2.0, -4.0, -3.0, -5.0, -6.0]
    right = [True, True, False, True, False, False]
    rows = [Confidence(a, b, a, a) for a, b in zip(summed, per_token, strict=True)] * times
    found = calibrate(rows, right * times, len(rows), prompt=None, dataset="nq")
    assert found.aurocs["summed"] == pytest.approx(8 / 9)
    assert found.aurocs["per_token"] == pytest.approx(1.0)
    assert found.by == by


def test_a_calibration_without_wrong_answers_has_no_auroc() -> None:
    found = calibrate([confidence(-1.0), confidence(-2.0)], [True, True], 2, prompt=None, dataset="nq")
    assert (found.by, found.auroc) == ("summed", None)
    assert found.aurocs == dict.fromkeys(KINDS)
    with pytest.raises(EavssError, match="none of the answers is right"):
        calibrate([confidence(-1.0)], [False], 1, prompt=None, dataset="nq")


def test_an_answer_below_the_threshold_is_declined() -> None:
    sure = Confidence(summed=-9.0, per_token=-0.75, first_token=-9.0, least_token=-9.0)
    assert [TOY.declines(sure, keep) for keep in (60, 80, 90)] == [True, False, False]
    assert not TOY.declines(confidence(-1.0))  # just at the threshold of 80%
    assert TOY.declines(confidence(-1.0001))


def test_an_empty_answer_is_declined() -> None:
    assert all(TOY.declines(None, keep) for keep in (60, 80, 90))


@pytest.mark.parametrize("answer", [None, confidence(-1.0)])
def test_a_threshold_that_does_not_exist_is_named(answer: Confidence | None) -> None:
    with pytest.raises(EavssError, match=r"^keep: 70 should be one of 60, 80, 90$"):
        TOY.declines(answer, 70)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "confidence.json"
    path.write_text(json.dumps(asdict(TOY)))
    assert Calibration.read(path) == Calibration.read(tmp_path) == TOY
    path.write_text(json.dumps(asdict(TOY) | {"sets": {"nq": asdict(TOY), "sciq": asdict(OTHER)}}))
    assert Calibration.read(path) == Calibration.read(path, "nq") == TOY
    assert Calibration.read(tmp_path, "sciq") == OTHER


@pytest.mark.parametrize(
    ("content", "dataset", "message"),
    [
        (None, None, r"^no file .*confidence\.json; scripts/calibrate\.py writes it$"),
        ("{", None, r"confidence\.json is no confidence\.json$"),
        ("\x80", None, r"is no confidence\.json$"),
        ("[]", None, r"is no confidence\.json$"),
        ("null", "nq", r"is no confidence\.json$"),
        ('{"by": "summed"}', None, r"is no confidence\.json$"),
        (json.dumps(asdict(TOY) | {"more": 1}), None, r"is no confidence\.json$"),
        (json.dumps({"sets": {"nq": {}}}), "nq", r"is no confidence\.json$"),
        (json.dumps({"sets": {"nq": {}, "sciq": {}}}), "triviaqa", r"has no calibration on triviaqa; it has nq, sciq$"),
    ],
)
def test_a_broken_file_is_one_line(content: str | None, dataset: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "confidence.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(EavssError, match=message) as error:
        Calibration.read(tmp_path, dataset)
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EavssError, match=r"no file .*none; scripts/calibrate\.py writes it$"):
        Calibration.read(tmp_path / "none")


PROBED = replace(TOY, by="probe", probe=Probe(layer=2, state=[1.0, -2.0], likelihoods=[0.5, 0.0, 0.0, 0.0], bias=0.25))


def test_a_probe_weighs_the_state_and_the_likelihoods() -> None:
    """1 * 3 - 2 * 1 + .5 * -1 + .25 = .75"""
    state = torch.tensor([3.0, 1.0])
    assert PROBED.value(confidence(-1.0), state) == pytest.approx(0.75)
    strict = replace(PROBED, thresholds={"60": 0.7501, "80": 0.7499, "90": -9.0})
    assert [strict.declines(confidence(-1.0), keep, state) for keep in (60, 80, 90)] == [True, False, False]
    assert strict.declines(None, 90)
    with pytest.raises(EavssError, match="needs the state of block 2"):
        PROBED.declines(confidence(-1.0))


def test_a_probe_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "confidence.json").write_text(json.dumps(asdict(PROBED) | {"sets": {"nq": asdict(TOY)}}))
    assert Calibration.read(tmp_path) == PROBED
    assert Calibration.read(tmp_path, "nq") == TOY
    (tmp_path / "confidence.json").write_text(json.dumps(asdict(PROBED) | {"probe": None}))
    with pytest.raises(EavssError, match=r"is no confidence\.json"):
        Calibration.read(tmp_path)


@pytest.mark.parametrize(("better", "by"), [(True, "probe"), (False, "summed")])
def test_a_probe_is_chosen_where_it_is_better_beyond_noise(better: bool, by: str) -> None:
    right = [n % 3 == 0 for n in range(90)]
    rows = [confidence(-1.0 - n % 7) for n in range(90)]
    scores = [float(is_right) if better else -float(n % 7) for n, is_right in enumerate(right)]
    assert PROBED.probe is not None
    found = calibrate(rows, right, 90, prompt=None, dataset="nq", fitted=FittedProbe(PROBED.probe, scores))
    assert (found.by, found.probe) == (by, PROBED.probe if better else None)
    assert found.aurocs.keys() == {*KINDS, "probe"}
    assert 0 <= found.ece <= 1
