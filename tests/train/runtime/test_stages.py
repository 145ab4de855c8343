"""The clock of a run's stages, by a time that is made here."""

import pytest

from train.runtime import stages
from train.runtime.stages import StageClock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test moves."""
    moment = [100.0]
    monkeypatch.setattr(stages.time, "perf_counter", lambda: moment[0])
    return moment


def seconds(clock: StageClock) -> dict[str, float]:
    return {name: found["seconds"] for name, found in clock.figures().items()}


def test_a_stage_inside_another_keeps_its_time_to_itself(now: list[float]) -> None:
    clock = StageClock()
    now[0] += 1
    with clock.stage("outer"):
        now[0] += 2
        with clock.stage("inner"):
            now[0] += 4
        now[0] += 8
    now[0] += 16
    assert seconds(clock) == {"outer": 10.0, "inner": 4.0, "other": 17.0}
    assert list(clock.figures()) == ["outer", "inner", "other"]


def test_a_decorated_function_adds_up_and_counts_what_fails(now: list[float]) -> None:
    clock = StageClock()

    @clock.stage("work")
    def work(fails: bool) -> None:
        now[0] += 3
        clock.count(5.0)
        if fails:
            raise ValueError("it fails")

    work(False)
    with pytest.raises(ValueError, match="it fails"):
        work(True)
    assert clock.figures() == {"work": {"seconds": 6.0, "flops": 10.0}, "other": {"seconds": 0.0}}


def test_a_stage_is_divided_by_weights(now: list[float]) -> None:
    clock = StageClock()
    for _ in range(2):
        with clock.stage("both"):
            now[0] += 8
            clock.count(4.0)
        clock.divide("both", {"one": 3.0, "two": 1.0})
    assert seconds(clock) == {"one": 12.0, "two": 4.0, "other": 0.0}
    assert clock.figures()["one"] == {"seconds": 12.0, "flops": 6.0}


def test_a_started_clock_knows_how_old_the_process_is(now: list[float]) -> None:
    clock = StageClock()
    with clock.stage("before"):
        now[0] += 5
    clock.start()
    assert list(clock.figures()) == ["imports", "other"]
    assert clock.figures()["imports"]["seconds"] > 0
