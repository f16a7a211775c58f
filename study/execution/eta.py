"""How long trials will take, from those of their kind that have ended."""

import math
from collections.abc import Sequence

from study.records.trial_record import ENDED, TrialRecord
from tl_core.config import TrialConfig


def seconds_left(
    planned: Sequence[TrialConfig],
    started: Sequence[TrialRecord],
    known: Sequence[TrialRecord],
    at_once: int,
) -> float:
    """Seconds until all that is `planned` has ended, if so many run `at_once`.

    `started` are those of the planned that run or have run, `known` all trials of the study. A
    trial is taken to last as long as the last one of its mode at its ratio, or at the nearest; one
    that runs has done its share of that by its epochs.
    """
    of = {r.config: r for r in started}
    costs = [_expected(config, known) * _share_left(of.get(config)) for config in planned]
    return sum(costs) / max(1, at_once)


def _expected(config: TrialConfig, known: Sequence[TrialRecord]) -> float:
    """The wall seconds of the last trial like it; 0 if its mode was never tried."""

    def apart(record: TrialRecord) -> float:
        return abs(math.log(record.config.train_ratio / config.train_ratio))

    like = [r for r in reversed(known) if r.status == "done" and r.config.mode == config.mode]
    return min(like, key=apart).wall_s if like else 0.0


def _share_left(record: TrialRecord | None) -> float:
    if record is None:
        return 1.0
    return 0.0 if record.status in ENDED else 1 - len(record.history) / record.config.epochs
