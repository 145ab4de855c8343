"""The command that sums up finished runs."""

import json
from pathlib import Path

import pytest

from scripts.summarise_runs import run
from tests.train.comparison.toy_runs import write_runs


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return write_runs(tmp_path)


def test_it_prints_the_tables_and_writes_the_figures(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "summary.json"
    assert run([*map(str, folders), "--json", str(target)]) == 0
    summary, transfer, costs = capsys.readouterr().out.split("\n\n")
    assert "| sciq | sciq | acc |" in summary
    assert "| sciq | +37.5 ~ (+25.0) |" in transfer
    assert "| sciq | 10 | 5 | 3.0 |" in costs
    written = json.loads(target.read_text())
    assert written["costs"][0]["trained_on"] == "sciq"
    assert [row["set"] for row in written["metrics"]] == ["sciq", "nq", "nq"]


def test_a_users_mistake_is_one_line(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([str(tmp_path)]) == 2
    assert "is not the folder of a finished run" in capsys.readouterr().err
    assert run([str(folders[0]), str(folders[0])]) == 2
    assert "has the data set and seed of another run" in capsys.readouterr().err
    (folders[2] / "items" / "nq.jsonl").write_text("{")
    assert run([str(folders[2])]) == 2
    assert "does not hold the questions" in capsys.readouterr().err
