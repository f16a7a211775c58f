"""How a row is measured: interleaved repeats, a median with its spread, and a fidelity gate."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing import get_context
from typing import Any, Literal

Direction = Literal["at least", "at most"]
Log = Callable[[str], None]
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
    high: float | None = None
    """Least (`low`) and greatest of the repeats."""
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


def verdict(row: Row) -> str:
    """How a row came out, in one or two words."""
    if row.skipped:
        return "skipped"
    if not row.gate_ok:
        return "gate failed"
    return {True: "held", False: "missed", None: "measured"}[row.held]


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
    about: dict[str, Any] = {"unit": unit, "repeats": len(values), "target": target}
    about |= {"direction": direction, "details": details or {}}
    row = Row(name, what, gate_text=gate.text, gate_ok=gate.ok, **about)
    if not gate.ok:
        return row
    median = statistics.median(values)
    held = None
    if target is not None:  # NaN misses it.
        held = median >= target if direction == "at least" else median <= target
    return replace(row, median=median, low=min(values), high=max(values), held=held)


def interleaved(
    baseline: Callable[[], float],
    ours: Callable[[], float],
    repeats: int,
    log: Log,
    warm_up: bool = True,
) -> list[tuple[float, float]]:
    """Run A B A B ..., so that both see the same drift of the machine.

    One warm-up of each is not counted. Returns a pair (baseline, ours) a repeat.
    """
    if warm_up:
        baseline(), ours()
    found = rounds({"baseline": baseline, "ours": ours}, repeats, log)
    return [(each["baseline"], each["ours"]) for each in found]


def rounds(
    runs: Mapping[str, Callable[[], float]], repeats: int, log: Log = lambda _: None
) -> list[dict[str, float]]:
    """Run all of `runs` in turn, `repeats` times; returns the results, a round an item."""
    start, done = time.perf_counter(), []
    for number in range(1, repeats + 1):
        done.append({name: run() for name, run in runs.items()})
        spent = time.perf_counter() - start
        left = timedelta(seconds=round(spent / number * (repeats - number)))
        if left.total_seconds() >= 2:  # Rows of milliseconds would fill the screen.
            log(f"repeat {number} of {repeats}, ETA {left}")
    return done


def together(
    work: Callable[..., None], processes: int, *given: Any, patience_s: float
) -> list[Any]:
    """Run `work(*given, wait, found)` in several processes at once; returns what they `found.put`.

    `wait(seconds)` returns once all processes have called it.
    """
    context = get_context("spawn")
    barrier, found = context.Barrier(processes), context.Queue()
    args = (*given, barrier.wait, found)
    started = [context.Process(target=work, args=args) for _ in range(processes)]
    for process in started:
        process.start()
    try:
        return [found.get(timeout=patience_s) for _ in started]
    finally:
        for process in started:
            process.join(10)
            process.kill()


def agree(what: str, ours: float, other: float, within: float) -> Gate:
    """Gate on two numbers that may differ by `within` at most; NaN fails it."""
    apart = abs(ours - other)
    return Gate(
        apart <= within,
        f"{what} {ours:.6g} against {other:.6g}, {apart:.2g} apart (most {within:g})",
    )


def all_of(gates: Sequence[Gate]) -> Gate:
    """Hold if all hold; the text has each failure once, or else each gate once."""
    if not gates:
        return Gate(False, "nothing was compared")
    failed = [gate.text for gate in gates if not gate.ok]
    texts = dict.fromkeys(failed or [gate.text for gate in gates])
    return Gate(not failed, "; ".join(texts))
