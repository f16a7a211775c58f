"""The study's answer: three sentences, made from the numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from study.analysis import sentences, unconfirmed
from study.analysis.comparisons import multi_task
from study.analysis.estimates import Cell, CellSummary, Confirmed, by_cell, summarize
from study.records.trial_record import TrialRecord, best_of
from tl_core.config import DIRECTIONS, MODES, Metric


@dataclass(frozen=True)
class About:
    """What the sentences must name, whatever became of the trials."""

    data: str
    """Name of the data set."""
    images: int
    """All images of it."""
    backbone: str
    metric: Metric
    """What the search went by."""
    aux_weights: tuple[float | Literal["auto"], ...]
    """What aux_weight could be: one value, a range or choices."""

    def __str__(self) -> str:
        return f"{self.data} ({self.images:,} images) with {self.backbone}"


def answer(
    about: About, records: Sequence[TrialRecord], confirmed: Sequence[Confirmed]
) -> tuple[str, str, str]:
    """Return the three sentences: which mode, what labels buy, what the auxiliary task did.

    Args:
        about: the study.
        records: the trials of the search; the winner is chosen by their validation scores.
            They hold the source of every confirming trial.
        confirmed: the confirming trials; none of them if confirming was skipped, and then the
            sentences go by validation scores and say that they are unconfirmed.
    """
    cells = by_cell(confirmed)
    if not cells:
        return _unconfirmed(about, list(records))
    best = winner(about.metric, records, confirmed)
    first = best_of(list(records), about.metric)
    kept = first and Cell(first.config.mode, first.config.train_ratio) in cells
    where = str(about) if kept else f"{about}, of what could be confirmed"
    tried = {r.config.mode for r in records}
    arms = multi_task(confirmed)
    aux_open = sentences.auxiliary_open(about.aux_weights, best.aux_weight, tried)
    return (
        sentences.which(where, best, [mode for mode in MODES if mode in tried], confirmed),
        sentences.labels(best.mode, confirmed),
        sentences.auxiliary(arms) if arms else aux_open,
    )


def winner(
    metric: Metric, records: Iterable[TrialRecord], confirmed: Iterable[Confirmed]
) -> CellSummary:
    """Return the confirmed cell whose configuration was best in the search, by validation; on a
    tie the earlier trial's.

    Test scores have no say: the best of several would look better than it is.
    """
    values = {r.trial: value for r in records if (value := r.value(metric)) is not None}
    sign = 1 if DIRECTIONS[metric] == "min" else -1
    return min(
        summarize(confirmed),
        key=lambda cell: (sign * values[cell.source], cell.source, cell.borrowed_from is not None),
    )


def _unconfirmed(about: About, records: list[TrialRecord]) -> tuple[str, str, str]:
    best = best_of(records, about.metric)
    if best is None:
        return (
            f"There is no answer on {about}, since no trial finished.",
            "What more labels would buy can't be said.",
            "Whether the auxiliary task helps can't be said either.",
        )
    modes = {r.config.mode for r in records}
    return (
        unconfirmed.which(str(about), about.metric, best, records),
        unconfirmed.labels(about.metric, best.config.mode, records),
        sentences.auxiliary_open(about.aux_weights, best.config.aux_weight, modes),
    )
