import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.comparisons import (
    Difference,
    Verdict,
    difference,
    holm,
    mode_differences,
    multi_tasks,
)
from study.analysis.estimates import Confirmed, by_cell
from study.analysis.findings import Findings
from study.analysis.tables import differences_table
from study.intervals.estimate import Estimate, estimate
from study.intervals.two_way import DIFFERENCE_PSEUDO, TInterval, two_way, with_pseudo
from study.search.cells import Cell
from tests.support.studies.builders import make_confirmed
from tests.support.studies.image_tables import seen
from tl_core.config import Metric

A, B = Cell("freeze", 0.1), Cell("finetune", 0.1)
scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6)


def pair(a: list[float], b: list[float]) -> list[Confirmed]:
    """The cells A and B."""
    return make_confirmed(*A, a) + make_confirmed(*B, b)


def accuracy_of(a: Cell, b: Cell, trials: list[Confirmed]) -> Estimate:
    return difference(by_cell(trials), a, b, "test_accuracy").estimate  # type: ignore[union-attr]


def test_difference_by_hand_is_that_of_the_pairs() -> None:
    # The seeds' own spread, 0.3, is gone: the differences are 0.1, 0.12, 0.14.
    e = accuracy_of(A, B, pair([0.3, 0.62, 0.94], [0.2, 0.5, 0.8]))
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert (e.mean, e.low, e.high) == pytest.approx((0.12, 0.12 - half, 0.12 + half))
    e = accuracy_of(A, B, pair([0.9, 0.1], [0.1, 0.9]))
    assert (e.mean, e.low, e.high) == (0, -1, 1), "no larger than the score allows"


def test_only_seeds_in_both_count() -> None:
    trials = make_confirmed(*A, [0.5, 0.75, 1.0], seeds=[1, 2, 3])
    trials += make_confirmed(*B, [0.25, 0.5], seeds=[3, 1])
    e = accuracy_of(A, B, trials)
    assert (e.mean, e.n) == (0.375, 2)
    apart = make_confirmed(*A, [0.5]) + make_confirmed(*B, [0.25], seeds=[1])
    assert difference(by_cell(apart), A, B, "test_accuracy") is None
    assert difference(by_cell(apart), A, Cell("scratch", 0.1), "test_accuracy") is None


@pytest.mark.parametrize(("score", "low", "high", "verdict"), [
    ("test_accuracy", 0.01, 0.02, "better"),
    ("test_accuracy", -0.02, -0.01, "worse"),
    ("test_log_loss", 0.01, 0.02, "worse"),
    ("test_log_loss", -0.02, -0.01, "better"),
    ("test_brightness_mae", -0.02, -0.01, "better"),
    ("test_brightness_r2", 0.01, 0.02, "better"),
    ("test_accuracy", -0.01, 0.02, "cannot tell"),
    ("test_accuracy", None, None, "cannot tell"),
])  # fmt: skip
def test_verdict(score: str, low: float | None, high: float | None, verdict: Verdict) -> None:
    assert Difference(A, B, score, Estimate(0.015, low, high, 5)).verdict == verdict


@pytest.mark.parametrize(("score", "shift", "margin", "p"), [
    # t of 2 degrees of freedom at 2 has a tail of 0.0917517, and 0.5 at 0.
    ("test_accuracy", -0.01, 0.03, 0.0917517), ("test_accuracy", -0.03, 0.01, 1 - 0.0917517),
    ("test_accuracy", -0.01, 0.01, 0.5), ("test_log_loss", 0.01, 0.03, 0.0917517),
    ("test_log_loss", 0.03, 0.01, 1 - 0.0917517), ("test_log_loss", -0.01, 0.01, 0.0917517),
])  # fmt: skip
def test_p_of_being_behind_by_a_margin(score: str, shift: float, margin: float, p: float) -> None:
    t = TInterval(np.array(shift), np.array(0.01), np.array(2.0))
    found = Difference(A, B, score, Estimate(shift, -1, 1, 3, t=t))
    assert found.p_worse_by(margin) == pytest.approx(p, rel=1e-5)
    assert Difference(A, B, score, Estimate(shift, None, None, 1)).p_worse_by(margin) == 1


