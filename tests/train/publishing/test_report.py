"""The report's page and table, from a small result."""

import re
from pathlib import Path
from typing import Any

import pytest

from eavss.plots import plot_profile
from train.publishing.report import comparison_rows, comparison_table, flipped_questions, write_report


def change(difference: float, low: float, high: float) -> dict[str, Any]:
    return {"difference": difference, "interval": [low, high], "mcnemar_p": None, "noise": low <= 0 <= high}


RESULTS: dict[str, Any] = {
    "model": "<script>alert(1)</script>",
    "dataset": "a & <i>toy</i>",
    "selected": [1],
    "benchmarks": {
        "nq": {
            "n": 7,
            "before": {"contrast_accuracy": 0.5, "f1": 0.25},
            "after": {"contrast_accuracy": 0.625, "f1": 0.2},
            "change": {"contrast_accuracy": change(0.125, 0.025, 0.25), "f1": change(-0.05, -0.2, 0.1)},
            "hidden": {
                "before": {"contrast_accuracy": 0.5},
                "after": {"contrast_accuracy": 0.6},
                "change": {"contrast_accuracy": change(0.1, 0.0, 0.2)},
                "gained": {"contrast_accuracy": change(0.025, -0.1, 0.2)},
            },
            "length_rule": {"longest_contrast": 0.5},
        },
        "<b>own</b>": {
            "n": 3,
            "before": {"contrast_accuracy": 1.0},
            "after": {"contrast_accuracy": 1.0},
            "change": {"contrast_accuracy": change(0.0, 0.0, 0.0)},
            "length_rule": {"longest_contrast": 0.5},
        },
    },
    "retention": {"wikitext": {"before": {"n": 40, "perplexity": 20.0}, "after": {"n": 40, "perplexity": 21.5}}},
    "samples": False,
    "train": {
        "steps": 3,
        "seconds": 2.0,
        "pairs_per_second": 6.0,
        "log": [{"step": s, "loss/ce": 2.0 / s, "logps/chosen": -s, "logps/rejected": -2 * s} for s in (1, 2, 3)],
    },
}
LAYERS = {
    "layers": [
        {
            "layer": i,
            "avss": {"scale_free": 1.0},
            "hsav": 0.1,
            "eavss": {"contrast": 0.2},
            "bootstrap": {"interval": [0.1, 0.3], "frequency": 0.5},
        }
        for i in range(3)
    ],
    "stability": {"verdict": "Some blocks respond & the ranking is steady."},
    "selector": "eavss",
    "questions": 9,
}


def record(question: str, margin: float) -> dict[str, Any]:
    scores = {"metrics": [margin - 3.0, -3.0], "hidden": [-margin, 0.0]}
    return {"question": question, "truthful": "<script>yes", "wrong": "<i>no", "per_token": scores}


_TURNED = flipped_questions(
    [record("stays", 0.1), record("mended a bit", -0.1), record("spoilt", 0.3), record("mended", -0.1)],
    [record("stays", 2.0), record("mended a bit", 0.1), record("spoilt", -0.1), record("mended", 0.5)],
)
TURNED = {"nq": _TURNED}


def test_questions_that_turned_stand_by_how_far() -> None:
    found = {kind: [each["question"] for each in records] for kind, records in TURNED["nq"].items()}
    assert found == {"mended": ["mended", "mended a bit"], "spoilt": ["spoilt"]}


def test_of_many_that_turned_the_page_shows_some_and_says_so(tmp_path: Path) -> None:
    before, after = ([record(f"question {number}", margin) for number in range(30)] for margin in (-1.0, 1.0))
    plot_profile(LAYERS["layers"], [1], "title", tmp_path / "layers.png")
    write_report(tmp_path, RESULTS, LAYERS, "", {"nq": flipped_questions(before, after)})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "30 to the truthful answer" in page
    assert page.count("<dt>") == 12
    assert "the 12 that changed most" in page


