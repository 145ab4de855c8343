"""The drill's tools; `make drills` runs the drill."""

import os
import signal
from pathlib import Path

import pytest
import torch

from scripts.drilling.moments import MOMENTS, Moment, kill_at
from scripts.drilling.processes import Setup, run_ranks
from train import contrastive


def ended(act: object) -> int:
    """Return the status of a forked process that calls `act`."""
    if not (process := os.fork()):
        act()  # type: ignore[operator]
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment], ids=lambda moment: moment.name)
def test_every_moment_names_a_function(moment: Moment) -> None:
    assert ended(lambda: kill_at(moment)) == 0


@pytest.mark.parametrize(("when", "written"), [("before", [True, False]), ("after", [True, True])])
def test_a_process_kills_itself_at_a_call(when: str, written: list[bool], tmp_path: Path) -> None:
    def act() -> None:
        kill_at(Moment("a name", "train.runtime.files.write_text", 2, when))  # type: ignore[arg-type]
        from train.runtime import files

        for name in "abc":
            files.write_text(tmp_path / name, name)

    assert ended(act) == -signal.SIGKILL
    assert [(tmp_path / name).exists() for name in "ab"] == written
    assert not (tmp_path / "c").exists()


def test_a_file_is_half_written(tmp_path: Path) -> None:
    def act() -> None:
        kill_at(Moment("a name", "torch.save", 1, "half"))
        torch.save(torch.zeros(1000), tmp_path / "file.pt")

    assert ended(act) == -signal.SIGKILL
    whole = tmp_path / "whole.pt"
    torch.save(torch.zeros(1000), whole)
    assert abs((tmp_path / "file.pt").stat().st_size - whole.stat().st_size / 2) < 100


def test_the_others_are_ended_once_a_rank_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DeepSpeed's launcher does."""
    monkeypatch.setattr(contrastive, "run", lambda words: signal.pause())
    done = run_ranks(Setup(2, "zero2"), ["--seed", "1"], tmp_path, victim=1, seconds=0.1)
    assert done.statuses == [-signal.SIGTERM, -signal.SIGKILL]
    assert done.left == 0
    assert {path.name for path in tmp_path.iterdir()} == {"rank0.log", "rank1.log"}
