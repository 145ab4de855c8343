"""The picture of a study of active parameters."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.train.comparison.toy_activation import STUDY
from train.comparison.activation_plots import has_curves, plot_study


def test_a_panel_for_each_measure_and_a_curve_for_each_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_args, **_options: drawn.append(figure))
    plot_study(STUDY, Path("unused.png"))
    curves = [[(line.get_label(), list(line.get_ydata())) for line in axes.lines] for axes in drawn[0].axes]  # type: ignore[arg-type]
    assert [[name for name, _ in own] for own in curves] == [["a", "b"], ["one domain", "two domains"], ["stsb"]]
    assert curves[0][1][1] == [0.6, 0.4, 0.2, 0.0]
    assert curves[2][0][1] == [0.1, 0.2, 0.3, 0.4]


def test_a_part_alone_is_drawn(tmp_path: Path) -> None:
    study = {**STUDY, "activity": [], "similarity": []}
    assert has_curves(study)  # type: ignore[arg-type]
    plot_study(study, tmp_path / "part.png")  # type: ignore[arg-type]
    with Image.open(tmp_path / "part.png") as picture:
        assert picture.size == (650, 240)
    assert not has_curves({**STUDY, "activity": [], "similarity": [], "sentences": []})
