import math
from dataclasses import replace
from statistics import StatisticsError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.estimates import (
    SCORES,
    Cell,
    Estimate,
    by_cell,
    confirm_table,
    estimate,
    summarize,
)
from tests.support.studies.builders import make_confirmed


def test_interval_by_hand_is_clipped_to_the_possible_range() -> None:
    # sd 0.02; the 97.5 % quantile of Student's t with 2 degrees of freedom is 4.302653.
    e = estimate([0.9, 0.92, 0.94])
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert (e.mean, e.low, e.high, e.n) == pytest.approx((0.92, 0.92 - half, 0.92 + half, 3))
    e = estimate([0.98, 1.0, 1.0], 0, 1)
    assert (e.low, e.high) == pytest.approx((e.mean - half / math.sqrt(3), 1))
    assert estimate([0.0, 0.0, 0.03], 0, 1).low == 0


def test_one_value_has_no_interval_and_equal_values_one_of_zero_width() -> None:
    assert estimate([0.75]) == Estimate(0.75, None, None, 1)
    with pytest.raises(StatisticsError, match="at least one data point"):
        estimate([])
    for value in (0.0, 0.1, 1.0):
        assert estimate([value] * 5, 0, 1) == Estimate(value, value, value, 5)


def test_sign_is_that_of_the_whole_interval() -> None:
    intervals = [(0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (0.0, 0.1), (None, None)]
    assert [Estimate(0.05, *ends, 2).sign for ends in intervals] == [1, -1, 0, 0, 0]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_interval_holds_the_mean_and_stays_in_bounds(values: list[float]) -> None:
    e = estimate(values, 0, 1)
    assert 0 <= e.low <= e.mean <= e.high <= 1  # type: ignore[operator]


@pytest.mark.parametrize("n", [2, 5])
def test_interval_covers_the_true_mean_95_times_in_100(n: int) -> None:
    samples = np.random.default_rng(0).normal(3, 2, (2000, n)).tolist()
    covers = [(e.low or 0) <= 3 <= (e.high or 0) for e in map(estimate, samples)]
    assert np.mean(covers) == pytest.approx(0.95, abs=0.015)


def test_cells_follow_the_order_of_modes_and_ratios_and_leave_out_controls() -> None:
    trials = make_confirmed("scratch", 0.1, [0.5]) + make_confirmed("freeze", 0.8, [0.9])
    trials += make_confirmed("freeze", 0.8, [0.8], "control")
    trials += make_confirmed("freeze", 0.1, [0.8, 0.7], seeds=[9, 7])
    cells = by_cell(trials)
    assert list(cells) == [Cell("freeze", 0.1), Cell("freeze", 0.8), Cell("scratch", 0.1)]
    assert list(cells[Cell("freeze", 0.1)]) == [7, 9]
    assert [s.cell for s in summarize(trials)] == list(cells)
    assert list(by_cell(trials, "control")) == [Cell("freeze", 0.8)]
    refused = r"each seed once: freeze at 0\.1 has seed 3 in trials 100 and 101"
    with pytest.raises(ValueError, match=refused):
        by_cell(make_confirmed("freeze", 0.1, [0.5, 0.6], seeds=[3, 3]))


def test_summary_holds_the_configuration_and_every_score() -> None:
    trials = [
        replace(c, lr=0.01, aux_weight="auto", source=7, borrowed_from=0.2)
        for c in make_confirmed("finetune", 0.1, [0.5, 0.75], seeds=[4, 5])
    ]
    (summary,) = summarize(trials)
    assert (summary.lr, summary.aux_weight, summary.source) == (0.01, "auto", 7)
    assert (summary.borrowed_from, summary.seeds) == (0.2, (4, 5))
    assert summary.scores.keys() == SCORES.keys()
    assert summary.scores["test_accuracy"].mean == 0.625
    assert summary.scores["test_auroc"] == Estimate(0.5, 0.5, 0.5, 2)


def test_table_has_a_row_a_cell() -> None:
    trials = make_confirmed("freeze", 0.1, [0.5, 0.75]) + make_confirmed("freeze", 0.8, [1.0])
    table = confirm_table(trials)
    assert list(table)[:9] == [
        "mode", "train_ratio", "lr", "aux_weight", "source", "borrowed_from", "trials", "n",
        "test_accuracy_mean",
    ]  # fmt: skip
    assert list(table)[-1] == "test_loss_high"
    assert table["n"].tolist() == [2, 1]
    assert table["trials"].tolist() == [8, 8]
    assert table["test_accuracy_mean"].tolist() == [0.625, 1.0]
    assert table["test_accuracy_low"].isna().tolist() == [False, True]
    assert confirm_table([]).empty
    assert list(confirm_table([])) == list(table)
