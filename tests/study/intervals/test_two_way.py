import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from study.intervals.two_way import (
    DIFFERENCE_PSEUDO,
    SHARE_PSEUDO,
    TInterval,
    mean_squares,
    two_way,
    with_pseudo,
)
from tests.support.studies.simulated_hits import half_of_seeds

tables = st.tuples(st.integers(2, 4), st.integers(2, 6)).flatmap(
    lambda shape: arrays(float, shape, elements=st.integers(0, 4).map(float))
)


def test_mean_squares_by_hand() -> None:
    # Rows have means 2/3 and 1, columns 1, 1/2 and 1, all 5/6. Sums of squares: 1/6 of rows, 1/3
    # of columns, 5/6 in total, so 1/3 is left; degrees of freedom: 1, 2 and 2.
    found = mean_squares(np.array([[[1.0, 0, 1], [1, 1, 1]]]))
    assert (found.n_seeds, found.n_images) == (2, 3)
    for part in (found.seeds, found.images, found.residual):
        assert part == pytest.approx(1 / 6)
    t = found.combine([1.0])
    # V is (1/6 + 1/6 - 1/6) / 6. Satterthwaite gives 2/3 degrees of freedom: fewer than S - 1.
    assert (t.center, t.error, t.df) == pytest.approx((5 / 6, 1 / 6, 1))
    assert t.half_width() == pytest.approx(12.7062 / 6, rel=1e-5)


def test_satterthwaite_by_hand() -> None:
    # Two seeds that are 0.02 apart on every image, of which one is 1 better than the others.
    images = np.array([[0.0, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
    t = two_way(images + np.array([[0.02], [0.0]]))
    # MSR = 10 * 0.0002, MSC = 2 * 0.9 / 9 = 0.2, MSE = 0; V = 0.202 / 20.
    assert t.error == pytest.approx(np.sqrt(0.0101))
    assert t.df == pytest.approx(0.0101**2 / (0.0001**2 / 1 + 0.01**2 / 9))
    # Seeds that are 0.1 apart have an interval of 0.05 * 12.7062 alone. With V = 0.25 / 20 and 9
    # degrees of freedom, as Satterthwaite has it, half the interval were 0.253.
    t = two_way(images + np.array([[0.1], [0.0]]))
    assert t.error == pytest.approx(np.sqrt(0.0125))
    assert t.half_width() == pytest.approx(0.05 * 12.7062, rel=1e-5)
    assert 1 < t.df < 9


def test_pseudo_images_tell_nothing_of_seeds() -> None:
    table = np.array([[1.0, 1, 1, 0], [1, 0, 0, 0]])
    assert with_pseudo(table, (1, 0))[:, 4:].tolist() == [[1.25, 0.25], [0.75, -0.25]]
    one, other = (mean_squares(t[None]) for t in (table, with_pseudo(table, SHARE_PSEUDO)))
    # The seeds' part of the variance of the mean, MSR / (S N), stays.
    assert one.seeds / 4 == pytest.approx(other.seeds / 8)


def test_variance_is_not_below_that_of_seeds_or_images_alone() -> None:
    # Seeds and images are alike on average, so MSR = MSC = 0, and MSE = 1: nothing below 0.
    assert two_way(np.array([[1.0, -1], [-1, 1]])).error == 0
    # MSR = 0.5, MSC = 0.5, MSE = 4.5.
    t = two_way(np.array([[2.0, -1], [0, 0]]) - np.array([[0.0, 0], [0.5, 0.5]]))
    assert t.error == pytest.approx(np.sqrt(max(1.0, 2.25) / 4))


def test_one_seed_has_the_variance_of_images_and_one_image_that_of_seeds() -> None:
    values = np.array([1.0, 2, 3, 6])
    for table in (values[None], values[:, None]):
        t = two_way(table)
        assert t.center == t.df == 3
        assert t.error == pytest.approx(values.std(ddof=1) / 2)
    with pytest.raises(ValueError, match="a table has two values or more; got 1 x 1"):
        two_way(np.array([[1.0]]))


def test_pseudo_images_give_a_width_where_all_is_right() -> None:
    right = np.ones((10, 240))
    assert two_way(right).error == 0
    low, high = two_way(right, SHARE_PSEUDO).ends()
    # 242 right of 244 on every seed: MSC = 10 * 244 p (1 - p) / 243.
    p = 242 / 244
    half = 1.96979 * np.sqrt(p * (1 - p) / 243)
    assert (low, high) == pytest.approx((p - half, p + half), rel=1e-4)
    assert high > 1
    t = two_way(np.zeros((3, 98)), DIFFERENCE_PSEUDO)
    assert (t.center, t.error) == pytest.approx((0, np.sqrt(2 / 99 / 100)))
    assert with_pseudo(np.zeros((2, 1)), (1, -1)).tolist() == [[0, 1, -1]] * 2


def test_log_scale_for_what_is_never_negative() -> None:
    t = TInterval(np.array([0.5, 0.0]), np.array([0.1, 0.1]), np.array([2.0, 2.0]))
    low, high = t.positive_ends()
    factor = np.exp(4.302653 * 0.1 / 0.5)
    assert low == pytest.approx([0.5 / factor, 0])
    assert high == pytest.approx([0.5 * factor, 0])


def test_p_belongs_to_the_interval() -> None:
    t = TInterval(np.array([0.5, -0.5]), np.array([0.25, 0.25]), np.array([4.0, 4.0]))
    assert t.p_value() == pytest.approx(0.116117, rel=1e-4)
    assert t.p_not_above(0) == pytest.approx([0.116117 / 2, 1 - 0.116117 / 2], rel=1e-4)
    assert (-t).p_not_above(0) == pytest.approx(t.p_not_above(0)[::-1])
    nothing = TInterval(np.array([0.0, 0.1]), np.zeros(2), np.ones(2))
    assert nothing.p_value().tolist() == [1, 0]
    assert nothing.p_not_above(0.1).tolist() == [1, 0.5]


@given(tables, st.floats(-2, 2))
def test_laws(table: np.ndarray, shift: float) -> None:
    """Order, shift and sign of the values change what they should and no more."""
    t = two_way(table)
    mixed = two_way(table[::-1, ::-1])
    moved = two_way(shift - table)
    assert mixed.error == pytest.approx(t.error)
    assert (moved.center, moved.error) == pytest.approx((shift - t.center, t.error))
    assert t.df >= len(table) - 1 - 1e-9
    assert t.half_width() >= half_of_seeds(table.mean(axis=-1)) - 1e-9


@given(tables, st.floats(-2, 2), st.floats(-2, 2))
def test_sum_of_tables_has_the_interval_of_their_summed_values(
    table: np.ndarray, one: float, other: float
) -> None:
    both = np.array([table, table[:, ::-1] ** 2])
    t = mean_squares(both).combine([one, other])
    direct = two_way(one * both[0] + other * both[1])
    assert t.center == pytest.approx(direct.center)
    assert t.error == pytest.approx(direct.error, abs=1e-6)


def test_many_tables_at_once() -> None:
    found = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
    t = two_way(found)
    assert t.center.shape == t.error.shape == t.df.shape == (3, 2)
    one = two_way(found[1, 1])
    assert (t.center[1, 1], t.error[1, 1], t.df[1, 1]) == pytest.approx(
        (one.center, one.error, one.df)
    )
