"""The picture of a comparison of selectors."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.train.comparison.toy_cells import CELLS, cell
from train.comparison.plots import plot_comparison
from train.comparison.selectors import summarise


def test_a_column_for_each_data_set_with_every_selector_in_both_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """At equal steps random blocks at 14 FLOPs gain less than EAVSS at 10, so the front is EAVSS alone; `all` ties it.

    At equal FLOPs `first` gains less than `last`.
    """
    equal_flops = [cell("last", 0, [0.5], budget="flops"), cell("first", 0, [0.25], budget="flops")]
    more = [cell("all", 0, [0.5], dataset="sciq", budget=budget) for budget in ("steps", "flops")]
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_args, **_options: drawn.append(figure))
    plot_comparison(summarise([*CELLS, *equal_flops, *more]), Path("unused.png"))
    above, other_above, below, other_below = drawn[0].axes
    assert [axes.get_title() for axes in (above, other_above)] == ["nq", "sciq"]
    assert sorted(text.get_text() for text in above.texts) == ["all", "eavss:contrast", "random"]
    (front,) = above.lines
    assert (list(front.get_xdata()), list(front.get_ydata())) == ([1e-11], [75.0])  # type: ignore[arg-type]
    assert [label.get_text() for label in below.get_yticklabels()] == ["first", "last"]
    assert [label.get_text() for label in other_below.get_yticklabels()] == ["all"]


def test_the_picture_is_png(tmp_path: Path) -> None:
    plot_comparison(summarise(CELLS), tmp_path / "gain.png")
    with Image.open(tmp_path / "gain.png") as image:
        assert (image.format, image.width) == ("PNG", 605)
