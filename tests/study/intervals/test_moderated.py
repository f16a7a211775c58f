import numpy as np
import pytest
from scipy import stats

from study.intervals.moderated import moderated_p_values
from study.intervals.two_way import Parts, TInterval, satterthwaite


def compared(seeds: float, images: float, free: float = 2) -> TInterval:
    """A difference of 1 whose variance has these parts."""
    parts = Parts(np.array(seeds + images), np.array(seeds), free, [(np.array(images), 1e9)])
    return satterthwaite(np.array(1.0), parts)


def test_seeds_that_are_alike_by_luck_get_the_share_of_the_family() -> None:
    # The seeds' parts are 0 and 2 of the images' part. So the mean is 1, with 4 degrees of freedom
    # beside 2: parts are (2 * 0 + 4 * 1) / 6 and (2 * 2 + 4 * 1) / 6.
    found = moderated_p_values([compared(0.0, 1.0), compared(2.0, 1.0)], 3)
    for p, seeds in zip(found, (2 / 3, 4 / 3), strict=True):
        variance = seeds + 1
        df = variance**2 / (seeds**2 / 6)
        assert p == pytest.approx(2 * stats.t.sf(1 / np.sqrt(variance), df))


def test_of_two_independent_comparisons_each_counts_as_one() -> None:
    found = moderated_p_values([compared(0.0, 1.0), compared(2.0, 1.0)], 2)
    alike = moderated_p_values([compared(1.0, 1.0, 4)], 1)
    # Two degrees of freedom each: (0 + 1) / 2 and (2 + 1) / 2.
    first, second = compared(0.5, 1.0, 4), compared(1.5, 1.0, 4)
    assert found == pytest.approx([float(t.p_value()) for t in (first, second)])
    assert alike == pytest.approx([float(compared(1.0, 1.0, 4).p_value())]), "one has no others"


def test_comparisons_that_keep_their_p() -> None:
    of_seeds = TInterval(np.array(0.1), np.array(0.03), np.array(2))
    no_image = compared(0.5, 0.0)
    family = [of_seeds, no_image, compared(0.0, 1.0), compared(2.0, 1.0)]
    found = moderated_p_values(family, 4)
    assert found[:2] == [float(t.p_value()) for t in family[:2]]
    assert found[2] > float(family[2].p_value())
    assert moderated_p_values([of_seeds], 1) == [float(of_seeds.p_value())]
    assert moderated_p_values([], 0) == []
