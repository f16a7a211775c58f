"""Differences between cells, paired by seed, and whether they can be told from none."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from study.estimates import Cell, Confirmed, Estimate
from tl_core.config import Mode

Verdict = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True)
class Difference:
    """Score of `a` minus score of `b`, over the seeds that both have."""

    a: Cell
    b: Cell
    score: str
    estimate: Estimate
    """Of a - b, in the score's own unit and direction."""

    @property
    def verdict(self) -> Verdict:
        """Whether `a` is better than `b`: the interval leaves out zero on the good side."""
        raise NotImplementedError


@dataclass(frozen=True)
class MultiTask:
    """The winner's configuration against the same one with aux_weight 0, paired by seed."""

    cell: Cell
    aux_weight: float | Literal["auto"]
    accuracy: Difference
    """With the auxiliary task minus without; as all three."""
    log_loss: Difference
    brightness_mae: Difference

    @property
    def verdict(self) -> Literal["helped", "hurt", "mixed", "cannot tell"]:
        """What the auxiliary task did to the classification."""
        raise NotImplementedError


def mode_differences(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy"
) -> list[Difference]:
    """Return each pair of modes at each ratio that both have, first mode first in `MODES`."""
    raise NotImplementedError


def differences_table(confirmed: Iterable[Confirmed]) -> pd.DataFrame:
    """Return `differences.csv`: a row for each pair of modes, ratio and score.

    Columns: train_ratio, a, b, score, n, mean, low, high, verdict (of a against b).
    """
    raise NotImplementedError


def multi_task(confirmed: Iterable[Confirmed]) -> MultiTask | None:
    """Compare the arms with and without the auxiliary task; None if no control was run."""
    raise NotImplementedError
