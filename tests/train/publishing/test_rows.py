"""The rows of a run's table."""

from tests.train.publishing.toy_run import RESULTS, change
from train.publishing.rows import metric_rows


def test_a_row_for_each_set_and_metric_with_its_question_specific_gain() -> None:
    """With the question hidden the contrast rises by .1 of its .125, so .025 is specific; f1 has no control."""
    rows = metric_rows(RESULTS)
    assert [(row.set, row.metric, row.n) for row in rows] == [
        ("nq", "contrast_accuracy", 7),
        ("nq", "f1", 7),
        ("<b>own</b>", "contrast_accuracy", 3),
    ]
    assert [row.question_gain for row in rows] == [change(0.025, -0.1, 0.2), None, None]
    assert (rows[0].before, rows[0].after, rows[0].change["difference"]) == (0.5, 0.625, 0.125)
    assert [row.change["noise"] for row in rows] == [False, True, True]
