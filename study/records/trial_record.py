"""What is known of one trial, and the choice of the best."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tl_core.config import DIRECTIONS, EpochMetrics, Metric, TrialConfig

Status = Literal["running", "done", "pruned", "failed", "interrupted"]
Kind = Literal["search", "confirm", "control", "winner"]
"""What a trial is for. `search`: tries a configuration. `confirm`: trains the best of a cell on a
fresh seed. `control`: does the same without the auxiliary task. `winner`: trains the winner again
for its weights, if nothing is confirmed."""

ENDED: tuple[Status, ...] = ("done", "pruned", "failed")
"""The endings of a trial that was not interrupted."""
FACTORS = {"mode", "train_ratio", "lr", "aux_weight"}
"""What a study searches."""


@dataclass
class TrialRecord:
    """One trial, updated while it runs."""

    trial: int
    """Its number in the study, from 0."""
    config: TrialConfig
    status: Status = "running"
    history: list[EpochMetrics] = field(default_factory=list)
    test: dict[str, float] = field(default_factory=dict)
    """Test scores; empty while searching."""
    started_at: float = field(default_factory=time.time)
    """Seconds since 1970."""
    wall_s: float = 0.0
    error: str | None = None
    """Why it failed."""
    kind: Kind = "search"
    source: int | None = None
    """For a trial after the search: the number of the search trial whose configuration it runs."""
    draw: int | None = None
    """For a trial of the search: its number among the configurations drawn, from 0."""
    node: str | None = None
    """On a cluster: the address of the node that it ended on."""

    def value(self, metric: Metric) -> float | None:
        """The metric after the last epoch; None before the first."""
        return float(getattr(self.history[-1], metric)) if self.history else None

    def row(self) -> dict[str, Any]:
        """One line of `trials.csv`."""
        factors = self.config.model_dump(include=FACTORS | {"seed", "seeds"})
        last = asdict(self.history[-1]) if self.history else {}
        last.pop("epoch", None)
        return {
            "trial": self.trial,
            "status": self.status,
            **factors,
            "epochs": len(self.history),
            **last,
            **self.test,
            "wall_s": round(self.wall_s, 3),
            **({"node": self.node} if self.node else {}),
            "error": self.error,
        }


def best_of(records: Iterable[TrialRecord], metric: Metric) -> TrialRecord | None:
    """Return the search's finished trial with the best last epoch; the earlier one on a tie."""
    sign = 1 if DIRECTIONS[metric] == "min" else -1
    finished = [r for r in records if r.kind == "search" and r.status == "done" and r.history]
    return min(finished, key=lambda r: (sign * (r.value(metric) or 0.0), r.trial), default=None)


def status_counts(records: Iterable[TrialRecord]) -> str:
    """Return how many trials have each status, as `3 done, 1 failed`."""
    counts = Counter(r.status for r in records)
    statuses = (*ENDED, "interrupted", "running")
    return ", ".join(f"{counts[status]} {status}" for status in statuses if counts[status])
