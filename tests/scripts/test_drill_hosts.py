"""The tools of the drill on two hosts; who can make network namespaces runs the drill itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.drill_hosts import LOSSES, launched, run
from scripts.drilling.hosts import Host, wait
from train.recipe.arguments import REPOSITORY

HOSTS = [Host(f"host{n}", "127.0.0.1" if n == 1 else "127.0.0.2", Path("disk"), Path("disk")) for n in (1, 2)]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("launcher", sorted({loss.launcher for loss in LOSSES}))
def test_the_launchers_start_two_ranks(launcher: str, count: int, tmp_path: Path) -> None:
    """They run a script that writes down where its rank is."""
    script = tmp_path / "rank.py"
    names = "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"
    script.write_text(
        f"import os, pathlib\nplace = ' '.join(os.environ[name] for name in {names})\n"
        f"pathlib.Path({str(tmp_path)!r}, os.environ['RANK']).write_text(place)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    processes = [
        subprocess.Popen(
            [
                str(script) if word == "train/contrastive.py" else word
                for word in launched(launcher, HOSTS[:count], n, [])
            ],
            env=environment,
        )
        for n in range(count)
    ]
    assert wait(processes, 100) == [0] * count
    found = [(tmp_path / str(rank)).read_text() for rank in (0, 1)]
    assert found == [f"{rank} {rank if count == 1 else 0} 2 127.0.0.1" for rank in (0, 1)]


def test_a_command_that_does_not_end_is_killed() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert wait([subprocess.Popen(sleep), subprocess.Popen(["false"])], 1) == [None, 1]


def test_what_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "kept").touch()
    assert run(["--output_dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: drill_hosts: there is no command ip; install iproute2\n"
    assert (tmp_path / "kept").exists()
