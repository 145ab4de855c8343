"""The tools of the drill on two hosts; who can make network namespaces runs the drill itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from deepspeed.launcher.runner import fetch_hostfile
from deepspeed.launcher.runner import parse_args as deepspeed
from torch.distributed.run import parse_args as torchrun

from scripts.drill_hosts import launched, run
from scripts.drilling.hosts import Host, wait

HOSTS = [Host(f"host{n}", "127.0.0.1" if n == 1 else "127.0.0.2", Path("disk"), Path("disk")) for n in (1, 2)]


def test_the_launchers_take_the_words_of_each_host(tmp_path: Path) -> None:
    for number in (0, 1):
        words = launched("torchrun", HOSTS, number, tmp_path)[1:]
        found = torchrun([*words, "--seed", "1"])
        place = found.node_rank, found.nnodes, found.nproc_per_node, found.master_addr, found.training_script
        assert place == (number, "2", "1", "127.0.0.1", "train/contrastive.py")
        words = launched("deepspeed", HOSTS, number, tmp_path)[1:]
        asked = deepspeed([*words, "--seed", "1"])
        place = asked.node_rank, asked.no_ssh, asked.master_addr, asked.user_script, asked.user_args
        assert place == (number, True, "127.0.0.1", "train/contrastive.py", ["--seed", "1"])
        assert fetch_hostfile(asked.hostfile) == {"127.0.0.1": 1, "127.0.0.2": 1}


def test_a_single_host_has_both_ranks(tmp_path: Path) -> None:
    words = launched("torchrun", HOSTS[:1], 0, tmp_path)
    assert torchrun(words[1:]).nproc_per_node == "2"
    launched("deepspeed", HOSTS[:1], 0, tmp_path)
    assert fetch_hostfile(tmp_path / "hostfile") == {"127.0.0.1": 2}


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
