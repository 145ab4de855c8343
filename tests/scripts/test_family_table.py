"""scripts/family_table.py: a few families go through the job here; docs/models.md shows all of them."""

from pathlib import Path

import pytest

from scripts.families.configs import FAMILIES
from scripts.families.measure import FamilyRow, measure
from scripts.families.zero3 import fault
from scripts.family_table import COLUMNS, TARGET, cells, page, run
from train.runtime.errors import ModelError

ON = "on"


@pytest.mark.parametrize(
    "family", ["Llama", pytest.param("Mixtral", marks=pytest.mark.slow), "Bamba", "MPT", "GPT-Neo"]
)
def test_a_family_works_and_no_shortcut_changes_an_answer(family: str, tmp_path: Path) -> None:
    """Two ranks that divide the mixture find what one process finds."""
    row = measure(family, tmp_path, export=False, zero3=family == "Mixtral")
    assert (row.status, row.reason) == ("works", "")
    assert row.zero3 == ("yes" if family == "Mixtral" else ""), (tmp_path / "zero3" / "rank0.log").read_text()
    for difference in (row.packed_difference, row.shared_prompt_difference, row.cache_difference):
        assert difference is not None
        assert difference < 1e-4
    assert row.replay
    assert row.counted_flops is not None
    assert row.counted_flops == pytest.approx(row.hand_flops, rel=0.2)
    assert (row.experts_share is None) == (family != "Mixtral")
    if family in ("Llama", "Mixtral"):
        assert (row.packed, row.cache, row.shared_prompts) == (ON, ON, ON)
    else:
        assert row.packed != ON
        assert "" not in cells(row)


@pytest.mark.parametrize(
    ("status", "log", "state"),
    [
        (2, "note: a\nerror: deepspeed: one line\n", "refused: deepspeed: one line"),
        (1, "Traceback (most recent call last):\nValueError: why\n", "fails: ValueError: why"),
        (-9, "", "fails: the ranks ended with [143, -9]"),
    ],
)
def test_what_ended_two_ranks_is_read_off_the_log_of_the_rank_that_failed(
    status: int, log: str, state: str, tmp_path: Path
) -> None:
    (tmp_path / "rank0.log").write_text("stopped: asked\n")
    (tmp_path / "rank1.log").write_text(log)
    assert fault(tmp_path, [143, status]) == state


def test_a_family_that_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    row = measure("Gemma 3n", tmp_path)
    assert row.status == "refused"
    assert row.reason.startswith("block 0 has states of shape")


def test_an_unknown_family_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--families", "Lama"]) == 2
    assert "--families: ['Lama'] should be among Llama, " in capsys.readouterr().err


def rows_of_page() -> list[list[str]]:
    table = TARGET.read_text(encoding="utf-8").partition(f"| {' | '.join(COLUMNS)} |\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]


def test_the_page_has_a_full_row_for_every_family() -> None:
    rows = rows_of_page()
    assert [row[0] for row in rows] == list(FAMILIES)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert all(all(row) for row in rows)


def test_no_family_of_the_page_fails_or_is_off_by_a_ten_thousandth() -> None:
    for row in rows_of_page():
        assert row[1] in ("works", "refused")
        used = [cell for cell in row[4:7] if not cell.startswith(("off", "-"))]
        assert all(float(cell) < 1e-4 for cell in used), row
        assert row[-1] in ("yes", "not run") or row[-1].startswith("refused: ") or row[1] == "refused", row


def test_the_page_is_made_of_rows() -> None:
    """A mixture at 60 of 50 FLOPs, one shortcut off, and a family that was refused."""
    works = FamilyRow("A", blocks=4, adapted_share=0.14, packed_difference=0.0, packed="0.4 nats off", replay=True)
    works.cache_difference, works.cache, works.counted_flops, works.hand_flops = 3e-7, "on", 60.0, 50.0
    works.zero3 = "off: it"
    assert cells(works) == ["A", "works", "4", "14%", "off: 0.4 nats off", "3e-07", "-", "yes", "1.20", "off: it"]
    works.experts_share = 0.99
    assert cells(works)[3] == "14%, 99% with experts"
    refused = FamilyRow("B", "refused", reason=str(ModelError("one | line")))
    assert cells(refused) == ["B", "refused", "none", *["-"] * 7]
    assert page([works, refused]).endswith("| B | one / line |\n")