def test_the_page_shows_which_questions_turned(page: str) -> None:
    mended, spoilt = page.split("<details")[1:]
    assert "2 to the truthful answer" in mended
    assert mended.index("<dt>mended</dt>") < mended.index("<dt>mended a bit</dt>")
    assert '<dd class="now truthful">&lt;script&gt;yes</dd><dd class="was hallucinated">&lt;i&gt;no</dd>' in mended
    assert '<dd class="now hallucinated">&lt;i&gt;no</dd>' in spoilt


def test_every_picture_has_a_text(page: str) -> None:
    pictures = re.findall(r"<img [^>]*>", page)
    assert len(pictures) == 3
    assert all(len(re.search(r'alt="([^"]*)"', picture)[1]) > 20 for picture in pictures)  # type: ignore[index]


def test_the_page_says_where_its_questions_are_from(page: str, tmp_path: Path) -> None:
    assert "samples" not in page
    write_report(tmp_path, RESULTS | {"samples": True}, LAYERS, "", {})
    assert "the small samples that eavss ships" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_row_for_each_set_and_metric_with_what_was_gained_on_the_question() -> None:
    """Hidden the contrast rises by .1 of its .125: .025 was gained on the question, within noise; f1 has no control."""
    rows = comparison_rows(RESULTS)
    assert [(row["set"], row["metric"]) for row in rows] == [
        ("nq", "contrast_accuracy"),
        ("nq", "f1"),
        ("<b>own</b>", "contrast_accuracy"),
    ]
    assert [row["question_gain"] for row in rows] == [change(0.025, -0.1, 0.2), None, None]
    assert (rows[0]["before"], rows[0]["after"], rows[0]["difference"]) == (0.5, 0.625, 0.125)
    assert [row["noise"] for row in rows] == [False, True, True]


def test_the_table() -> None:
    lines = comparison_table(RESULTS).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "set metric n before after change 95% interval on the question",
        "nq contrast_accuracy 7 0.500 0.625 +0.125 [+0.025, +0.250] +0.025 ~",
        "nq f1 7 0.250 0.200 -0.050 ~ [-0.200, +0.100]",
        "<b>own</b> contrast_accuracy 3 1.000 1.000 +0.000 ~ [+0.000, +0.000]",
        "wikitext perplexity 40 20.000 21.500 +1.500",
        "~ noise could explain the change: its 95% interval (paired bootstrap by question) holds 0",
    ]
    figures = lines[1:4]
    assert len({line.index("[") for line in figures}) == 1, "the columns should stand below each other"


@pytest.fixture
def page(tmp_path: Path) -> str:
    plot_profile(LAYERS["layers"], [1], "title", tmp_path / "layers.png")
    write_report(tmp_path, RESULTS, LAYERS, "dataset: <b>toy</b>", TURNED)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_is_escaped(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; &lt;i&gt;toy" in page
    for tag in ("<b>", "<i>"):
        assert tag not in page


def test_the_page_is_self_contained(page: str) -> None:
    assert "data:image/png;base64," in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    for outside in ("http://", "https://", "url(", "@import", "<link"):
        assert outside not in page


def cells(page: str, heading: str) -> list[list[str]]:
    table = page.split(f"<h2>{heading}</h2>")[1].split("</table>")[0]
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]


def test_the_page_shows_the_change_with_its_interval_noise_and_control(page: str) -> None:
    header, *rows = cells(page, "Before and after")
    assert header[-1] == "gained on the question"
    assert rows == [
        ["nq", "contrast_accuracy", "7", "0.500", "0.625", "+0.125", "+0.025 to +0.250", "+0.025 ~"],
        ["nq", "f1", "7", "0.250", "0.200", "-0.050 ~", "-0.200 to +0.100", ""],
        ["&lt;b&gt;own&lt;/b&gt;", "contrast_accuracy", "3", "1.000", "1.000", "+0.000 ~", "+0.000 to +0.000", ""],
    ]


def test_the_page_shows_what_training_cost_if_it_was_measured(page: str, tmp_path: Path) -> None:
    assert cells(page, "What it cost")[1:] == [["wikitext", "perplexity", "20.000", "21.500"]]
    write_report(tmp_path, RESULTS | {"retention": {}}, LAYERS, "", {})
    assert "What it cost" not in (tmp_path / "report.html").read_text(encoding="utf-8")
