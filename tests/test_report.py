"""The report's page and table."""

from pathlib import Path

from eavss.plots import plot_profile
from train.report import comparison_table, write_report

RESULTS = {
    "model": "<script>alert(1)</script>",
    "dataset": "toy",
    "selected": [1],
    "benchmarks": {"nq": {"n": 7, "before": {"contrast_accuracy": 0.5}, "after": {"contrast_accuracy": 0.625}}},
    "train": {"steps": 3, "seconds": 2.0, "pairs_per_second": 6.0},
}
LAYERS = {
    "layers": [{"layer": i, "avss": {"scale_free": 1.0}, "hsav": 0.1, "eavss": {"contrast": 0.2}} for i in range(3)],
    "selector": "eavss",
    "questions": 9,
}


def test_the_table_shows_the_change() -> None:
    assert "nq           contrast_accuracy       7    0.500    0.625   +0.125" in comparison_table(
        RESULTS["benchmarks"]
    )


def test_the_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    plot_profile(LAYERS["layers"], [1], "title", tmp_path / "layers.png")
    write_report(tmp_path, RESULTS, LAYERS, {"dataset": "<b>toy</b>"})
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>toy</b>" not in page
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "+0.125" in page
