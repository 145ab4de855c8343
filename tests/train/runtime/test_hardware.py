"""Each process takes its share of the machine."""

import os
import platform
import re
from pathlib import Path

import pytest
import torch

from train.runtime.hardware import choose_dtype, peak_memory_bytes, prepare_process, release_memory


def test_a_named_dtype_is_that_dtype_and_auto_is_one_that_is_fast() -> None:
    assert choose_dtype("float32") is torch.float32
    assert choose_dtype("bfloat16") is torch.bfloat16
    assert choose_dtype("auto") in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize(("ranks", "expected"), [("1", 8), ("2", 4), ("16", 1)])
def test_ranks_divide_the_cores(ranks: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.setenv("LOCAL_SIZE", ranks)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    prepare_process()
    assert found == [expected]
    assert os.environ["OMP_NUM_THREADS"] == str(expected)


def test_the_users_number_of_threads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("the number of threads was changed"))
    prepare_process()
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_peak_memory_is_in_bytes() -> None:
    assert peak_memory_bytes() > 50_000_000  # this process has imported torch


def held_bytes() -> int:
    """What this process holds of its own, without files."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give memory back, or cannot be asked")
def test_what_was_freed_in_small_parts_is_given_back() -> None:
    """100 MB in parts below the C library's threshold for parts of their own (128 kB), with the last one in use."""
    parts = [torch.ones(25_000) for _ in range(1000)]
    last = parts.pop()
    parts.clear()
    before = held_bytes()
    release_memory()
    assert before - held_bytes() > 50_000_000
    assert last.sum() == 25_000
