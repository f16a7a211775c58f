import math
from dataclasses import replace
from statistics import StatisticsError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.estimates import by_cell, estimate_score, image_table, score_names, summarize
from study.analysis.findings import Findings
from study.analysis.images.image_scores import ImageScores
from study.analysis.tables import confirm_table
from study.intervals.by_class import balanced_accuracy_interval, macro_f1_interval
from study.intervals.estimate import Estimate, estimate, unit_ends
from study.intervals.two_way import SHARE_PSEUDO, two_way
from study.search.cells import Cell
from tests.support.studies.builders import make_confirmed
from tests.support.studies.image_tables import seen


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
        assert estimate([value] * 5, 0, 1) == Estimate(value, value, value, 5, value, value)


def test_sign_is_that_of_the_whole_interval() -> None:
    intervals = [(0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (0.0, 0.1), (None, None)]
    assert [Estimate(0.05, *ends, 2).sign for ends in intervals] == [1, -1, 0, 0, 0]
    assert Estimate(0.15, 0.1, 0.2, 1, images=60).sign == 0, "one seed tells nothing of the next"


def test_negated_estimate_swaps_every_end() -> None:
    e = -estimate([0.9, 0.92, 0.94])
    half = 4.302653 * 0.02 / math.sqrt(3)
    ends = (-0.92 - half, -0.92 + half)
    assert (e.mean, e.low, e.high, e.n) == pytest.approx((-0.92, *ends, 3))
    assert (e.seeds_low, e.seeds_high) == pytest.approx(ends)
    assert e.p == pytest.approx(estimate([0.9, 0.92, 0.94]).p)
    assert -Estimate(0.5, None, None, 1) == Estimate(-0.5, None, None, 1)


@pytest.mark.parametrize("score", ["test_log_loss", "test_log_loss_scaled"])
def test_a_difference_of_log_losses_has_an_image_on_which_both_modes_are_wrong(score: str) -> None:
    sure, unsure = (
        [
            replace(c, images=ImageScores(np.zeros(4), np.zeros(4), {score: -np.log(said)}))
            for c in make_confirmed("freeze", 0.1, [0.0, 0.0])
        ]
        for said in (np.full(4, 0.9), np.full(4, 0.6))
    )
    table, _ = image_table(score, sure, unsure) or (None, None)
    wrong = math.log(4) / 2
    gained = -round(math.log(1.5), 6)
    assert table == pytest.approx(np.array([[gained] * 4 + [wrong]] * 2))
    table, _ = image_table(score, sure) or (None, None)
    assert table == pytest.approx(np.full((2, 4), -math.log(0.9))), "not a score of one mode"


def test_estimates_on_new_photos() -> None:
    hits = np.random.default_rng(0).random((3, 60)) < 0.9
    trials = seen("freeze", 0.1, hits)
    e = estimate_score("test_accuracy", trials)
    low, high = (float(end) for end in two_way(hits.astype(float), SHARE_PSEUDO).ends())
    assert high > 1
    assert (e.mean, e.low, e.high) == pytest.approx((hits.mean(), low, 1))
    alone = estimate([float(row.mean()) for row in hits], 0, 1)
    assert (e.seeds_low, e.seeds_high) == (alone.low, alone.high)
    assert (e.n, e.images) == (3, 60)
    scores = summarize(trials)[0].scores
    assert {name for name, e in scores.items() if e.images} == {
        "test_accuracy", "test_balanced_accuracy", "test_log_loss", "test_auroc",
    }, "brightness was not kept, and the others are no means over images"  # fmt: skip
    t = two_way(np.where(hits, 0.25, 1.5))
    loss, half = scores["test_log_loss"], float(t.half_width())
    assert loss.half_width == pytest.approx(half)
    factor = math.exp(half / loss.mean)
    assert (loss.low, loss.high) == pytest.approx((loss.mean / factor, loss.mean * factor))
    assert (loss.low or 0) > loss.mean - half


def test_scores_that_count_classes_alike_on_new_photos() -> None:
    hits = np.random.default_rng(0).random((3, 60)) < 0.9
    trials, other = (
        [replace(c, scores=c.scores | {"test_macro_f1": f1}) for c in seen("freeze", 0.1, right)]
        for f1, right in ((0.9, hits), (0.8, hits[::-1, ::-1]))
    )
    labels = np.arange(60) % 2
    one, two = (np.array([c.images.chosen for c in cell if c.images]) for cell in (trials, other))
    assert (one == np.where(hits, labels, 1 - labels)).all()
    for score, interval in (("test_balanced_accuracy", balanced_accuracy_interval),
                            ("test_macro_f1", macro_f1_interval)):  # fmt: skip
        e, ends = estimate_score(score, trials), interval(one, labels, None).ends()
        assert (e.low, e.high, e.images) == pytest.approx((float(ends[0]), 1, 60))
        e, ends = estimate_score(score, trials, other), interval(one, labels, two).ends()
        assert (e.low, e.high, e.images) == pytest.approx((*map(float, ends), 60))
        assert e.seeds_low is not None
    assert estimate_score("test_macro_f1", trials, other).mean == pytest.approx(0.1)


def test_all_right_has_a_width_and_stays_possible() -> None:
    e = estimate_score("test_accuracy", seen("freeze", 0.1, np.ones((10, 240))))
    assert (e.mean, e.high, e.seeds_low, e.seeds_high) == (1, 1, 1, 1)
    assert e.low == pytest.approx(0.98046, abs=1e-4)


def test_one_seed_has_the_interval_of_its_network() -> None:
    hits = np.arange(60)[None] < 54
    e = estimate_score("test_accuracy", seen("freeze", 0.1, hits))
    # 56 right of 64 with the pseudo-images; t with 63 degrees of freedom.
    half = 1.998341 * math.sqrt(0.875 * 0.125 / 63)
    assert (e.low, e.high) == pytest.approx((0.875 - half, 0.875 + half))
    assert (e.n, e.images, e.seeds_low, e.p, e.half_width) == (1, 60, None, None, None)


def test_without_a_spread_over_images_there_is_no_interval_on_new_photos() -> None:
    """Equal log losses do not tell how much another image would cost; equal outputs do."""
    trials = seen("freeze", 0.1, np.ones((3, 60)))
    assert estimate_score("test_log_loss", trials).images is None
    e = estimate_score("test_log_loss", trials, trials)
    assert (e.low, e.mean, e.high, e.images, e.p) == (0, 0, 0, 60, 1)


@pytest.mark.parametrize(("known", "expected"), [
    (range(5, 10), (None, None)), (range(5, 12), (7, 2)), (range(60), (60, 12)),
])  # fmt: skip
def test_an_auxiliary_label_of_one_group_alone_tells_nothing_of_new_groups(
    known: range, expected: tuple[int | None, int | None]
) -> None:
    chance = np.random.default_rng(0)
    found = []
    for trial in seen("finetune", 0.1, np.ones((3, 60)), np.arange(60) // 5):
        errors = np.full(60, np.nan)
        errors[known] = chance.random(len(known))
        assert trial.images
        values = trial.images.values | {"test_age_mae": errors}
        images = replace(trial.images, values=values, named=True)
        scores = trial.scores | {"test_age_mae": float(np.nanmean(errors))}
        found.append(replace(trial, images=images, scores=scores))
    e = estimate_score("test_age_mae", found)
    assert (e.images, e.groups) == expected
    assert e.low is not None, "on these test images, if not on new ones"


def test_a_trial_without_outputs_leaves_its_cell_on_these_test_images() -> None:
    trials = seen("freeze", 0.1, np.eye(3, 60))
    trials[1] = replace(trials[1], images=None)
    for score in ("test_accuracy", "test_auroc", "test_balanced_accuracy"):
        e = estimate_score(score, trials)
        assert (e.images, e.low, e.high) == (None, e.seeds_low, e.seeds_high)
    assert image_table("test_accuracy", trials) is None


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
    assert list(summary.scores) == [n for n in score_names(trials) if n in trials[0].scores]
    assert summary.scores["test_accuracy"].mean == 0.625
    assert summary.scores["test_auroc"] == Estimate(0.5, 0.5, 0.5, 2, 0.5, 0.5)


def test_auroc_has_its_interval_on_a_logit_scale_and_its_differences_have_not() -> None:
    hits = np.random.default_rng(0).random((3, 40)) < 0.9
    trials = [
        replace(c, scores=c.scores | {"test_auroc": float(images.auroc_draws[0])})
        for c in seen("freeze", 0.1, hits)
        if (images := c.images)
    ]
    e, d = estimate_score("test_auroc", trials), estimate_score("test_auroc", trials, trials)
    assert e.t is not None
    assert d.t is not None
    assert (e.low, e.high) == pytest.approx(tuple(float(end) for end in unit_ends(e.t)))
    assert (d.low, d.high) == pytest.approx(tuple(float(end) for end in d.t.ends()))


def test_table_has_a_row_a_cell() -> None:
    trials = make_confirmed("freeze", 0.1, [0.5, 0.75]) + make_confirmed("freeze", 0.8, [1.0])
    table = confirm_table(Findings(trials))
    assert list(table)[:14] == [
        "mode", "train_ratio", "lr", "aux_weight", "source", "borrowed_from", "trials", "n",
        "images", "test_accuracy_mean", "test_accuracy_low", "test_accuracy_high",
        "test_accuracy_seeds_low", "test_accuracy_seeds_high",
    ]  # fmt: skip
    assert list(table)[-1] == "test_loss_seeds_high"
    assert table["n"].tolist() == [2, 1]
    assert table["trials"].tolist() == [8, 8]
    assert table["test_accuracy_mean"].tolist() == [0.625, 1.0]
    assert table["test_accuracy_low"].isna().all(), "no outputs were kept"
    assert table["test_accuracy_seeds_low"].isna().tolist() == [False, True]
    assert confirm_table(Findings([])).empty
    of_task = {name for name in table if "brightness" in name}
    assert {*confirm_table(Findings([]))} > {*table} - of_task, (
        "scores that no trial has are left out"
    )
