"""The table and the page of a run, from a small result."""

import re
from pathlib import Path

import pytest

from tests.train.publishing.toy_run import ITEMS, RECIPE, RESULTS, item, write_run
from train.evaluation.evaluate import Evaluation
from train.publishing.report import comparison_table, flipped_questions, write_report, write_results
from train.publishing.run_folder import Run


def test_questions_whose_likelier_answer_changed_stand_by_how_far() -> None:
    flips = flipped_questions(ITEMS)
    assert [record["question"] for record in flips.to_truthful] == ["corrected", "corrected a bit"]
    assert [record["question"] for record in flips.to_hallucinated] == ["spoilt"]


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


def write_page(folder: Path, **options: object) -> str:
    write_report(Run.read(write_run(folder, **options)))  # type: ignore[arg-type]
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(tmp_path_factory.mktemp("page"))


def test_a_run_is_written_whole(tmp_path: Path) -> None:
    """The page is made from the files that are written, so it holds the questions of `items/`."""
    write_run(tmp_path)
    for name in ("results.json", "items/nq.jsonl"):
        (tmp_path / name).unlink()
    before, after = ({"nq": [each[moment] for each in ITEMS]} for moment in ("before", "after"))
    results = {**RESULTS, "benchmarks": {"nq": RESULTS["benchmarks"]["nq"]}}
    written = write_results(tmp_path, results, Evaluation(before, {}, {}), Evaluation(after, {}, {}))  # type: ignore[arg-type]
    run = Run.read(tmp_path)
    assert (run.results, run.items("nq")) == (written, ITEMS)
    assert written == {**results, "stages": written["stages"]}
    assert written["stages"]["report"]["seconds"] > 0
    assert "<dt>corrected a bit</dt>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_of_many_questions_the_page_shows_some_and_says_so(tmp_path: Path) -> None:
    many = write_page(tmp_path, items=[item(f"question {number}", -1.0, 1.0) for number in range(30)])
    assert "30 to the truthful answer" in many
    assert many.count("<dt>") == 12
    assert "the 12 that changed most" in many


def test_the_page_shows_which_questions_changed(page: str) -> None:
    corrected, spoilt = page.split("<details")[1:]
    assert "2 to the truthful answer" in corrected
    assert corrected.index("<dt>corrected</dt>") < corrected.index("<dt>corrected a bit</dt>")
    assert '<dd class="now truthful">&lt;script&gt;yes</dd><dd class="was hallucinated">&lt;i&gt;no</dd>' in corrected
    assert "1 to the hallucinated answer" in spoilt
    assert '<dd class="now hallucinated">&lt;i&gt;no</dd>' in spoilt


def test_every_picture_has_a_text(page: str) -> None:
    pictures = re.findall(r"<img [^>]*>", page)
    assert len(pictures) == 3
    assert all(len(re.search(r'alt="([^"]*)"', picture)[1]) > 20 for picture in pictures)  # type: ignore[index]


def test_the_page_says_where_its_questions_are_from_and_leaves_out_what_was_not_measured(
    page: str, tmp_path: Path
) -> None:
    other = write_page(tmp_path, results={**RESULTS, "samples": True, "retention": {}})
    assert "the small samples that eavss ships" in other
    assert "samples" not in page
    assert cells(page, "What it cost")[1:] == [["wikitext", "perplexity", "20.000", "21.500"]]
    assert "What it cost" not in other


def test_the_page_is_escaped(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; &lt;i&gt;toy" in page
    for tag in ("<b>", "<i>"):
        assert tag not in page


def test_the_page_shows_the_recipe(page: str) -> None:
    assert RECIPE.replace("<", "&lt;").replace(">", "&gt;") in page


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
    assert header[-1] == "question-specific gain"
    assert rows == [
        ["nq", "contrast_accuracy", "7", "0.500", "0.625", "+0.125", "+0.025 to +0.250", "+0.025 ~"],
        ["nq", "f1", "7", "0.250", "0.200", "-0.050 ~", "-0.200 to +0.100", ""],
        ["&lt;b&gt;own&lt;/b&gt;", "contrast_accuracy", "3", "1.000", "1.000", "+0.000 ~", "+0.000 to +0.000", ""],
    ]


def test_the_page_shows_where_the_time_went(tmp_path: Path) -> None:
    stages = {"train": {"seconds": 84.0, "flops": 3e12}, "load": {"seconds": 42.0}}
    page = write_page(tmp_path, results={**RESULTS, "stages": stages})
    assert '<td>train</td><td><div class="bar" style="width: 12.00rem"></div></td><td>84.0</td><td>3.00</td>' in page
    assert '<td>load</td><td><div class="bar" style="width: 6.00rem"></div></td><td>42.0</td><td></td>' in page


def test_a_page_of_an_earlier_version_has_no_stages(page: str) -> None:
    assert "Where the time went" not in page
