"""The Pareto front of a search: what score at best for how many labels."""

from collections.abc import Iterable

from study.records.trial_record import TrialRecord
from tl_core.config import DIRECTIONS, Metric


def pareto_front(records: Iterable[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """Return the finished trials that no other equals with fewer or as many labels, by ratio."""
    sign = 1 if DIRECTIONS[metric] == "min" else -1
    scored = [(r.config.train_ratio, sign * (r.value(metric) or 0.0), r.trial, r)
              for r in records if r.status == "done" and r.history]  # fmt: skip
    front: list[TrialRecord] = []
    best = float("inf")
    for _, value, _, record in sorted(scored, key=lambda found: found[:3]):
        if value < best:
            front.append(record)
            best = value
    return front
