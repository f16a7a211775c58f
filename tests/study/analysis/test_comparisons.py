import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.comparisons import (
    COMPARED,
    Difference,
    Verdict,
    difference,
    differences_table,
    mode_differences,
    multi_task,
)
from study.analysis.estimates import Cell, Confirmed, Estimate, by_cell
from tests.support.studies.builders import make_confirmed

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


@pytest.mark.parametrize(("score", "low", "high", "holds"), [
    ("test_accuracy", -0.01, 0.5, True), ("test_accuracy", -0.011, 0.0, False),
    ("test_log_loss", -0.5, 0.01, True), ("test_log_loss", -0.5, 0.011, False),
    ("test_accuracy", None, None, False),
])  # fmt: skip
def test_not_worse_by_a_margin(score: str, low: float, high: float, holds: bool) -> None:
    assert Difference(A, B, score, Estimate(0, low, high, 5)).not_worse_by(0.01) is holds


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
    table = differences_table(pair([0.75, 0.75], [0.5, 0.5]))
    assert list(table) == [
        "train_ratio", "a", "b", "score", "n", "mean", "low", "high", "verdict",
    ]  # fmt: skip
    assert table["score"].tolist() == list(COMPARED)
    assert "test_loss" not in COMPARED
    assert table.loc[0].tolist() == [
        0.1, "freeze", "finetune", "test_accuracy", 2, 0.25, 0.25, 0.25, "better",
    ]  # fmt: skip
    assert table.loc[1, ["mean", "verdict"]].tolist() == [-0.25, "better"]
    assert differences_table([]).empty


@pytest.mark.parametrize(("accuracy", "log_loss", "verdict"), [
    (0.5, 0.0, "helped"), (0.0, -0.5, "helped"), (0.5, -0.5, "helped"),
    (-0.5, 0.0, "hurt"), (0.0, 0.5, "hurt"), (0.5, 0.5, "mixed"),
    (-0.5, -0.5, "mixed"), (0.0, 0.0, "cannot tell"),
])  # fmt: skip
def test_verdict_on_the_auxiliary_task(accuracy: float, log_loss: float, verdict: str) -> None:
    trials = make_confirmed(*A, [0.5 + accuracy] * 3, test_log_loss=0.5 + log_loss)
    trials += make_confirmed(*A, [0.5] * 3, "control", test_log_loss=0.5, test_brightness_mae=0.4)
    found = multi_task(trials)
    assert found is not None
    assert (found.cell, found.aux_weight, found.verdict) == (A, 0.5, verdict)
    assert found.accuracy.estimate.mean == accuracy
    assert found.log_loss.estimate.mean == log_loss
    assert found.brightness_mae.estimate.mean == pytest.approx(-0.3)
    assert found.brightness_mae.verdict == "better"


def test_no_verdict_without_two_arms_and_common_seeds() -> None:
    one, control = make_confirmed(*A, [1.0]), make_confirmed(*A, [0.5], "control")
    found = multi_task(one + control)
    assert found is not None
    assert found.verdict == "cannot tell", "one seed has no interval"
    for trials in (one, control, one + make_confirmed(*A, [0.5], "control", seeds=[1])):
        assert multi_task(trials) is None
    with pytest.raises(ValueError, match="only the winner's cell has a control; found"):
        multi_task(control + make_confirmed(*B, [0.5], "control"))
