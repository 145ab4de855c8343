"""Ranks print once and divide work; tests/jobs runs them for real."""

import multiprocessing
import socket

import pytest
import torch.distributed

from train.runtime.distributed import fail, from_main, is_main_process, map_sharded, on_any_rank, say


def test_one_process_does_all_the_work() -> None:
    assert map_sharded(lambda item: item * 2, [1, 2, 3], "doubling") == [2, 4, 6]
    assert map_sharded(lambda item: item, [], "nothing") == []
    assert from_main(lambda: "here") == "here"
    assert [on_any_rank(flag, torch.device("cpu")) for flag in (True, False)] == [True, False]


def test_only_the_main_rank_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()
    say("not this")
    monkeypatch.setenv("RANK", "0")
    assert is_main_process()
    say("this")
    assert capsys.readouterr().out == "this\n"


def test_a_mistake_is_printed_and_gives_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("no such file") == 2
    assert capsys.readouterr().err == "error: no such file\n"


def work(rank: int, port: int, results: "multiprocessing.Queue[object]") -> None:
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    done: list[int] = []
    found = map_sharded(lambda item: done.append(item) or item * 10, list(range(5)), "work")  # type: ignore[func-returns-value]
    flags = [on_any_rank(flag, torch.device("cpu")) for flag in (rank == 1, False)]
    results.put((rank, done, found, from_main(lambda: rank), flags))
    torch.distributed.destroy_process_group()


def test_two_ranks_share_the_work_and_both_get_all_of_it() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    ranks = [context.Process(target=work, args=(rank, port, results)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    found = sorted(results.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(timeout=60)
    assert [done for _, done, *_ in found] == [[0, 2, 4], [1, 3]]
    assert [each for _, _, each, *_ in found] == [[0, 10, 20, 30, 40]] * 2
    assert [main for *_, main, _ in found] == [0, 0]
    assert [flags for *_, flags in found] == [[True, False]] * 2
