"""Wilson's interval against scipy's, and intervals on a logit scale by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from study.intervals.estimate import unit_ends, wilson
from study.intervals.two_way import TInterval


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_scipys(case: tuple[int, int]) -> None:
    hits, n = case
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    low, high = wilson(hits / n, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= hits / n <= high <= 1


def test_ends_on_a_logit_scale_by_hand() -> None:
    # 12.7062 is the quantile of one degree of freedom. The logit of 0.8 is ln 4, and 0.8 * 0.2 is
    # 0.16: half is ln 4 if the error is 0.16 ln 4 / 12.7062. So the ends have logits 0 and 2 ln 4.
    error = 0.16 * np.log(4) / 12.7062
    t = TInterval(np.array([0.8, 0.2, 1.0]), np.array([error, error, 0.01]), np.array([1, 1, 1]))
    low, high = unit_ends(t)
    assert low == pytest.approx([0.5, 1 / 17, 1 - 0.127062], abs=1e-5)
    assert high == pytest.approx([16 / 17, 0.5, 1 + 0.127062], abs=1e-5), "1 has no logit"
