"""Trials that follow a search, ended at once with given scores."""

from collections.abc import Mapping
from typing import Any

from study.config.settings import Settings
from study.records.trial_record import Status, TrialRecord
from study.search.confirmation import Planned, plan, remaining
from tests.support.studies.builders import make_epoch, make_record
from tl_core.config import FROZEN

Losses = Mapping[tuple[int, int], float]
"""Validation log loss of a trial by the number of its source and its first seed."""


def search_record(
    trial: int, mode: str, ratio: float, loss: float, status: Status = "done", **factors: Any
) -> TrialRecord:
    """A trial of the search, with the settings' defaults of seeds and auxiliary weight."""
    given: dict[str, Any] = {"seeds": 8 if mode in FROZEN else 1, "aux_weight": 0.5}
    if mode == "probe":
        given |= {"aux_weight": 0.0, "lr": None}
    return make_record(trial, status, (loss,), mode=mode, train_ratio=ratio, **(given | factors))


def run_stage(
    settings: Settings, records: list[TrialRecord], losses: Losses | None = None,
    default: float = 0.5,
) -> list[Planned]:  # fmt: skip
    """Add the ended trials of the next stage to the records; return those that ran."""
    ran = remaining(plan(settings, records), records, _winner(records))
    for planned in ran:
        record = TrialRecord(
            max(r.trial for r in records) + 1, planned.config, "done",
            kind=planned.kind, source=planned.source,
        )  # fmt: skip
        loss = (losses or {}).get((planned.source or 0, planned.config.seed), default)
        record.history = [make_epoch(val_log_loss=loss)]
        records.append(record)
    return ran


def finish(
    settings: Settings, records: list[TrialRecord], losses: Losses | None = None,
    default: float = 0.5,
) -> list[Planned]:  # fmt: skip
    """Run all stages that are left; return the trials that ran."""
    ran = []
    while stage := run_stage(settings, records, losses, default):
        ran += stage
    return ran


def _winner(records: list[TrialRecord]) -> TrialRecord | None:
    """The trial with the study's weights."""
    return next((r for r in records[::-1] if r.kind == "winner" and r.status == "done"), None)
