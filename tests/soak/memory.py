"""Memory of a study's processes over time, and whether it grows with the trials."""

import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

_EVERY_S = 1.0
LEAST_TRIALS = 100
"""Fewest trials of a life for a growth rate: at first, imports and caches dominate."""


class Sample(NamedTuple):
    """One process at one moment."""

    trials: int
    """Trials of the study that had ended by then."""
    role: str
    process: int
    anon_mb: float
    """Allocated memory (RssAnon). Pages of files, such as torch's libraries, depend on what other
    processes map, so they show no leak."""
    rss_mb: float


def sample(role: str, process: int, trials: int) -> Sample | None:
    """The memory of a process; None once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    if "RssAnon" not in fields:  # A zombie.
        return None
    anon, rss = (int(fields[name].split()[0]) / 1000 for name in ("RssAnon", "VmRSS"))
    return Sample(trials, role, process, round(anon, 1), round(rss, 1))


class Watch:
    """Samples the processes that `roles` returns, in a thread, until the `with` block ends."""

    def __init__(
        self, roles: Callable[[], Mapping[str, Sequence[int]]], ended: Callable[[], int]
    ) -> None:
        self.samples: list[Sample] = []
        self._roles, self._ended = roles, ended
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            trials = self._ended()
            for role, there in self._roles().items():
                found = [sample(role, process, trials) for process in there]
                self.samples += [one for one in found if one]


@dataclass(frozen=True)
class Growth:
    """The memory of one process over its life."""

    role: str
    lives: int
    """Number of processes of this role; this is the one that saw the most trials."""
    trials: int
    """Trials of the study during its life."""
    early_mb: float
    """Median over the second quarter of its life."""
    late_mb: float
    """Median over the last quarter."""
    mb_per_100_trials: float | None
    """From early to late; None for a life over fewer than `LEAST_TRIALS`."""
    peak_rss_mb: float
    series: list[tuple[int, float]]
    """(Trials ended, MB); some of the samples."""


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """The longest life of each role, up to the last trial's end: the report comes after it."""
    by_role: dict[str, list[list[Sample]]] = {}
    last = max((s.trials for s in samples), default=0)
    during = [s for s in samples if s.trials < last]
    ordered = sorted(during, key=lambda s: (s.role, s.process))
    for (role, _), life in groupby(ordered, key=lambda s: (s.role, s.process)):
        by_role.setdefault(role, []).append(list(life))
    return [_growth(max(lives, key=_span), len(lives)) for lives in by_role.values()]


def _span(life: Sequence[Sample]) -> int:
    return life[-1].trials - life[0].trials


def _growth(life: list[Sample], lives: int) -> Growth:
    quarter = max(1, len(life) // 4)
    early, late = life[quarter : 2 * quarter] or life, life[-quarter:]
    before, after = (_median(part, "anon_mb") for part in (early, late))
    trials = _median(late, "trials") - _median(early, "trials")
    enough = _span(life) >= LEAST_TRIALS
    return Growth(
        role=life[0].role,
        lives=lives,
        trials=_span(life),
        early_mb=round(before, 1),
        late_mb=round(after, 1),
        mb_per_100_trials=round(100 * (after - before) / trials, 2) if enough else None,
        peak_rss_mb=max(s.rss_mb for s in life),
        series=[(s.trials, s.anon_mb) for s in life[:: 1 + len(life) // 40]],
    )


def _median(part: Sequence[Sample], name: str) -> float:
    values: list[Any] = [getattr(s, name) for s in part]
    return float(statistics.median(values))
