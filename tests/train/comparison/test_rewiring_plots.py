"""The pictures of a sweep of rewirings."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.train.comparison.toy_rewirings import BLOCKS, SIMILARITY, TRIALS
from train.comparison.rewiring_plots import has_curves, plot_rewirings, plot_similarity


def test_a_row_for_each_figure_with_middles_and_single_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group 1, 3 is no middle of six blocks, so looped-parallel is not drawn."""
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_args, **_options: drawn.append(figure))
    plot_rewirings(TRIALS, BLOCKS, Path("unused.png"))
    axes = drawn[0].axes
    assert [each.get_ylabel() for each in axes[::2]] == ["kept above chance", "toy acc", "toy perplexity"]
    middles, singles = axes[2:4]
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in middles.lines[:2]}  # type: ignore[arg-type]
    assert lines == {"skipped": ([1, 2], [0.5, 0.75]), "shuffled": ([1], [0.5])}
    assert list(singles.lines[0].get_xdata()) == [1, 3]  # type: ignore[arg-type]
    assert [each.get_yscale() for each in axes[::2]] == ["linear", "linear", "log"]


def test_other_groups_alone_make_no_curves() -> None:
    assert has_curves(TRIALS, BLOCKS)
    assert not has_curves([trial for trial in TRIALS if trial["kind"] == "looped_parallel"], BLOCKS)


def test_the_pictures_are_png(tmp_path: Path) -> None:
    plot_rewirings(TRIALS, BLOCKS, tmp_path / "curves.png")
    plot_similarity(SIMILARITY, tmp_path / "similarity.png")
    for name, width in (("curves", 990), ("similarity", 605)):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert (image.format, image.width) == ("PNG", width)
