"""A run's pictures: what is drawn, and under which name."""

from io import BytesIO

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.train.publishing.toy_run import RESULTS
from train.losses import TERMS
from train.publishing.plots import plot_changes, plot_training
from train.publishing.rows import metric_rows

LOG = [
    {"step": step, "logps/chosen": -1.0, "logps/rejected": -2.0} | {f"loss/{term.name}": 1.0 / step for term in TERMS}
    for step in (1, 2)
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, which need not be rendered."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_args, **_options: drawn.append(figure))
    return drawn


@pytest.mark.parametrize(
    ("trained", "labels"),
    [
        (["ce", "dpo"], ["cross-entropy", "DPO"]),
        (["dpo", "replay"], ["DPO", "replay"]),
        ([term.name for term in TERMS], [term.label for term in TERMS]),
    ],
)
def test_the_loss_terms_that_are_trained_on_are_drawn_and_no_others(
    trained: list[str], labels: list[str], figures: list[Figure]
) -> None:
    plot_training(LOG, {term.name: float(term.name in trained) for term in TERMS})
    loss, logprobs = figures[0].axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == labels
    assert len({(line.get_linestyle(), line.get_color()) for line in loss.lines}) == len(trained)
    assert [line.get_ydata().tolist() for line in logprobs.lines] == [[-1, -1], [-2, -2]]  # type: ignore[union-attr]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("log", [[{"step": 1, "loss/decline_ce": 0.5}], []])
def test_without_pairs_there_are_no_log_probabilities_of_answers(
    log: list[dict[str, float]], figures: list[Figure]
) -> None:
    plot_training(log, {"decline_ce": 1.0})
    (loss,) = figures[0].axes
    assert len(loss.lines) == len(log)


def test_each_change_is_drawn_with_its_interval_and_its_question_specific_gain(figures: list[Figure]) -> None:
    """Three metrics, one with a control; a user's name of a set is no mathematics."""
    plot_changes(metric_rows(RESULTS))
    (axes,) = figures[0].axes
    points = sorted(line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o")  # type: ignore[index]
    assert points == [-0.05, 0.0, 0.025, 0.125]
    intervals = sorted(tuple(segment[:, 0]) for lines in axes.collections for segment in lines.get_segments())  # type: ignore[attr-defined]
    assert intervals == [(-0.2, 0.1), (-0.1, 0.2), (0.0, 0.0), (0.025, 0.25)]
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == ["<b>own</b> contrast_accuracy", "nq f1", "nq contrast_accuracy"]
    assert not any(label.get_parse_math() for label in labels)


def test_the_pictures_are_png() -> None:
    with Image.open(BytesIO(plot_changes(metric_rows(RESULTS)))) as image:
        assert (image.format, image.width) == ("PNG", 720)
