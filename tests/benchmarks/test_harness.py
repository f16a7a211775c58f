import math
from collections.abc import Callable, Iterator

import pytest

from benchmarks.speed.harness import (
    Direction,
    Gate,
    agree,
    all_of,
    interleaved,
    measured,
    ratios,
    reaches,
    rounds,
    seconds,
)

HOLDS = Gate(True, "same")


def counter(calls: list[str], name: str, values: list[float]) -> Callable[[], float]:
    """Gives `values` in turn and writes down that it was called."""
    left: Iterator[float] = iter(values)

    def run() -> float:
        calls.append(name)
        return next(left)

    return run


def test_interleaved_runs_in_turn_and_does_not_count_the_warm_up() -> None:
    calls: list[str] = []
    baseline = counter(calls, "a", [100, 6, 8, 9])
    ours = counter(calls, "b", [100, 2, 2, 3])
    pairs = interleaved(baseline, ours, 3)
    assert calls == ["a", "b"] * 4
    assert pairs == [(6, 2), (8, 2), (9, 3)]
    assert ratios(pairs) == [3, 4, 3]


def test_rounds_tell_what_is_left_of_long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 30.0, 60.0, 90.0])
    monkeypatch.setattr("benchmarks.speed.harness.time.perf_counter", lambda: next(clock))
    told: list[str] = []
    found = rounds({"x": lambda: 1.0, "y": lambda: 2.0}, 3, told.append)
    assert found == [{"x": 1.0, "y": 2.0}] * 3
    assert told == ["repeat 1 of 3, ETA 0:01:00", "repeat 2 of 3, ETA 0:00:30"]


def test_seconds_times_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([5.0, 7.5])
    monkeypatch.setattr("benchmarks.speed.harness.time.perf_counter", lambda: next(clock))
    assert seconds(lambda: None)() == 2.5


def test_a_row_holds_median_and_spread_of_its_repeats() -> None:
    row = measured("fast", "time", [4, 1, 3], HOLDS, target=3, details={"n": 7})
    assert (row.median, row.low, row.high, row.repeats) == (3, 1, 4, 3)
    assert row.held is True
    assert row.details == {"n": 7}


def test_a_row_whose_gate_fails_has_no_number() -> None:
    row = measured("fast", "time", [4, 1, 3], Gate(False, "1 against 2"), target=3)
    assert (row.median, row.low, row.high, row.held) == (None, None, None, None)
    assert (row.gate_ok, row.gate_text) == (False, "1 against 2")


def test_a_row_without_a_target_neither_holds_nor_misses() -> None:
    assert measured("fast", "time", [1], HOLDS).held is None


@pytest.mark.parametrize(
    ("value", "direction", "expected"),
    [
        (2.0, "at least", True),
        (1.9, "at least", False),
        (2.0, "at most", True),
        (2.1, "at most", False),
        (math.nan, "at least", False),
        (math.nan, "at most", False),
    ],
)
def test_reaches(value: float, direction: Direction, expected: bool) -> None:
    assert reaches(value, 2.0, direction) is expected


@pytest.mark.parametrize(
    ("ours", "ok"), [(0.5009, True), (0.4992, True), (0.502, False), (math.nan, False)]
)
def test_agree(ours: float, ok: bool) -> None:
    assert agree("loss", ours, 0.5, 1e-3).ok is ok


def test_agree_tells_the_figures() -> None:
    assert agree("loss", 0.75, 0.5, 0.1).text == "loss 0.75 against 0.5, 0.25 apart (most 0.1)"


def test_all_of_tells_what_failed_or_else_all() -> None:
    one, two, bad = Gate(True, "one"), Gate(True, "two"), Gate(False, "bad")
    assert all_of([one, two, one]) == Gate(True, "one; two")
    assert all_of([one, bad, two]) == Gate(False, "bad")
    assert all_of([]) == Gate(False, "nothing was compared")
