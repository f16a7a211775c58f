import numpy as np
import pytest

from study.analysis.crossing import fits, last_crossing
from study.intervals.two_way import MeanSquares, mean_squares

X = np.array([0.0, 1, 2, 3])


def leads(means: list[float], noise: float = 0.0) -> MeanSquares:
    """Three seeds whose leads are that far apart from their means, each at one place."""
    table = np.repeat(np.array(means)[:, None], 3, axis=1)
    for r in range(len(means)):
        table[r, r % 3] += noise
        table[r, (r + 1) % 3] -= noise
    return mean_squares(table[:, :, None])


def least_squares(x: np.ndarray) -> np.ndarray:
    design = np.stack([np.ones_like(x), x], axis=1)
    found: np.ndarray = design @ np.linalg.pinv(design)
    return found


@pytest.mark.parametrize(("means", "at", "rises"), [
    ([-0.15, -0.05, 0.05, 0.15], 1.5, True), ([0.15, 0.05, -0.05, -0.15], 1.5, False),
    ([0.1, 0.2, 0.3, 0.4], None, True), ([-0.1, -0.2, -0.3, -0.4], None, False),
    ([0.3, 0.2, 0.1, 0.0], None, True), ([0.0, 0.0, 0.0, 0.0], None, False),
    # No line fits, as nothing varies: the leads on both sides of the last change are joined.
    ([-0.5, -0.1, 0.1, 0.1], 1.5, True), ([-0.1, 0.1, -0.3, 0.1], 2.75, True),
    ([0.5, 0.1, 0.1, 0.2], None, True),
    # A tie right after the last change: the lead is zero there.
    ([-0.1, -0.5, 0.0, 0.2], 2, True), ([0.1, 0.5, 0.0, -0.2], 2, False),
    ([-0.5, 0.0, 0.0, 0.1], 1, True),
])  # fmt: skip
def test_crossing_of_leads_that_do_not_vary(
    means: list[float], at: float | None, rises: bool
) -> None:
    found = last_crossing(leads(means), X)
    expected = None if at is None else pytest.approx(at)
    assert [*found] == [expected, expected, expected, rises]


def test_fieller_by_hand() -> None:
    # Two leads, -0.2 and 0.2, whose seeds are apart by 0.01 in opposite directions: at a share u of
    # the way the seeds' values are (1 - u) 0.01 - u 0.01, and so on.
    table = np.array([[-0.21, -0.2, -0.19], [0.21, 0.2, 0.19]])
    found = last_crossing(mean_squares(table[:, :, None]), np.array([0.0, 1.0]))
    # Center 0.4 u - 0.2; standard error 0.01 |1 - 2 u| / sqrt 3: all zero at 1/2.
    assert [*found] == [*[pytest.approx(0.5)] * 3, True]
    table = np.array([[-0.21, -0.2, -0.19], [0.19, 0.2, 0.21]])
    found = last_crossing(mean_squares(table[:, :, None]), np.array([0.0, 1.0]))
    half = 4.302653 * 0.01 / np.sqrt(3) / 0.4  # The error is the same everywhere.
    assert found[:3] == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-5)


def test_interval_is_open_where_the_data_do_not_bound_it() -> None:
    # Center 0.35 u - 0.05, half width 4.302653 (0.1 - 0.09 u) / sqrt 3: equal at u = 0.520272.
    table = np.array([[-0.15, -0.05, 0.05], [0.29, 0.3, 0.31]])
    found = last_crossing(mean_squares(table[:, :, None]), np.array([0.0, 1.0]))
    assert [*found] == [pytest.approx(1 / 7), None, pytest.approx(0.520272, abs=1e-5), True]
    assert last_crossing(leads([-0.01, 0.0, 0.01, 0.02], noise=0.1), X)[1:3] == (None, None)


def test_one_seed_has_no_interval() -> None:
    table = np.array([[[-0.1, 0.0]], [[0.1, 0.2]]])
    found = last_crossing(mean_squares(table), np.array([0.0, 1.0]))
    assert [*found] == [pytest.approx(0.25), None, None, True]


def test_check_of_fit() -> None:
    straight, bent = [0.0, 0.1, 0.2, 0.3], [0.0, 0.3, 0.3, 0.3]
    assert fits(leads(straight), least_squares(X))
    assert fits(leads(bent, noise=0.3), least_squares(X))
    assert not fits(leads(bent, noise=0.01), least_squares(X))
    assert fits(leads([0.5, 0.1]), least_squares(X[:2])), "a line through two points"
