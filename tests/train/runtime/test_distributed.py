"""Ranks print once and divide work; tests/jobs runs them for real."""

import sys

import pytest
import torch

from tests.ranks import on_two_ranks
from train.runtime import distributed
from train.runtime.distributed import (
    fail,
    from_each,
    from_main,
    highest_of_ranks,
    is_host_main_process,
    is_main_process,
    join_bytes,
    joining,
    leave,
    map_sharded,
    on_any_rank,
    say,
)
from train.runtime.errors import RecipeError


def test_one_process_does_all_the_work() -> None:
    assert map_sharded(lambda item: item * 2, [1, 2, 3], "doubling") == [2, 4, 6]
    assert map_sharded(lambda item: item, [], "nothing") == []
    assert from_main(lambda: "here") == "here"
    assert from_each("here") == ["here"]
    assert [on_any_rank(flag, torch.device("cpu")) for flag in (True, False)] == [True, False]


def test_off_a_terminal_long_work_leaves_a_line_and_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    map_sharded(lambda item: item, [1, 2], "short")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(distributed, "_LONG", 0.0)
    map_sharded(lambda item: item, [1, 2], "long")
    assert capsys.readouterr() == ("long: 0 s\n", "")


def test_a_terminal_shows_a_bar_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(distributed, "_LONG", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    map_sharded(lambda item: item, [1, 2], "long")
    out, err = capsys.readouterr()
    assert out == ""
    assert "long: 100%" in err


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


def test_each_machine_has_a_rank_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    for local, first in (("0", True), ("1", False)):
        monkeypatch.setenv("LOCAL_RANK", local)
        assert is_host_main_process() == first


def test_two_ranks_share_the_work_and_both_get_all_of_it() -> None:
    def work(rank: int) -> object:
        done: list[int] = []
        found = map_sharded(lambda item: done.append(item) or item * 10, list(range(5)), "work")  # type: ignore[func-returns-value]
        flags = [on_any_rank(flag, torch.device("cpu")) for flag in (rank == 1, False)]
        highest = highest_of_ranks(-1.5 - rank, torch.device("cpu"))
        return done, found, from_main(lambda: rank), from_each(rank), flags, highest

    rest = ([0, 10, 20, 30, 40], 0, [0, 1], [True, False], -1.5)
    assert on_two_ranks(work) == [([0, 2, 4], *rest), ([1, 3], *rest)]


def test_the_main_ranks_mistake_ends_every_rank() -> None:
    """A launcher on another machine does not see that the main rank has ended."""

    def work(rank: int) -> str:
        def fails() -> None:
            raise RecipeError(f"a mistake on rank {rank}")

        with pytest.raises(RecipeError) as raised:
            from_main(fails)
        return str(raised.value)

    assert on_two_ranks(work) == ["a mistake on rank 0"] * 2


def test_the_others_join_in_what_the_main_rank_does() -> None:
    """As where it runs a model that is divided among the ranks."""

    def vote(wanted: int) -> int:
        votes = torch.tensor(wanted)
        torch.distributed.all_reduce(votes)
        return int(votes)

    def join() -> None:
        while vote(0):
            pass

    def work(_rank: int) -> int:
        joining(join)
        try:
            return from_main(lambda: vote(1) + vote(1))
        finally:
            leave(join)

    assert on_two_ranks(work) == [2, 2]


def test_each_rank_gets_the_bytes_that_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """-0.0 and NaN keep their bits, and a message may end inside a number."""
    monkeypatch.setattr(distributed, "_MESSAGE", 5)
    whole = torch.tensor([[-0.0, float("nan"), -1.5], [0.0, float("inf"), 3e-39]], dtype=torch.bfloat16)

    def work(rank: int) -> object:
        rows = torch.zeros_like(whole)
        rows[rank] = whole[rank]
        join_bytes(rows, torch.device("cpu"))
        return rows.view(torch.int16).tolist()

    assert on_two_ranks(work) == [whole.view(torch.int16).tolist()] * 2