def test_holm_by_hand() -> None:
    # 4 x 0.01, 3 x 0.011 is less than that, 2 x 0.03, 1 x 0.04 is less than that.
    assert holm([0.03, 0.01, 0.04, 0.011]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_nothing_and_bonferroni(p_values: list[float]) -> None:
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= min(1, len(p_values) * p) or adjusted == pytest.approx(p)
    assert sorted(range(len(p_values)), key=lambda i: (holm(p_values)[i], p_values[i])) == sorted(
        range(len(p_values)), key=lambda i: p_values[i]
    )


def test_verdicts_are_adjusted_for_all_comparisons_of_a_score() -> None:
    # With 2 degrees of freedom p is 1 - t / sqrt(t^2 + 2); t is 5.2766, and then 2.2188.
    trials = pair([0.5, 0.6, 0.55], [0.45, 0.5, 0.47])
    other = make_confirmed("freeze", 0.8, [0.5, 0.6, 0.55])
    other += make_confirmed("finetune", 0.8, [0.49, 0.55, 0.53])
    (alone,) = mode_differences(trials)
    assert alone.estimate.p == alone.p_holm == pytest.approx(0.0341, abs=1e-4)
    assert alone.verdict == "better"
    first, second = mode_differences(trials + other)
    assert first.estimate.p == alone.estimate.p
    assert first.p_holm == pytest.approx(2 * (alone.estimate.p or 0))
    assert first.verdict == second.verdict == "cannot tell"
    assert second.estimate.p == second.p_holm == pytest.approx(0.1567, abs=1e-4)


def test_difference_on_new_photos_is_paired_by_image() -> None:
    hits = np.random.default_rng(0).random((3, 60)) < 0.8
    other = hits ^ (np.random.default_rng(1).random((3, 60)) < 0.1)
    e = accuracy_of(A, B, [*seen(*A, hits), *seen(*B, other)])
    table = with_pseudo(hits.astype(float) - other, DIFFERENCE_PSEUDO)
    t = two_way(table)
    assert (e.low, e.high) == pytest.approx(tuple(float(end) for end in t.ends()))
    assert (e.n, e.images) == (3, 60)
    assert e.p == pytest.approx(float(t.p_value()))
    alone = estimate([float(x) for x in hits.mean(axis=1) - other.mean(axis=1)])
    assert (e.seeds_low, e.seeds_high) == pytest.approx((alone.low, alone.high), abs=1e-5)
    assert e.half_width == pytest.approx(float(t.half_width()) * 62 / 60, rel=1e-4)


@pytest.mark.parametrize("images", [10, 20, 40])
def test_any_observed_difference_above_half_the_width_is_shown(images: int) -> None:
    chance, above = np.random.default_rng(0), 0
    for _ in range(100):
        hard = np.sqrt(0.7) * chance.normal(size=images)
        a, b = (
            hard + np.sqrt(0.3) * chance.normal(size=(3, images)) < least
            for least in (1.6, 1.6 - 5 / images**0.5)
        )
        (d,) = mode_differences([*seen(*A, a.astype(float)), *seen(*B, b.astype(float))])
        assert d.estimate.half_width is not None
        shown = abs(d.estimate.mean) > d.estimate.half_width + 1e-6
        assert shown == (d.verdict != "cannot tell")
        above += shown
    assert above > 20


@given(scores, st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_swapped_modes_negate(values: list[tuple[float, float]], shifts: list[float]) -> None:
    a, b = map(list, zip(*values, strict=True))
    moved = pair(*([x + s for x, s in zip(side, shifts, strict=False)] for side in (a, b)))
    e, swapped = accuracy_of(A, B, pair(a, b)), accuracy_of(B, A, pair(a, b))
    after = accuracy_of(A, B, moved)
    assert (after.mean, after.low, after.high) == pytest.approx((e.mean, e.low, e.high), abs=1e-9)
    assert e.low is not None
    assert e.high is not None
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx((-e.mean, -e.high, -e.low))
    assert swapped.sign == -e.sign


def test_every_pair_of_modes_at_every_common_ratio() -> None:
    cells = [
        ("scratch", 0.1, 0.5), ("freeze", 0.1, 0.75), ("finetune", 0.1, 0.5),
        ("freeze", 0.8, 1.0), ("finetune", 0.8, 0.5), ("scratch", 0.4, 0.5),
    ]  # fmt: skip
    found = mode_differences([make_confirmed(m, r, [x])[0] for m, r, x in cells])  # type: ignore[arg-type]
    assert [(d.a.mode, d.b.mode, d.a.train_ratio, d.estimate.mean) for d in found] == [
        ("freeze", "finetune", 0.1, 0.25), ("freeze", "scratch", 0.1, 0.25),
        ("freeze", "finetune", 0.8, 0.5), ("finetune", "scratch", 0.1, 0.0),
    ]  # fmt: skip


def test_table_of_differences() -> None:
    table = differences_table(Findings(pair([0.75, 0.75], [0.5, 0.5])))
    assert list(table) == [
        "train_ratio", "a", "b", "score", "n", "images", "mean", "low", "high", "seeds_low",
        "seeds_high", "half_width", "p", "p_holm", "verdict",
    ]  # fmt: skip
    assert table["score"].tolist() == list(dict.fromkeys(table["score"]))
    there = {*make_confirmed(*A, [0.5])[0].scores} - {"test_loss", "test_brightness_mae_baseline"}
    assert {*table["score"]} == there
    assert table.loc[0].dropna().to_dict() == {
        "train_ratio": 0.1, "a": "freeze", "b": "finetune", "score": "test_accuracy", "n": 2,
        "mean": 0.25, "seeds_low": 0.25, "seeds_high": 0.25, "half_width": 0, "p": 0, "p_holm": 0,
        "verdict": "better",
    }, "without outputs there is no interval on new photos"  # fmt: skip
    assert table.loc[1, ["mean", "verdict"]].tolist() == [-0.25, "better"]
    assert differences_table(Findings([])).empty
    hits = np.eye(4)[[0, 1]]
    row = differences_table(Findings([*seen(*A, 1 - hits), *seen(*B, hits)])).loc[0]
    assert (row["images"], row["mean"]) == (4, 0.5)
    assert row["low"] < row["seeds_low"] == row["seeds_high"] == 0.5 < row["high"]


@pytest.mark.parametrize(("metric", "accuracy", "log_loss", "r2", "verdict"), [
    ("val_log_loss", -0.5, -0.5, 0.1, "helped"), ("val_log_loss", 0.5, 0.5, 0.1, "hurt"),
    ("val_log_loss", 0.5, 0.0, 0.1, "cannot tell"), ("val_accuracy", 0.5, 0.5, 0.1, "helped"),
    ("val_accuracy", -0.5, -0.5, 0.1, "hurt"), ("val_accuracy", 0.0, -0.5, 0.1, "cannot tell"),
    ("val_accuracy", 0.5, -0.5, 0.0, "not learned"),
])  # fmt: skip
def test_one_score_decides_about_a_task_that_was_learned(
    metric: Metric, accuracy: float, log_loss: float, r2: float, verdict: str
) -> None:
    trials = make_confirmed(
        *A, [0.5 + accuracy] * 3, test_log_loss=0.5 + log_loss, test_brightness_r2=r2
    )
    trials += make_confirmed(*A, [0.5] * 3, "control", test_log_loss=0.5)
    (found,) = multi_tasks(trials, metric)
    assert (found.cell, found.aux_weight, found.verdict) == (A, 0.5, verdict)
    first = metric.replace("val_", "test_")
    assert list(found.differences) == list(dict.fromkeys([first, "test_accuracy", "test_log_loss"]))
    assert found.differences["test_accuracy"].estimate.mean == accuracy
    assert found.differences["test_log_loss"].estimate.mean == log_loss
    assert found.skill.mean == pytest.approx(r2)


def test_no_verdict_without_two_arms_and_common_seeds() -> None:
    one, control = make_confirmed(*A, [1.0]), make_confirmed(*A, [0.5], "control")
    (found,) = multi_tasks(one + control)
    assert found.verdict == "cannot tell", "one seed has no interval"
    for trials in (one, control, one + make_confirmed(*A, [0.5], "control", seeds=[1])):
        assert multi_tasks(trials) == []


def test_task_at_two_ratios_the_larger_first() -> None:
    small = A._replace(train_ratio=A.train_ratio / 2)
    trials = [
        c
        for cell in (small, A)
        for c in (
            *make_confirmed(*cell, [1.0, 0.9], test_brightness_mae_baseline=0.2),
            *make_confirmed(*cell, [0.5, 0.4], "control"),
        )
    ]
    trials = [replace(c, tuned=c.arm == "control" and c.cell == A) for c in trials]
    found = multi_tasks(trials)
    assert [(f.cell, f.tuned) for f in found] == [(A, True), (small, False)]
    assert [f.error.mean for f in found] == pytest.approx([0.1, 0.1])
    assert [f.baseline for f in found] == [0.2, 0.2]
