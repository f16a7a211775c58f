"""How a row is measured: interleaved repeats, a median with its spread, and a fidelity gate."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

Direction = Literal["at least", "at most"]
Tell = Callable[[str], None]
"""Shows one line of progress."""


class SkippedError(Exception):
    """A row can't be measured on this machine; says why."""


@dataclass(frozen=True)
class Gate:
    """Whether both sides computed the same thing; a fast wrong answer is no result."""

    ok: bool
    text: str
    """What was compared, with the figures."""


@dataclass(frozen=True)
class Row:
    """One claim, measured."""

    name: str
    what: str
    unit: str = "x"
    """`x` for a ratio of baseline to ours."""
    median: float | None = None
    low: float | None = None
    """Least of the repeats."""
    high: float | None = None
    """Greatest of the repeats."""
    repeats: int = 0
    target: float | None = None
    direction: Direction = "at least"
    held: bool | None = None
    """Whether the median reaches the target; None without one, or when the row does not count."""
    gate_text: str = ""
    gate_ok: bool = True
    details: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""
    """Why it was not measured here."""


def measured(
    name: str,
    what: str,
    values: Sequence[float],
    gate: Gate,
    *,
    unit: str = "x",
    target: float | None = None,
    direction: Direction = "at least",
    details: dict[str, Any] | None = None,
) -> Row:
    """Make a row of its repeats; one whose gate fails holds no number but those in `details`."""
    about = Row(name, what, unit, repeats=len(values), target=target, direction=direction)
    about = _replace(about, gate_text=gate.text, gate_ok=gate.ok, details=details or {})
    if not gate.ok:
        return about
    median = statistics.median(values)
    held = None if target is None else reaches(median, target, direction)
    return _replace(about, median=median, low=min(values), high=max(values), held=held)


def _replace(row: Row, **changes: Any) -> Row:
    return Row(**(vars(row) | changes))


def reaches(value: float, target: float, direction: Direction) -> bool:
    """Whether a value is on the right side of its target, or on it."""
    return value >= target if direction == "at least" else value <= target


def interleaved(
    baseline: Callable[[], float],
    ours: Callable[[], float],
    repeats: int,
    tell: Tell = lambda _: None,
    warm_up: bool = True,
) -> list[tuple[float, float]]:
    """Run A B A B ..., so that a drift of the machine meets both; one warm-up each is not counted.

    Returns:
        (what `baseline` gave, what `ours` gave), a pair a repeat.
    """
    if warm_up:
        baseline(), ours()
    rounds_ = rounds({"baseline": baseline, "ours": ours}, repeats, tell)
    return [(each["baseline"], each["ours"]) for each in rounds_]


def rounds(
    runs: Mapping[str, Callable[[], float]], repeats: int, tell: Tell = lambda _: None
) -> list[dict[str, float]]:
    """Run all of `runs` in turn, `repeats` times; what each gave, a round an item."""
    start, done = time.perf_counter(), []
    for number in range(1, repeats + 1):
        done.append({name: run() for name, run in runs.items()})
        spent = time.perf_counter() - start
        left = timedelta(seconds=round(spent / number * (repeats - number)))
        # Rows of milliseconds would tell more than anybody reads.
        if left.total_seconds() >= 2:
            tell(f"repeat {number} of {repeats}, ETA {left}")
    return done


def ratios(pairs: Sequence[tuple[float, float]]) -> list[float]:
    """Baseline over ours, pair by pair: how many times less ours takes, if these are seconds."""
    return [baseline / ours for baseline, ours in pairs]


def seconds(run: Callable[[], object]) -> Callable[[], float]:
    """Turn a run into one that says how long it took."""

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return timed


def agree(what: str, ours: float, other: float, within: float) -> Gate:
    """Gate on two numbers that may differ by `within` at most."""
    apart = abs(ours - other)
    # Not `apart > within`: that would let NaN through.
    ok = apart <= within
    return Gate(ok, f"{what} {ours:.6g} against {other:.6g}, {apart:.2g} apart (most {within:g})")


def all_of(gates: Sequence[Gate]) -> Gate:
    """Hold if all hold; tell those that fail, or else all."""
    if not gates:
        return Gate(False, "nothing was compared")
    failed = [gate.text for gate in gates if not gate.ok]
    told = dict.fromkeys(failed or [gate.text for gate in gates])  # Each text once.
    return Gate(not failed, "; ".join(told))
