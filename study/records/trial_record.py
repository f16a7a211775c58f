"""What is known of one trial, and the choice of the best."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from study.config.settings import FACTORS
from tl_core.config import MODES, EpochMetrics, Metric, Mode, TrialConfig, sign
from tl_core.text import printable

Status = Literal["running", "done", "pruned", "failed", "interrupted"]
Kind = Literal["search", "repeat", "confirm", "control", "winner"]
"""What a trial is for. `search`: tries a configuration. `repeat`: trains one of the best three of a
cell again on three further seeds, scored on validation, before one is chosen. `confirm`: trains the
chosen one of a cell on a fresh seed. `control`: does the same without the auxiliary task. `winner`:
trains the winner once more, for its weights."""

ENDED: tuple[Status, ...] = ("done", "pruned", "failed")
"""The endings of a trial that was not interrupted."""
_OF_CONFIG = {
    "batchnorm", "min_steps", "schedule", "weight_decay", "head_lr_ratio", "layer_decay", "resize",
    "augment", "aux", "aux_on", "aux_target", "class_weights", "seed", "seeds",
}  # fmt: skip
"""Columns of `trials.csv` that a configuration has, beside the factors."""


class Trial(Protocol):
    """A trial that has been started, or is to be."""

    @property
    def config(self) -> TrialConfig:
        """Everything that decides its numbers."""

    @property
    def kind(self) -> Kind:
        """What it is for."""

    @property
    def trial(self) -> int | None:
        """Its number; None before it has one."""

    @property
    def source(self) -> int | None:
        """After the search: the number of the search trial whose configuration it runs."""


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
    outputs: str | None = None
    """Of a trial that confirms: hash of the file of its outputs (`study.records.outputs`)."""
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

    def value(self, metric: str) -> float | None:
        """The metric after the last epoch; None before the first."""
        value = self.history[-1].value(metric) if self.history else None
        return None if value is None else float(value)

    def cost(self, metric: str) -> float:
        """The metric after the last epoch, with the sign that makes less better; 0 before it."""
        return sign(metric) * (self.value(metric) or 0.0)

    def row(self) -> dict[str, Any]:
        """One line of `trials.csv`."""
        factors = self.config.model_dump(include={*FACTORS} | _OF_CONFIG)
        last = self.history[-1].plain() if self.history else {}
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


def as_text(error: str | None) -> str | None:
    """Escape what no table or terminal takes: names of files may hold bytes that are not UTF-8."""
    return error and "\n".join(map(printable, error.splitlines()))


def ranked(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """Return the search's finished trials by their last epoch, the best first, then the earlier."""
    finished = (r for r in records if r.kind == "search" and r.status == "done" and r.history)
    return sorted(finished, key=lambda r: (r.cost(metric), r.trial))


def best_of(records: Iterable[TrialRecord], metric: Metric) -> TrialRecord | None:
    """Return the search's finished trial with the best last epoch; the earlier one on a tie."""
    return next(iter(ranked(records, metric)), None)


def modes_of(records: Iterable[TrialRecord]) -> list[Mode]:
    """Return the modes of the records, in the order of `MODES`."""
    there = {record.config.mode for record in records}
    return [mode for mode in MODES if mode in there]


def tried(records: Iterable[TrialRecord]) -> int:
    """Return how many trials of the search have a score; those stopped early have one, too."""
    return sum(r.kind == "search" and r.status in ("done", "pruned") for r in records)


def status_counts(records: Iterable[TrialRecord]) -> str:
    """Return how many trials have each status, as `3 done, 1 failed`."""
    counts = Counter(r.status for r in records)
    statuses = (*ENDED, "interrupted", "running")
    return ", ".join(f"{counts[status]} {status}" for status in statuses if counts[status])
