"""How sure a model is, against scikit-learn and values worked by hand."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eavss.confidence import (
    KINDS,
    Calibration,
    Confidence,
    auroc,
    auroc_error,
    calibrate,
    confidence_of,
    expected_calibration_error,
    risk_coverage,
    threshold_keeping,
)
from eavss.errors import EavssError

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


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_that_of_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.integers(-8, 0, size=60).astype(float).tolist()  # many ties
    right = (draw.random(60) < 0.4).tolist()
    assert auroc(values, right) == pytest.approx(roc_auc_score(right, values), abs=1e-12)


@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_auroc_needs_right_and_wrong_answers(right: list[bool]) -> None:
    assert auroc([-1.0, -2.0], right) is None
    assert auroc([], []) is None


def test_risk_coverage() -> None:
    """Of five questions four got an answer; the two at -2 are answered together."""
    points = risk_coverage([-3.0, -2.0, -1.0, -2.0], [False, False, True, True], asked=5)
    assert np.array(points) == pytest.approx(np.array([[0, 0], [0.2, 0], [0.6, 0.2], [0.8, 0.4]]))
    assert risk_coverage([], [], asked=5) == [[0.0, 0.0]]


@pytest.mark.parametrize("count", [99, 100, 199, 1000])
def test_a_long_curve_is_thinned_and_keeps_its_ends(count: int) -> None:
    points = risk_coverage([-float(i) for i in range(count)], [i % 2 == 0 for i in range(count)], asked=2 * count)
    assert 50 <= len(points) <= 101
    assert points[0] == [0, 0]
    assert points[-1] == pytest.approx([0.5, (count // 2) / (2 * count)])
    assert points == sorted(points)


@pytest.mark.parametrize(("right", "thresholds"), [(5, (-3, -4, -5)), (10, (-6, -8, -9))])
def test_a_threshold_keeps_a_share_of_the_right_answers(right: int, thresholds: tuple[int, ...]) -> None:
    """The right answers have the confidences -1, -2, ...; wrong ones do not count."""
    values = [-float(i) for i in range(1, right + 1)] + [-0.5, -3.5, -20.0]
    labels = [True] * right + [False] * 3
    assert tuple(threshold_keeping(values, labels, share) for share in (0.6, 0.8, 0.9)) == thresholds


@pytest.mark.parametrize("share", [0.6, 0.8, 0.9])
def test_the_next_higher_threshold_keeps_less(share: float) -> None:
    draw = np.random.default_rng(0)
    for size in range(1, 40):
        values, labels = -draw.integers(1, 10, size=size).astype(float), draw.random(size) < 0.5
        labels[0] = True
        threshold = threshold_keeping(values.tolist(), labels.tolist(), share)
        right = values[labels]
        assert (right >= threshold).sum() >= share * len(right) - 1e-9
        assert (right > threshold).sum() < share * len(right) - 1e-9


def test_no_threshold_keeps_what_is_not_there() -> None:
    with pytest.raises(EavssError, match="none of the answers is right"):
        threshold_keeping([-1.0], [False], 0.8)


def test_expected_calibration_error() -> None:
    """The tenth bin expects 0.95 + 0.97 right ones and has 1, the third 0.25 and has 0: 0.92 + 0.25 of 3 answers."""
    values = [math.log(0.95), math.log(0.97), math.log(0.25)]
    assert expected_calibration_error(values, [True, False, False]) == pytest.approx((0.92 + 0.25) / 3)
    assert expected_calibration_error([0.0, 1e-9], [True, True]) == 0  # rounding may lead above certainty
    assert expected_calibration_error([], []) == 0


@pytest.mark.parametrize("best", KINDS)
def test_the_confidence_with_the_highest_auroc_is_chosen(best: str) -> None:
    right = [True, True, False, True, False]
    others = [-1.0, -5.0, -3.0, -2.0, -4.0]  # 4 of 6 pairs are in order
    own = [-1.0, -2.0, -4.0, -3.0, -5.0]
    rows = [Confidence(*((own if kind == best else others)[i] for kind in KINDS)) for i in range(5)]
    found = calibrate(rows, right, 6, "shots", "nq")
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
    found = calibrate(rows, right * times, len(rows), None, "nq")
    assert found.aurocs["summed"] == pytest.approx(8 / 9)
    assert found.aurocs["per_token"] == pytest.approx(1.0)
    assert found.by == by


@pytest.mark.parametrize(("scale", "right", "wrong"), [(2.0, 40, 60), (4.0, 10, 200)])
def test_the_standard_error_of_an_auroc_is_the_spread_of_many(scale: float, right: int, wrong: int) -> None:
    """Hanley and McNeil's formula is exact for exponential scores."""
    generator = np.random.default_rng(0)
    draws = [(generator.exponential(scale, right), generator.exponential(1.0, wrong)) for _ in range(3000)]
    found = [float((positive[:, None] > negative).mean()) for positive, negative in draws]
    expected = auroc_error(scale / (1 + scale), right, right + wrong)
    assert np.std(found) == pytest.approx(expected, rel=0.05)


def test_a_calibration_without_wrong_answers_has_no_auroc() -> None:
    found = calibrate([confidence(-1.0), confidence(-2.0)], [True, True], 2, None, "nq")
    assert (found.by, found.auroc) == ("summed", None)
    assert found.aurocs == dict.fromkeys(KINDS)
    with pytest.raises(EavssError, match="none of the answers is right"):
        calibrate([confidence(-1.0)], [False], 1, None, "nq")


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
